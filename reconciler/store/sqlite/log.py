"""Reading: the log, the queue's heads, what has been observed, and the figures. Never writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.model.delivery import Attempt, AttemptError, Delivery, DeliveryFilter, DeliveryStatus
from reconciler.store.port import HookReadiness, Observed, Page
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.search import matching
from reconciler.store.sqlite.session import HOUR_MS, fetch

if TYPE_CHECKING:
    import apsw

__all__ = ["count", "deliveries", "delivery", "figures", "gone", "observed", "read_note", "read_serial", "ready"]

_DAY_HOURS = 24
_PENDING = sql.CODES[DeliveryStatus.PENDING]


def read_serial(connection: apsw.Connection) -> tuple[str | None, int]:
    """Lineage and serial."""
    lineage, serial, _ = fetch(connection, sql.READ_META)[0]
    return lineage, serial


def read_note(connection: apsw.Connection, name: str) -> str | None:
    """A note's text."""
    rows = fetch(connection, sql.READ_NOTE, (name,))
    return rows[0][0] if rows else None


def _shown(row: tuple[Any, ...]) -> Delivery:
    _, id_, hook_id, hook, event, event_id, code, round_, attempts, created, due, finished, status, error = row
    return Delivery(
        id=id_,
        hook_id=hook_id,
        hook=hook,
        event=event,
        event_id=event_id,
        status=sql.STATUSES[code],
        round=round_,
        attempts=attempts,
        created_ms=created,
        next_attempt_ms=due if code == _PENDING else None,
        finished_ms=finished,
        last_status=status,
        last_error=error,
    )


def deliveries(connection: apsw.Connection, which: DeliveryFilter, before: int | None, limit: int) -> Page:
    """A page of the log below the number `before`."""
    statement, values = matching(sql.DELIVERIES, which, before=before)
    limit = max(limit, 1)
    rows = fetch(connection, statement, {**values, "limit": limit + 1})
    following = str(rows[limit - 1][0]) if len(rows) > limit else None
    return Page(tuple(_shown(row) for row in rows[:limit]), following)


def delivery(connection: apsw.Connection, delivery_id: str) -> tuple[Delivery, bytes, list[Attempt]] | None:
    """One delivery with its payload and attempts, all of one moment."""
    connection.execute("BEGIN")
    try:
        row = next(iter(fetch(connection, sql.DELIVERY, (delivery_id,))), None)
        if row is None:
            return None
        first = row[0] << sql.ATTEMPTS_BITS
        attempts = fetch(connection, sql.ATTEMPTS, (first, first + sql.ATTEMPTS_MAX))
    finally:
        connection.execute("COMMIT")
    return _shown(row[:-1]), row[-1], [_attempt(attempt) for attempt in attempts]


def _attempt(row: tuple[Any, ...]) -> Attempt:
    number, round_, started, duration, status, error, message, headers, body = row
    return Attempt(
        number=number,
        round=round_,
        started_ms=started,
        duration_ms=duration,
        status=status,
        error=None if error is None else AttemptError(error),
        message=message,
        headers=headers,
        body=body,
    )


def count(connection: apsw.Connection, which: DeliveryFilter) -> int:
    """How many match."""
    return int(fetch(connection, *matching(sql.COUNT, which))[0][0])


def ready(connection: apsw.Connection) -> list[HookReadiness]:
    """The heads of every hook's lanes."""
    return [HookReadiness(*row) for row in fetch(connection, sql.READY)]


def gone(connection: apsw.Connection) -> dict[str, int]:
    """Hooks marked gone."""
    return dict(fetch(connection, sql.READ_GONE))


def observed(connection: apsw.Connection, now_ms: int) -> dict[str, Observed]:
    """Every existing hook's history."""
    last = now_ms // HOUR_MS
    rows = fetch(connection, sql.OBSERVED, {"first": last - _DAY_HOURS + 1, "last": last})
    return {
        row[0]: Observed(
            hook_id=row[0],
            waiting=row[1],
            last_called_ms=row[2],
            last_delivered_ms=row[3],
            last_attempt_ms=row[4],
            gone_since_ms=row[5],
            failing_since_ms=row[6],
            day_count=row[7],
        )
        for row in rows
    }


def figures(connection: apsw.Connection) -> dict[str, Any]:
    """The arguments of Stats but for the engine's, all of one moment."""
    connection.execute("BEGIN")
    try:
        counts = fetch(connection, sql.COUNTS)[0]
        waiting, running = fetch(connection, sql.SYNC_COUNTS)[0]
        return {
            "by_status": dict(zip(sql.STATUSES, counts, strict=True)),
            "oldest_due_ms": fetch(connection, sql.OLDEST_DUE)[0][0],
            "syncs_waiting": waiting,
            "syncs_running": running,
            "gone": len(gone(connection)),
            "events": fetch(connection, sql.EVENT_COUNT)[0][0],
        }
    finally:
        connection.execute("COMMIT")
