"""What resources, deliveries and attempts look like as JSON: one shape for the API and for the command line.

Pure: values in, JSON values out. No view holds a secret; where there is one, its fingerprint stands.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import orjson

from reconciler.model.event import own_id
from reconciler.model.resource import Kind
from reconciler.store.port import Observed
from reconciler.web.times import iso, maybe_iso

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.breaker import Tripped
    from reconciler.model.delivery import Attempt, Delivery
    from reconciler.model.resource import Resource, State
    from reconciler.model.trial import Trial

__all__ = [
    "attempt_view",
    "delivery_detail",
    "delivery_view",
    "health_of",
    "hook_detail",
    "hook_view",
    "trial_view",
    "webhooks",
]


def webhooks(state: State) -> list[Resource]:
    """The applied webhooks, by address."""
    return sorted(
        (resource for key, resource in state.resources.items() if key.kind is Kind.WEBHOOK),
        key=lambda resource: resource.key.address,
    )


def health_of(resource: Resource, observed: Observed | None, tripped: Tripped | None = None) -> str:
    """One word.

    `disabled`, `gone`, `breaker-open`, `failing`, `healthy`, or `idle` where nothing has happened yet.
    """
    if not resource.spec.get("enabled", False):
        return "disabled"
    seen = observed or Observed(hook_id=resource.id or "")
    if seen.gone_since_ms is not None:
        return "gone"
    if tripped is not None:
        return "breaker-open"
    if seen.failing_since_ms is not None:
        return "failing"
    return "idle" if seen.last_delivered_ms is None and seen.last_called_ms is None else "healthy"


def hook_view(
    resource: Resource, observed: Observed | None, tripped: Tripped | None = None, paused_until_ms: int | None = None
) -> dict[str, Any]:
    """A webhook as a row of a list. Its breaker, and a pause its receiver asked for, the daemon alone knows."""
    seen = observed or Observed(hook_id=resource.id or "")
    return {
        "address": resource.key.address,
        "type": resource.spec["type"],
        "enabled": bool(resource.spec.get("enabled", False)),
        "health": health_of(resource, observed, tripped),
        "id": resource.id,
        "fingerprint": resource.secret.fingerprint if resource.secret is not None else None,
        "waiting": seen.waiting,
        "day_count": seen.day_count,
        "last_called_at": maybe_iso(seen.last_called_ms),
        "last_delivered_at": maybe_iso(seen.last_delivered_ms),
        "last_attempt_at": maybe_iso(seen.last_attempt_ms),
        "gone_since": maybe_iso(seen.gone_since_ms),
        "failing_since": maybe_iso(seen.failing_since_ms),
        "breaker": None if tripped is None else _breaker(tripped),
        "paused_until": maybe_iso(paused_until_ms),
    }


def _breaker(tripped: Tripped) -> dict[str, Any]:
    """A breaker that is not closed; `next_attempt_at` is the time of the next probe, or of the last one's start."""
    return {
        "state": tripped.state.value,
        "since": iso(tripped.since_ms),
        "next_attempt_at": iso(tripped.until_ms),
        "failures": tripped.failures,
    }


def hook_detail(
    resource: Resource,
    observed: Observed | None,
    tripped: Tripped | None = None,
    paused_until_ms: int | None = None,
    *,
    now_ms: int,
) -> dict[str, Any]:
    """A webhook in full: its row, its specification (references as references) and what is known of its secret."""
    secret = resource.secret
    detail = hook_view(resource, observed, tripped, paused_until_ms)
    detail["spec"] = dict(resource.spec)
    if secret is None:
        detail["secret"] = {"source": "reference"}
        return detail
    detail["secret"] = {
        "source": "generated",
        "fingerprint": secret.fingerprint,
        "created_at": iso(secret.created_ms),
    }
    if secret.previous is not None and secret.previous.until_ms > now_ms:
        detail["secret"]["previous"] = {
            "fingerprint": secret.previous.fingerprint,
            "until": iso(secret.previous.until_ms),
        }
    return detail


def delivery_view(delivery: Delivery) -> dict[str, Any]:
    """A delivery as a row of the log."""
    return {
        "id": delivery.id,
        "hook": delivery.hook,
        "event": delivery.event,
        "event_id": own_id(delivery.event_id),
        "status": delivery.status.value,
        "attempts": delivery.attempts,
        "round": delivery.round,
        "created_at": iso(delivery.created_ms),
        "next_attempt_at": maybe_iso(delivery.next_attempt_ms),
        "finished_at": maybe_iso(delivery.finished_ms),
        "last_status": delivery.last_status,
        "last_error": delivery.last_error,
    }


def delivery_detail(delivery: Delivery, payload: bytes, attempts: Sequence[Attempt]) -> dict[str, Any]:
    """A delivery in full: its row, with every attempt in place of their number, and its event's payload."""
    return {
        **delivery_view(delivery),
        "attempts": [attempt_view(attempt) for attempt in attempts],
        "attempt_count": delivery.attempts,
        "payload": orjson.loads(payload),
    }


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """One request and its answer."""
    return {
        "number": attempt.number,
        "round": attempt.round,
        "started_at": iso(attempt.started_ms),
        "duration_ms": attempt.duration_ms,
        "status": attempt.status,
        "error": attempt.error.value if attempt.error is not None else None,
        "message": attempt.message,
        "headers": _headers(attempt.headers),
        **_body(attempt.body),
    }


def trial_view(trial: Trial) -> dict[str, Any]:
    """A test request and its answer."""
    return {
        "address": trial.address,
        "delivery_id": trial.delivery_id,
        "success": trial.is_success,
        "method": trial.method,
        "url": trial.url,
        "status": trial.status,
        "error": trial.error,
        "message": trial.message,
        "headers": [list(pair) for pair in trial.headers],
        **_body(trial.body),
        "duration_ms": trial.duration_ms,
        "unresolved": list(trial.unresolved),
    }


def _headers(text: str) -> Any:
    return orjson.loads(text) if text else []


def _body(body: bytes) -> dict[str, Any]:
    """A body as text where it is text, else as base64 under another name."""
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body": None, "body_base64": base64.b64encode(body).decode("ascii")}
