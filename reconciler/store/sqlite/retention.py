"""Redelivering and pruning: the verbs that go through many rows at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.model.delivery import DeliveryFilter, DeliveryStatus
from reconciler.store.port import Pruned
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.session import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.store.sqlite.session import Session

__all__ = ["Retention", "prune", "redeliver"]

_PENDING = sql.CODES[DeliveryStatus.PENDING]
_SENDING = sql.CODES[DeliveryStatus.SENDING]
_CANCELLED = sql.CODES[DeliveryStatus.CANCELLED]
_EXPIRED = sql.CODES[DeliveryStatus.EXPIRED]
_REDELIVERABLE = frozenset(status for status in DeliveryStatus if status.is_redeliverable)
_TRAFFIC_HOURS = 48


class Retention(NamedTuple):
    """What is kept; see the port's `prune`."""

    ended_before_ms: int
    parked: frozenset[str]
    parked_before_ms: int
    keep: int
    limit: int
    now_ms: int


def redeliver(session: Session, which: DeliveryFilter, now_ms: int, limit: int) -> list[tuple[str, str]]:
    """Start new rounds, first accepted first."""
    statuses = _REDELIVERABLE if which.statuses is None else which.statuses & _REDELIVERABLE
    statement, values = sql.matching(sql.REDELIVERABLE, replace(which, statuses=statuses))
    rows = session.fetch(statement, {**values, "limit": max(limit, 0)})
    session.execute(sql.REDELIVER, (now_ms, sql.json_list([n for n, *_ in rows])))
    for _, _, _, hook, status in rows:
        session.tally(hook).move(status, _PENDING)
    return [(delivery_id, hook_id) for _, delivery_id, hook_id, _, _ in rows]


def prune(session: Session, rule: Retention) -> Pruned:
    """Expire what was parked too long, then remove what retention no longer covers."""
    _end(session, session.fetch(sql.CANCEL_ABANDONED, {"now": rule.now_ms}), _SENDING, _CANCELLED)
    expired = _expire(session, rule)
    session.flush()
    deliveries = _old_deliveries(session, rule, rule.limit - expired)
    spent = _delete(session, deliveries)
    childless = _old_childless(session, rule, rule.limit - expired - len(deliveries))
    session.execute(sql.DELETE_CHILDLESS, (sql.json_list(childless),))
    session.execute(sql.FORGET_PRESENCE)
    session.execute(sql.FORGET_TRAFFIC, (rule.now_ms // HOUR_MS - _TRAFFIC_HOURS,))
    session.flush()
    if session.execute(sql.FORGET_HOOKS):
        session.refresh()
    return Pruned(len(deliveries), spent + len(childless), expired)


def _expire(session: Session, rule: Retention) -> int:
    parked = {
        "parked": sql.json_list(sorted(rule.parked)),
        "before": rule.parked_before_ms,
        "limit": max(rule.limit, 0),
    }
    numbers = [n for (n,) in session.fetch(sql.PARKED, parked)] if rule.parked else []
    if not numbers:
        return 0
    return _end(session, session.fetch(sql.EXPIRE, (rule.now_ms, sql.json_list(numbers))), _PENDING, _EXPIRED)


def _end(session: Session, hooks: list[tuple[Any, ...]], before: int, after: int) -> int:
    """Tally rows that a statement has moved; how many."""
    moved = Counter(hook for (hook,) in hooks)
    for hook, count in moved.items():
        session.tally(hook).move(before, after, count)
    return moved.total()


def _old_deliveries(session: Session, rule: Retention, limit: int) -> list[int]:
    """The numbers of ended deliveries to remove, first accepted first."""
    if limit <= 0:
        return []
    counts = session.fetch(sql.COUNTS)[0]
    excess = max(sum(counts) - counts[_PENDING] - counts[_SENDING] - rule.keep, 0)
    surplus = session.fetch(sql.ENDED_FIRST, (min(excess, limit),)) if excess else []
    aged = session.fetch(sql.ENDED_BEFORE, (rule.ended_before_ms, limit))
    return sorted({n for (n,) in (*surplus, *aged)})[:limit]


def _old_childless(session: Session, rule: Retention, limit: int) -> list[int]:
    """The numbers of events without deliveries to remove."""
    if limit <= 0:
        return []
    excess = max(session.fetch(sql.CHILDLESS_COUNT)[0][0] - rule.keep, 0)
    surplus = session.fetch(sql.CHILDLESS_FIRST, (min(excess, limit),)) if excess else []
    aged = session.fetch(sql.CHILDLESS_BEFORE, (rule.ended_before_ms, limit))
    return sorted({n for (n,) in (*surplus, *aged)})[:limit]


def _delete(session: Session, numbers: Sequence[int]) -> int:
    """Remove deliveries with their attempts; how many events went with the last of theirs."""
    if not numbers:
        return 0
    rows = session.fetch(sql.DELETE_ENDED, (sql.json_list(numbers),))
    session.execute(sql.DELETE_ATTEMPTS, (sql.json_list([n for n, *_ in rows]),))
    events = Counter(event for _, event, _, _ in rows)
    for event, count in events.items():
        session.execute(sql.LET_GO, (count, event))
    for _, _, hook, status in rows:
        session.tally(hook).statuses[status] -= 1
    return session.execute(sql.DELETE_CHILDLESS, (sql.json_list(list(events)),))
