"""What the API's bodies look like: the components of its OpenAPI document."""

from __future__ import annotations

import re
from typing import Any

from reconciler.model.delivery import AttemptError, DeliveryStatus
from reconciler.model.event import EVENT_ID_CHARACTERS_MAX
from reconciler.model.hook import DELIVERED_TYPES, HOOK_TYPES, EventType
from reconciler.web.cloudevents import SOURCE_CHARACTERS_MAX
from reconciler.web.posted import event_schema

__all__ = ["ERROR_CLASS", "SCHEMAS"]

_TEXT: dict[str, Any] = {"type": "string"}
_WORD: dict[str, Any] = {"type": "string", "minLength": 1}
_COUNT: dict[str, Any] = {"type": "integer", "minimum": 0}
_FLAG: dict[str, Any] = {"type": "boolean"}
ERROR_CLASS: dict[str, Any] = {
    "anyOf": [{"enum": [str(error) for error in AttemptError]}, {"type": "string", "pattern": "^http-[1-5][0-9]{2}$"}]
}
"""What a delivery's last error may be."""
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}


def _maybe(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: dict[str, Any], *, optional: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """An object whose properties are all required but the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, **more}


def _list_of(name: str) -> dict[str, Any]:
    items = {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}
    return _object({"items": items, "next": _maybe(_TEXT)})


_HOOK = {
    "address": _TEXT,
    "type": {"enum": list(HOOK_TYPES)},
    "enabled": _FLAG,
    "health": {"enum": ["disabled", "gone", "breaker-open", "failing", "healthy", "idle"]},
    "id": {"type": "string", "format": "uuid"},
    "fingerprint": _maybe(_TEXT),
    "waiting": _COUNT,
    "day_count": _COUNT,
    "last_called_at": _maybe(_TIME),
    "last_delivered_at": _maybe(_TIME),
    "last_attempt_at": _maybe(_TIME),
    "gone_since": _maybe(_TIME),
    "failing_since": _maybe(_TIME),
    "breaker": _maybe(
        _object(
            {
                "state": {"enum": ["open", "half-open"]},
                "since": _TIME,
                "next_attempt_at": _TIME,
                "failures": _COUNT,
            }
        )
    ),
    "paused_until": _maybe(_TIME),
}

_DELIVERY = {
    "id": {"type": "string", "format": "uuid"},
    "hook": _TEXT,
    "event": {"enum": list(DELIVERED_TYPES)},
    "event_id": _TEXT,
    "status": {"enum": [str(status) for status in DeliveryStatus]},
    "attempts": _COUNT,
    "round": _COUNT,
    "created_at": _TIME,
    "next_attempt_at": _maybe(_TIME),
    "finished_at": _maybe(_TIME),
    "last_status": _maybe({"type": "integer"}),
    "last_error": _maybe(_TEXT),
}

_ATTEMPT = {
    "number": _COUNT,
    "round": _COUNT,
    "started_at": _TIME,
    "duration_ms": _COUNT,
    "status": _maybe({"type": "integer"}),
    "error": _maybe({"enum": [str(error) for error in AttemptError]}),
    "message": _TEXT,
    "headers": {"description": "The receiver's, scrubbed."},
    "body": _maybe(_TEXT),
    "body_base64": _TEXT,
}

_FILES = {
    "files": {
        "type": "object",
        "description": "File names, as problems and plans shall cite them, and their text.",
        "additionalProperties": _TEXT,
    },
    "base_dir": {
        "type": "string",
        "description": "The folder of relative ${file:…} references, at the daemon.",
    },
    "commit": _maybe(_TEXT),
}

_FILTERS = {
    "hook": _WORD,
    "status": {"type": "array", "items": {"enum": [str(status) for status in DeliveryStatus]}},
    "event": {"enum": list(DELIVERED_TYPES)},
    "error": ERROR_CLASS,
    "since": _WORD,
    "until": _WORD,
    "ended_before": _WORD,
    "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
    "dry_run": _FLAG,
}

_EVENT_TYPES = "|".join(re.escape(kind) for kind in EventType if not kind.is_incoming)

SCHEMAS: dict[str, Any] = {
    "Object": {"type": "object"},
    "Event": event_schema(),
    "CloudEvent": {
        "type": "object",
        "description": "A CloudEvent 1.0; its data is an Event without `id`, and without `event` if you like.",
        "properties": {
            "specversion": {"const": "1.0"},
            "type": {
                "type": "string",
                "description": "The event's type, with or without a reverse-DNS prefix.",
                "pattern": rf"^([A-Za-z0-9_-]+\.)*({_EVENT_TYPES})$",
            },
            "source": {"type": "string", "minLength": 1, "maxLength": SOURCE_CHARACTERS_MAX},
            "id": {"type": "string", "minLength": 1, "maxLength": EVENT_ID_CHARACTERS_MAX},
            "time": {**_maybe(_TIME), "description": "The timestamp, where the data has none."},
            "datacontenttype": _maybe({"type": "string", "description": "JSON, or left out."}),
            "data": {"type": "object"},
            "data_base64": {"type": "string", "contentEncoding": "base64", "description": "In place of `data`."},
        },
        "required": ["specversion", "type", "source", "id"],
    },
    "Accepted": _object(
        {
            "accepted": _COUNT,
            "duplicates": _COUNT,
            "events": {
                "type": "array",
                "items": _object(
                    {
                        "id": _TEXT,
                        "duplicate": _FLAG,
                        "deliveries": _COUNT,
                        "unmatched": {"enum": ["bot", "dataSource"]},
                    },
                    optional=("unmatched",),
                ),
            },
        }
    ),
    "Hook": _object(_HOOK),
    "HookList": _list_of("Hook"),
    "HookDetail": _object({**_HOOK, "spec": {"type": "object"}, "secret": {"type": "object"}}),
    "Trial": {
        "type": "object",
        "properties": {
            "address": _TEXT,
            "success": _FLAG,
            "status": _maybe({"type": "integer"}),
            "error": _maybe(_TEXT),
            "duration_ms": _COUNT,
            "unresolved": {"type": "array", "items": _TEXT},
        },
        "required": ["address", "success", "status", "error", "duration_ms", "unresolved"],
    },
    "Rotated": _object({"address": _TEXT, "fingerprint": _TEXT, "serial": _COUNT, "previous_until": _maybe(_TIME)}),
    "Delivery": _object(_DELIVERY),
    "DeliveryList": _list_of("Delivery"),
    "DeliveryDetail": _object(
        {
            **_DELIVERY,
            "attempts": {"type": "array", "items": _object(_ATTEMPT, optional=("body_base64",))},
            "attempt_count": _COUNT,
            "payload": {"type": "object"},
        }
    ),
    "RetryRequest": {"type": "object", "properties": _FILTERS, "additionalProperties": False},
    "Retried": _object(
        {
            "matched": _COUNT,
            "retried": _COUNT,
            "remaining": _COUNT,
            "dry_run": _FLAG,
            "held_back": {
                "type": "array",
                "items": _object(
                    {
                        "hook": _TEXT,
                        "reason": {"enum": ["disabled", "gone", "breaker-open", "retry-after"]},
                        "until": _maybe(_TIME),
                    }
                ),
            },
        }
    ),
    "Files": _object(_FILES, optional=("base_dir", "commit"), additionalProperties=False),
    "ApplyRequest": _object(
        {**_FILES, "allow_delete": {"type": "array", "items": _TEXT}, "allow_delete_all": _FLAG},
        optional=("base_dir", "commit", "allow_delete", "allow_delete_all"),
        additionalProperties=False,
    ),
    "Plan": {
        "type": "object",
        "properties": {"format_version": {"const": 1}},
        "required": ["format_version", "base", "config_digest", "changes", "summary", "guards"],
    },
    "Applied": _object({"serial": _COUNT, "plan": {"$ref": "#/components/schemas/Plan"}}),
    "Reloaded": _object(
        {
            "outcome": _TEXT,
            "generation": _COUNT,
            "serial": _COUNT,
            "message": _TEXT,
            "waiting_for_approval": _maybe({"$ref": "#/components/schemas/Plan"}),
        }
    ),
    "TriggerQueued": _object({"success": {"const": True}}),
    "TriggerRefused": _object({"success": {"const": False}, "error": _TEXT}),
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "code": _TEXT,
            "detail": _TEXT,
            "exit": {"type": "integer", "description": "The exit code of a command that meets this."},
            "problems": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "code": _TEXT,
                        "message": _TEXT,
                        "pointer": _TEXT,
                        "file": _TEXT,
                        "line": _COUNT,
                        "column": _COUNT,
                    },
                    "required": ["code", "message"],
                },
            },
        },
        optional=("exit", "problems"),
    ),
}
