"""`/api/v1/openapi.json`: the API described in OpenAPI 3.1; a test holds it to the routes.

Built from small functions instead of a long literal, so that what all operations share is said once.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import reconciler
from reconciler.model.delivery import DeliveryStatus
from reconciler.model.hook import DELIVERED_TYPES, HOOK_TYPES
from reconciler.web.answers import Answer, json_answer
from reconciler.web.decode import BATCH_EVENTS_MAX
from reconciler.web.schemas import ERROR_CLASS, SCHEMAS

if TYPE_CHECKING:
    from reconciler.web.endpoint import Call

__all__ = ["OpenApi", "build_document"]

_TAGS = ("events", "hooks", "deliveries", "configuration", "process", "triggers")
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options", "trace")


class OpenApi:
    """The handler; the document is built when it is first asked for."""

    @cached_property
    def _answer(self) -> Answer:
        return json_answer(build_document())

    async def document(self, _call: Call) -> Answer:
        """The whole description."""
        return self._answer


def build_document() -> dict[str, Any]:
    """The description as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "webhook-reconciler",
            "version": reconciler.__version__,
            "description": "Posts events, shows and repeats deliveries, plans and applies webhooks.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [
            {"name": name} for name in ("events", "hooks", "deliveries", "configuration", "process", "triggers")
        ],
        "paths": _events() | _hooks() | _deliveries() | _configuration() | _process() | _triggers(),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": SCHEMAS,
        },
    }


# -- paths ---------------------------------------------------------------------------------------------------


def _events() -> dict[str, Any]:
    def array_of(name: str, least: int) -> dict[str, Any]:
        return {"type": "array", "items": _ref(name), "minItems": least, "maxItems": BATCH_EVENTS_MAX}

    body = {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [_ref("Event"), array_of("Event", 1)]}},
            "application/cloudevents+json": {"schema": _ref("CloudEvent")},
            "application/cloudevents-batch+json": {"schema": array_of("CloudEvent", 0)},
        },
    }
    headers = [
        _header("Idempotency-Key", "The event's id, for a single event without one."),
        *(
            _header(f"ce-{name}", f"`{name}` of a CloudEvent in binary mode, whose data is the body.")
            for name in ("specversion", "type", "source", "id", "time")
        ),
    ]
    post = _operation(
        "postEvents",
        "events",
        "Post one event, or an array of them; accepted wholly or not at all.",
        scope="ingest",
        parameters=headers,
        body=body,
        answers={"202": _json("Accepted", "On disk, with every delivery.")},
        refusals=("413", "415", "422", "503"),
    )
    return {"/api/v1/events": {"post": post}}


def _hooks() -> dict[str, Any]:
    address = [_path("bot", "The bot's handle."), _path("hook", "The webhook's handle.")]
    listing = [
        _query("bot", "Only this bot's.", {"type": "string"}),
        _query("type", "Only of this type.", {"enum": list(HOOK_TYPES)}),
        *_paging(1000, 10_000),
    ]
    test_body = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "/api/v1/hooks": {
            "get": _operation(
                "listHooks",
                "hooks",
                "The applied webhooks, by address.",
                parameters=listing,
                answers={"200": _json("HookList", "A page.")},
                refusals=("422", "503"),
            )
        },
        "/api/v1/hooks/{bot}/{hook}": {
            "get": _operation(
                "showHook",
                "hooks",
                "One webhook in full.",
                parameters=address,
                answers={"200": _json("HookDetail", "The webhook.")},
                refusals=("404", "503"),
            )
        },
        "/api/v1/hooks/{bot}/{hook}/test": {
            "post": _operation(
                "testHook",
                "hooks",
                "Send a real request from the applied configuration, disabled or not; start a trigger's sync.",
                scope="admin",
                parameters=address,
                body={**test_body, "description": "The event to send, as it would be posted; else an example."},
                answers={"200": _json("Trial", "What came of it, good or bad.")},
                refusals=("404", "422", "503"),
            )
        },
        "/api/v1/hooks/{bot}/{hook}/rotate": {
            "post": _operation(
                "rotateSecret",
                "hooks",
                "Regenerate the secret now.",
                scope="admin",
                parameters=address,
                answers={"200": _json("Rotated", "The new secret's fingerprint.")},
                refusals=("404", "422", "503"),
            )
        },
    }


def _deliveries() -> dict[str, Any]:
    delivery_id = [_path("id", "The delivery's id.")]
    filters = [
        _query("hook", "An address, or the id of a webhook that was deleted.", {"type": "string", "minLength": 1}),
        _query(
            "status",
            "One or several, separated by commas.",
            {"type": "array", "items": {"enum": [str(status) for status in DeliveryStatus]}},
            style="form",
            explode=False,
        ),
        _query("event", "An event type.", {"enum": list(DELIVERED_TYPES)}),
        _query("error", "The class of the last error.", ERROR_CLASS),
        _query("since", "Created at or after: a time, or an age such as 24h.", {"type": "string", "minLength": 1}),
        _query("until", "Created before: a time, or an age.", {"type": "string", "minLength": 1}),
        _query("ended_before", "Ended before: a time, or an age.", {"type": "string", "minLength": 1}),
        *_paging(50, 1000),
    ]
    body = {"content": {"application/json": {"schema": _ref("RetryRequest")}}}
    retried = {"200": _json("Retried", "How many matched and how many wait again.")}
    return {
        "/api/v1/deliveries": {
            "get": _operation(
                "listDeliveries",
                "deliveries",
                "The log, newest first.",
                parameters=filters,
                answers={"200": _json("DeliveryList", "A page.")},
                refusals=("404", "422", "503"),
            )
        },
        "/api/v1/deliveries/{id}": {
            "get": _operation(
                "showDelivery",
                "deliveries",
                "One delivery with its payload and its attempts.",
                parameters=delivery_id,
                answers={"200": _json("DeliveryDetail", "The delivery.")},
                refusals=("404", "503"),
            )
        },
        "/api/v1/deliveries/{id}/retry": {
            "post": _operation(
                "retryDelivery",
                "deliveries",
                "Deliver again, under the same id and with a fresh budget.",
                scope="admin",
                parameters=delivery_id,
                answers=retried,
                refusals=("404", "409", "422", "503"),
            )
        },
        "/api/v1/deliveries/retry": {
            "post": _operation(
                "retryDeliveries",
                "deliveries",
                "Deliver again all that match, or count them.",
                scope="admin",
                body=body,
                answers=retried,
                refusals=("404", "422", "503"),
            )
        },
    }


def _configuration() -> dict[str, Any]:
    yaml = {"application/yaml": {"schema": {"type": "string"}}}
    plan_body = {"required": True, "content": {"application/json": {"schema": _ref("Files")}, **yaml}}
    apply_body = {"required": True, "content": {"application/json": {"schema": _ref("ApplyRequest")}}}
    wanted = _query("format", "How the plan is written.", {"enum": ["json", "text"], "default": "json"})
    planned = _json("Plan", "The plan, as schemas/plan.schema.json describes it, or for people.")
    planned["content"]["text/plain"] = {"schema": {"type": "string"}}
    return {
        "/api/v1/plan": {
            "post": _operation(
                "plan",
                "configuration",
                "What applying the posted files would change; nothing is.",
                parameters=[wanted],
                body=plan_body,
                answers={"200": planned},
                refusals=("413", "422", "503"),
            )
        },
        "/api/v1/apply": {
            "post": _operation(
                "apply",
                "configuration",
                "Apply the posted files, wholly or not at all.",
                scope="admin",
                body=apply_body,
                answers={"200": _json("Applied", "The plan that was carried out.")},
                refusals=("409", "413", "422", "503"),
            )
        },
        "/-/reload": {
            "post": _operation(
                "reload",
                "configuration",
                "Look at the store and the followed files now.",
                scope="admin",
                answers={"200": _json("Reloaded", "What is served now.")},
                refusals=("422", "503"),
            )
        },
    }


def _process() -> dict[str, Any]:
    anything = {"200": _json("Object", "Figures.")}
    plain = {"200": {"description": "Text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    ready = {"200": _json("Object", "Ready."), "503": _json("Object", "Not ready, and why.")}
    return {
        "/api/v1/status": {
            "get": _operation("status", "process", "The process at a glance.", answers=anything, refusals=("503",))
        },
        "/api/v1/openapi.json": {
            "get": _operation("openapi", "process", "This document.", answers={"200": _json("Object", "OpenAPI.")})
        },
        "/healthz": {
            "get": _operation(
                "healthz", "process", "It answers.", scope=None, answers={"200": _json("Object", "Alive.")}
            )
        },
        "/readyz": {"get": _operation("readyz", "process", "It serves.", scope=None, answers=ready)},
        "/metrics": {
            "get": _operation("metrics", "process", "Everything counted, for Prometheus.", scope=None, answers=plain)
        },
    }


def _triggers() -> dict[str, Any]:
    parameters = [_path("hookId", "The webhook's id."), _path("secret", "Its secret: the URL is a password.")]
    answers = {
        "200": _json("TriggerQueued", "The sync is queued durably."),
        **{
            code: _json("TriggerRefused", text)
            for code, text in (
                ("403", "The webhook is disabled."),
                ("404", "No such webhook, or not its secret."),
                ("413", "The body is larger than 1 MiB."),
                ("503", "It could not be queued; try again."),
            )
        },
    }
    methods = {
        method: _operation(
            f"trigger{method.capitalize()}",
            "triggers",
            "Start a sync; any method will do.",
            scope=None,
            answers=answers,
        )
        for method in _METHODS
    }
    return {"/api/public/hooks/{hookId}/{secret}": {"parameters": parameters, **methods}}


# -- parts ---------------------------------------------------------------------------------------------------

_REFUSALS = {
    "404": "There is no such thing.",
    "409": "Not as things stand now: a guard, a stale plan, a delivery that cannot be repeated.",
    "413": "Too large.",
    "415": "Not JSON.",
    "422": "Invalid; `problems` lists every cause.",
    "503": "The store cannot be written now; try again after `Retry-After`.",
}


def _operation(
    operation_id: str,
    tag: str,
    summary: str,
    *,
    scope: str | None = "read",
    parameters: list[dict[str, Any]] | None = None,
    body: dict[str, Any] | None = None,
    answers: dict[str, Any],
    refusals: tuple[str, ...] = (),
) -> dict[str, Any]:
    """An operation; `scope` None needs no token, and `admin` tokens reach every scope."""
    responses = dict(answers)
    if scope is not None:
        responses["401"] = _problem("No valid token.")
        responses["403"] = _problem(f"A token whose scope is not `{scope}`.")
    responses |= {code: _problem(_REFUSALS[code]) for code in refusals}
    operation: dict[str, Any] = {
        "operationId": operation_id,
        "tags": [tag],
        "summary": summary,
        "responses": responses,
    }
    if scope is None:
        operation["security"] = []
    else:
        operation["x-scope"] = scope
    if parameters:
        operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = body
    return operation


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(name: str, description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _ref(name)}}}


def _problem(description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _path(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string"}
    return {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _query(name: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _header(name: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}


def _paging(default: int, most: int) -> list[dict[str, Any]]:
    size = {"type": "integer", "minimum": 1, "maximum": most, "default": default}
    return [
        _query("limit", "How many rows.", size),
        _query("cursor", "`next` of the page before.", {"type": "string"}),
    ]
