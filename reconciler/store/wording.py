"""What every backend says and reads alike: the messages of refusals, and cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.errors import PlanStale, SnapshotMoved, UsageError

if TYPE_CHECKING:
    from reconciler.store.port import Commit

__all__ = ["cursor_place", "moved", "stale"]


def stale(change: Commit, lineage: str | None, serial: int) -> PlanStale:
    """The refusal of a change that was planned on another state."""
    if lineage != change.expected_lineage:
        return PlanStale("the state is another one than was planned on (its lineage differs); plan again")
    return PlanStale(
        f"the state moved on while this was planned: it is at serial {serial}, planned on {change.expected_serial}; "
        "plan again"
    )


def moved(serial: int, current: int) -> SnapshotMoved:
    """The refusal of a fan-out that was decided on another state."""
    return SnapshotMoved(f"decided on serial {serial}, the state is at {current}; decide again")


def cursor_place(cursor: str | None) -> int | None:
    """The order number below which the next page begins."""
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 19):  # noqa: PLR2004 - an SQLite integer
        raise UsageError("not a cursor of this log; take the `next` of the page before")
    return int(cursor)
