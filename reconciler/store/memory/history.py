"""What the model shows of the past, and what of it is not kept for ever."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from reconciler.model.delivery import Delivery, DeliveryStatus
from reconciler.store.memory.contents import DAY_HOURS, HOUR_MS
from reconciler.store.port import Observed, Pruned

if TYPE_CHECKING:
    from reconciler.store.memory.contents import Contents, Hook, Row
    from reconciler.store.port import Retention

__all__ = ["observed", "prune", "shown"]


def shown(row: Row, hook: Hook) -> Delivery:
    """A row as the log shows it."""
    return Delivery(
        id=row.id,
        hook_id=row.hook_id,
        hook=hook.address,
        event=row.event.type,
        event_id=row.event.id,
        status=row.status,
        round=row.round,
        attempts=len(row.attempts),
        created_ms=row.event.received_ms,
        next_attempt_ms=row.due_ms if row.status is DeliveryStatus.PENDING else None,
        finished_ms=row.finished_ms,
        last_status=row.last_status,
        last_error=row.last_error,
    )


def observed(data: Contents, now_ms: int) -> dict[str, Observed]:
    """What has happened at each hook that exists."""
    hour = now_ms // HOUR_MS
    waiting = Counter(row.hook_id for row in data.deliveries.values() if row.status is DeliveryStatus.PENDING)
    return {
        hook_id: Observed(
            hook_id=hook_id,
            waiting=waiting[hook_id],
            last_called_ms=hook.last_called_ms,
            last_delivered_ms=hook.last_delivered_ms,
            last_attempt_ms=hook.last_attempt_ms,
            day_count=sum(hook.hours[h] for h in range(hour - DAY_HOURS + 1, hour + 1)),
            gone_since_ms=hook.gone_ms,
            failing_since_ms=hook.failing_since_ms,
        )
        for hook_id, hook in data.hooks.items()
        if not hook.deleted
    }


def prune(data: Contents, rule: Retention) -> Pruned:
    """Remove what the rule no longer covers: abandoned and parked deliveries end, ended ones go, then events."""
    rows = data.deliveries
    for row in rows.values():
        if row.status is DeliveryStatus.SENDING and row.claimable(rule.now_ms) and data.hooks[row.hook_id].deleted:
            row.end(DeliveryStatus.CANCELLED, rule.now_ms)
    expired = _parked(data, rule)[: rule.limit]
    for row in expired:
        row.end(DeliveryStatus.EXPIRED, rule.now_ms)
    old = _outdated(data, rule)[: rule.limit - len(expired)]
    for row in old:
        del rows[row.id]
    spent = {row.event.id for row in old} - {row.event.id for row in rows.values()}
    idle = _childless(data, rule)[: rule.limit - len(expired) - len(old)]
    kept = {row.hook_id for row in rows.values()}
    data.hooks = {one: hook for one, hook in data.hooks.items() if not hook.deleted or one in kept}
    for event_id in spent.union(idle):
        del data.events[event_id]
    return Pruned(len(old), len(spent) + len(idle), len(expired))


def _parked(data: Contents, rule: Retention) -> list[Row]:
    """What has waited for too long at hooks that take nothing."""
    return [
        row
        for row in data.deliveries.values()
        if row.status is DeliveryStatus.PENDING
        and row.hook_id in rule.parked
        and row.event.received_ms < rule.parked_before_ms
    ]


def _outdated(data: Contents, rule: Retention) -> list[Row]:
    """Ended deliveries that are too many or too old."""
    ended = [row for row in data.deliveries.values() if not row.status.is_live]
    excess = max(len(ended) - rule.keep, 0)
    return [
        row
        for place, row in enumerate(ended)
        if place < excess or (row.finished_ms is not None and row.finished_ms < rule.ended_before_ms)
    ]


def _childless(data: Contents, rule: Retention) -> list[str]:
    """Events that never had a delivery and are too many or too old."""
    childless = [event for event in data.events.values() if not event.deliveries]
    excess = max(len(childless) - rule.keep, 0)
    return [
        event.id
        for place, event in enumerate(childless)
        if place < excess or event.received_ms < rule.ended_before_ms
    ]
