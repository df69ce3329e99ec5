"""Times as the API writes and reads them: ISO 8601 in UTC with milliseconds out; that, or an age, in."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from reconciler.model.duration import parse_duration

__all__ = ["iso", "maybe_iso", "parse_time"]


def iso(now_ms: int) -> str:
    """`2026-03-10T12:00:00.000Z`."""
    seconds, milliseconds = divmod(now_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


def maybe_iso(at_ms: int | None) -> str | None:
    """The same, None for None."""
    return None if at_ms is None else iso(at_ms)


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_time(text: str, *, now_ms: int) -> int:
    """Milliseconds since the epoch of an ISO 8601 time (UTC unless it says otherwise), or of an age such as `24h`.

    Raises ValueError with a message for people.
    """
    if text[:1].isdigit() and text[-1:].isalpha() and "-" not in text:
        return now_ms - parse_duration(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is neither an ISO 8601 time (2026-03-10T12:00:00Z) nor an age (24h)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1000)
