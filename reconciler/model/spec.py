"""Canonical specifications: what two differently written configurations have in common when they mean the same.

Every function here takes a mapping that the schema has accepted, or a spec from a state, and gives a spec: JSON
values, every default filled in, durations in their shortest spelling, headers in order of name. A canonical spec
comes back unchanged, so states written before a key existed read as if it had its default.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from reconciler.model.duration import format_duration, parse_duration
from reconciler.model.hook import EventType, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Spec

__all__ = [
    "OUTGOING_DEFAULTS",
    "SYNC_TIMEOUT",
    "canonical_bot",
    "canonical_data_source",
    "canonical_webhook",
    "overlap_ms_of",
    "retry_of",
    "sync_timeout_ms_of",
    "timeout_ms_of",
]

SYNC_TIMEOUT: Final = "15m"
"""How long a sync may take when nothing else is said."""

OUTGOING_DEFAULTS: Final[Mapping[str, Any]] = {
    "enabled": False,
    "timeout": "10s",
    "retry": {"attempts": 5, "schedule": ["30s", "1m", "2m", "4m", "8m"], "jitter": 0.1},
    "concurrency": 8,
    "signing": {"secret_header": True, "standard_webhooks": True},
    "custom_payload": {"enabled": False, "method": "POST", "headers": {}, "body": None},
    "rotation": {"overlap": "0s"},
    "protected": False,
}
"""What an outgoing webhook has where it says nothing. Part of the contract: a change here changes live hooks."""

_NO_PAYLOAD: Final[dict[str, Any]] = dict(OUTGOING_DEFAULTS["custom_payload"])
_SIGNING: Final[dict[str, Any]] = dict(OUTGOING_DEFAULTS["signing"])
_RETRY: Final[dict[str, Any]] = dict(OUTGOING_DEFAULTS["retry"])
_ROTATION: Final[dict[str, Any]] = dict(OUTGOING_DEFAULTS["rotation"])

_OF_SYNC_EVENTS: Final = frozenset({EventType.SYNC_SUCCESS.value, EventType.SYNC_FAILURE.value})


def canonical_bot(raw: Mapping[str, Any], handle: str) -> dict[str, Any]:
    """A bot's spec: `id` and `name`, both the handle where the configuration leaves them out."""
    return {"id": raw.get("id", handle), "name": raw.get("name", handle)}


def canonical_data_source(raw: Mapping[str, Any], handle: str) -> dict[str, Any]:
    """A data source's spec: `id`, `name` and `sync`, which is None where no trigger may name the source."""
    return {"id": raw.get("id", handle), "name": raw.get("name", handle), "sync": _canonical_sync(raw.get("sync"))}


def canonical_webhook(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A webhook's spec, with the keys that its type has. `data_source` stays a handle within the bot."""
    kind = raw["type"]
    spec: dict[str, Any] = {
        "type": kind,
        "enabled": raw.get("enabled", False),
        "description": raw.get("description", ""),
    }
    if kind == EventType.SYNC_TRIGGER:
        spec["data_source"] = raw["data_source"]
    else:
        if kind in _OF_SYNC_EVENTS:
            spec["data_source"] = raw.get("data_source")
        spec["url"] = raw["url"]
        spec["timeout"] = _duration(raw.get("timeout", "10s"))
        spec["retry"] = _canonical_retry(raw.get("retry"))
        spec["concurrency"] = int(raw.get("concurrency", 8))
        spec["signing"] = {**_SIGNING, **raw["signing"]} if raw.get("signing") else _SIGNING
        spec["custom_payload"] = _canonical_payload(raw.get("custom_payload"))
        secret = raw.get("secret")
        spec["secret"] = dict(secret) if secret else None
    spec["secret_version"] = int(raw.get("secret_version", 1))
    rotation = raw.get("rotation")
    spec["rotation"] = {"overlap": _duration(rotation.get("overlap", "0s"))} if rotation else _ROTATION
    spec["protected"] = raw.get("protected", False)
    return spec


def retry_of(spec: Spec) -> Retry:
    """The retry schedule of an outgoing webhook's spec."""
    retry = spec["retry"]
    return Retry(
        attempts=retry["attempts"],
        schedule_ms=tuple(parse_duration(wait) for wait in retry["schedule"]),
        jitter=retry["jitter"],
    )


def timeout_ms_of(spec: Spec) -> int:
    """How long one attempt of an outgoing webhook may take."""
    return parse_duration(spec["timeout"])


def overlap_ms_of(spec: Spec) -> int:
    """How long the old secret of a webhook stays good after a rotation."""
    return parse_duration(spec["rotation"]["overlap"])


def sync_timeout_ms_of(spec: Spec) -> int:
    """How long a sync of a data source may take; the default where the source has none."""
    sync = spec["sync"]
    return parse_duration(sync["timeout"] if sync else SYNC_TIMEOUT)


def _canonical_retry(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    if not raw:
        return _RETRY
    return {
        "attempts": int(raw.get("attempts", _RETRY["attempts"])),
        "schedule": [_duration(wait) for wait in raw.get("schedule", _RETRY["schedule"])],
        "jitter": float(raw.get("jitter", _RETRY["jitter"])),
    }


def _canonical_payload(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """The block itself says that the payload is custom, unless it says `enabled: false`."""
    if not raw:
        return _NO_PAYLOAD
    return {
        "enabled": raw.get("enabled", True),
        "method": raw.get("method", "POST"),
        "headers": dict(sorted((raw.get("headers") or {}).items())),
        "body": raw.get("body"),
    }


def _canonical_sync(raw: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not raw:
        return None
    timeout = _duration(raw.get("timeout", SYNC_TIMEOUT))
    if "command" in raw:
        return {"command": list(raw["command"]), "timeout": timeout}
    http = raw["http"]
    return {
        "http": {
            "url": http["url"],
            "method": http.get("method", "POST"),
            "headers": dict(sorted((http.get("headers") or {}).items())),
        },
        "timeout": timeout,
    }


@lru_cache(maxsize=1024)
def _duration(text: str) -> str:
    return format_duration(parse_duration(text))
