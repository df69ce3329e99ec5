"""What the store, and the daemon, have seen at each webhook, in the words of a plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.plan.drift import Shut
from reconciler.plan.plan import Observation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.breaker import Tripped
    from reconciler.store.port import Store

__all__ = ["iso_time", "observations", "shut"]


async def observations(store: Store, *, now_ms: int) -> dict[str, Observation]:
    """By hook id."""
    return {
        hook_id: Observation(
            waiting=seen.waiting,
            day_count=seen.day_count,
            last_called=iso_time(seen.last_called_ms),
            last_delivered=iso_time(seen.last_delivered_ms),
            last_attempt=iso_time(seen.last_attempt_ms),
            gone_since=iso_time(seen.gone_since_ms),
            failing_since=iso_time(seen.failing_since_ms),
        )
        for hook_id, seen in (await store.observed(now_ms=now_ms)).items()
    }


def shut(breakers: Mapping[str, Tripped]) -> dict[str, Shut]:
    """The breakers of a running daemon in the words of a plan, by hook id."""
    return {
        hook_id: Shut(since=iso_time(tripped.since_ms), failures=tripped.failures)
        for hook_id, tripped in breakers.items()
    }


def iso_time(at_ms: int | None) -> str | None:
    """A time to the second, as ISO 8601 in UTC."""
    return None if at_ms is None else datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
