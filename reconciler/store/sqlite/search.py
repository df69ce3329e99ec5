"""A filter of the log as conditions on its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from reconciler.store.sqlite import sql

if TYPE_CHECKING:
    from reconciler.model.delivery import DeliveryFilter

__all__ = ["matching"]

_DELIVERIES: Final = "delivery AS d"
_DELIVERIES_OF_A_HOOK: Final = (
    "presence AS p CROSS JOIN delivery AS d "
    f"ON d.n BETWEEN p.block << {sql.BLOCK_BITS} AND ((p.block + 1) << {sql.BLOCK_BITS}) - 1 AND d.hook = p.hook"
)
_HOOK: Final = "p.hook = (SELECT n FROM hook WHERE id = :hooks ->> 0)"
_HOOKS: Final = "h.id IN (SELECT value FROM json_each(:hooks))"
_STATUSES: Final = "d.status IN (SELECT value FROM json_each(:statuses))"
_UNDELIVERED: Final = f"{_STATUSES} AND d.status >= {sql.FIRST_UNDELIVERED}"


def matching(statement: str, which: DeliveryFilter, *, before: int | None = None) -> tuple[str, dict[str, Any]]:
    """A statement over the log for what a filter matches, and its parameters.

    Undelivered ones have an index; else one hook's deliveries are found by block, all others in order.
    """
    hooks = None if which.hook_ids is None else sorted(which.hook_ids)
    codes = None if which.statuses is None else sorted(sql.CODES[status] for status in which.statuses)
    undelivered = bool(codes and codes[0] >= sql.FIRST_UNDELIVERED)
    by_block = hooks is not None and len(hooks) == 1 and not undelivered
    given = {
        "hooks": (_HOOK if by_block else _HOOKS, hooks),
        "statuses": (_UNDELIVERED if undelivered else _STATUSES, codes),
        "event": ("e.type = :event", which.event),
        "error": ("d.last_error = :error", which.error),
        "since": ("d.created >= :since", which.since_ms),
        "until": ("d.created < :until", which.until_ms),
        "ended": ("d.finished < :ended", which.ended_before_ms),
        "ids": ("d.id IN (SELECT value FROM json_each(:ids))", which.ids),
        "before": ("d.n < :before", before),
    }
    terms = [condition for condition, value in given.values() if value is not None]
    values = {
        name: sql.json_list(value) if isinstance(value, list | tuple) else value
        for name, (_, value) in given.items()
        if value is not None
    }
    return statement.format(
        source=_DELIVERIES_OF_A_HOOK if by_block else _DELIVERIES,
        where=" AND ".join(terms) or "true",
        newest="p.block DESC, d.n DESC" if by_block else "d.n DESC",
        oldest="p.block, d.n" if by_block else "d.n",
    ), values
