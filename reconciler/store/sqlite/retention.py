"""Redelivering and pruning: the verbs that go through many rows at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.model.delivery import DeliveryFilter, DeliveryStatus
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.search import matching
from reconciler.store.sqlite.session import HOUR_MS, fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from reconciler.store.port import Retention
    from reconciler.store.sqlite.session import Session

__all__ = ["Outdated", "expire", "find_outdated", "find_parked", "redeliver", "remove"]

_PENDING = sql.CODES[DeliveryStatus.PENDING]
_SENDING = sql.CODES[DeliveryStatus.SENDING]
_CANCELLED = sql.CODES[DeliveryStatus.CANCELLED]
_EXPIRED = sql.CODES[DeliveryStatus.EXPIRED]
_REDELIVERABLE = frozenset(status for status in DeliveryStatus if status.is_redeliverable)
_TRAFFIC_HOURS = 48


def redeliver(session: Session, which: DeliveryFilter, now_ms: int, limit: int) -> list[tuple[str, str]]:
    """Start new rounds, first accepted first."""
    statuses = _REDELIVERABLE if which.statuses is None else which.statuses & _REDELIVERABLE
    statement, values = matching(sql.REDELIVERABLE, replace(which, statuses=statuses))
    rows = session.fetch(statement, {**values, "limit": max(limit, 0)})
    session.execute(sql.REDELIVER, (now_ms, sql.json_list([n for n, *_ in rows])))
    for _, _, _, hook, status in rows:
        session.tally(hook).move(status, _PENDING)
    return [(delivery_id, hook_id) for _, delivery_id, hook_id, _, _ in rows]


class Outdated(NamedTuple):
    """What may be removed: deliveries, of which those up to `surplus` are too many, and events that had none."""

    deliveries: list[int]
    surplus: int
    childless: list[int]


def find_parked(connection: apsw.Connection, rule: Retention) -> list[int]:
    """What has been parked too long, first accepted first. Looking takes long, so it is done beside the writer."""
    if not rule.parked:
        return []
    parked = sql.json_list(sorted(rule.parked))
    limit = max(rule.limit, 0)
    rows = fetch(connection, sql.PARKED, {"parked": parked, "before": rule.parked_before_ms, "limit": limit})
    return [n for (n,) in rows]


def expire(session: Session, rule: Retention, parked: Sequence[int]) -> int:
    """Expire what still waits of `parked`; how many. Cancel what nobody will claim again."""
    _end(session, session.fetch(sql.CANCEL_ABANDONED, {"now": rule.now_ms}), _SENDING, _CANCELLED)
    if not parked:
        return 0
    return _end(session, session.fetch(sql.EXPIRE, (rule.now_ms, sql.json_list(parked))), _PENDING, _EXPIRED)


def _end(session: Session, hooks: list[tuple[Any, ...]], before: int, after: int) -> int:
    """Tally rows that a statement has moved; how many."""
    moved = Counter(hook for (hook,) in hooks)
    for hook, count in moved.items():
        session.tally(hook).move(before, after, count)
    return moved.total()


def find_outdated(connection: apsw.Connection, rule: Retention, limit: int) -> Outdated:
    """What retention no longer covers, first accepted first. Looking takes long: done beside the writer."""
    if limit <= 0:
        return Outdated([], 0, [])
    counts = fetch(connection, sql.COUNTS)[0]
    excess = max(sum(counts) - counts[_PENDING] - counts[_SENDING] - rule.keep, 0)
    surplus = fetch(connection, sql.ENDED_FIRST, (min(excess, limit),)) if excess else []
    aged = fetch(connection, sql.ENDED_BEFORE, (rule.ended_before_ms, limit))
    deliveries = sorted({n for (n,) in (*surplus, *aged)})[:limit]
    limit -= len(deliveries)
    excess = max(fetch(connection, sql.CHILDLESS_COUNT)[0][0] - rule.keep, 0)
    too_many = fetch(connection, sql.CHILDLESS_FIRST, (min(excess, limit),))
    too_old = fetch(connection, sql.CHILDLESS_BEFORE, (rule.ended_before_ms, limit))
    childless = sorted({n for (n,) in (*too_many, *too_old)})[:limit]
    return Outdated(deliveries, max((n for (n,) in surplus), default=0), childless)


def remove(session: Session, rule: Retention, found: Outdated) -> tuple[int, int]:
    """Remove what was found and is still as it was; how many deliveries and events."""
    deliveries, events = _delete(session, rule, found)
    events += session.execute(sql.DELETE_CHILDLESS, (sql.json_list(found.childless),))
    session.execute(sql.FORGET_PRESENCE)
    session.execute(sql.FORGET_TRAFFIC, (rule.now_ms // HOUR_MS - _TRAFFIC_HOURS,))
    session.flush()
    if session.execute(sql.FORGET_HOOKS):
        session.execute(sql.FORGET_TRAFFIC_OF_NOBODY)
        session.refresh()
    return deliveries, events


def _delete(session: Session, rule: Retention, found: Outdated) -> tuple[int, int]:
    """Remove deliveries with their attempts, and events with the last of theirs."""
    if not found.deliveries:
        return 0, 0
    rows = session.fetch(
        sql.DELETE_ENDED,
        {
            "numbers": sql.json_list(found.deliveries),
            "before": rule.ended_before_ms,
            "surplus": found.surplus,
        },
    )
    session.execute(sql.DELETE_ATTEMPTS, (sql.json_list([n for n, *_ in rows]),))
    events = Counter(event for _, event, _, _ in rows)
    for event, count in events.items():
        session.execute(sql.LET_GO, (count, event))
    for _, _, hook, status in rows:
        session.tally(hook).statuses[status] -= 1
    return len(rows), session.execute(sql.DELETE_CHILDLESS, (sql.json_list(list(events)),))
