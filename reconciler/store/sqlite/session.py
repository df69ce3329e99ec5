"""The writer's connection, with what it knows of the database.

What it knows (serial, hooks' numbers, gone marks, the next numbers) is good until another connection writes, which
SQLite's data version tells without a statement. So nothing is read that the writer has written itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from reconciler.model.delivery import DeliveryStatus
from reconciler.store.sqlite import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    import apsw

    from reconciler.model.delivery import NewEvent

__all__ = ["HOUR_MS", "Fresh", "Held", "Hook", "Session", "Tally", "fetch"]

HOUR_MS: Final = 3_600_000

FRESH_MAX: Final = 4_096
FRESH_BYTES_MAX: Final = 16 * 1024 * 1024
"""Accepted deliveries, and the bytes of their payloads, that are kept at hand until they are claimed."""

HELD_MAX: Final = 16_384
"""Claims that are kept at hand until they are settled."""


Bindings: TypeAlias = "Sequence[Any] | dict[str, Any]"


def fetch(connection: apsw.Connection, statement: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
    """Run one statement and take all its rows."""
    return connection.execute(statement, bindings).fetchall()


@dataclass(slots=True)
class Hook:
    """A hook's number, the hour that its row counts traffic of, and whether it was deleted."""

    n: int
    hour: int
    deleted: int


@dataclass(slots=True)
class Tally:
    """What one transaction does to one hook's history; written once, before the commit.

    `recovered` says that a success came first among what `failing_ms` follows. `statuses` are differences by code.
    """

    statuses: list[int] = field(default_factory=lambda: [0] * len(sql.STATUSES))
    hours: Counter[int] = field(default_factory=Counter)
    called_ms: int | None = None
    attempt_ms: int | None = None
    delivered_ms: int | None = None
    recovered: bool = False
    failing_ms: int | None = None
    gone_ms: int | None = None

    def move(self, before: int, after: int, count: int = 1) -> None:
        """`count` deliveries went from one status to another."""
        self.statuses[before] -= count
        self.statuses[after] += count

    def attempted(self, started_ms: int, *, delivered: bool) -> None:
        """An attempt was recorded."""
        self.attempt_ms = max(self.attempt_ms or 0, started_ms)
        if not delivered and self.failing_ms is None:
            self.failing_ms = started_ms

    def delivered(self, now_ms: int) -> None:
        """A success was recorded: whatever failed before it is over."""
        self.delivered_ms, self.recovered, self.failing_ms = now_ms, True, None


class Fresh(NamedTuple):
    """A delivery that was accepted here and has not been claimed yet."""

    hook: int
    id: str
    hook_id: str
    event: NewEvent


class Held(NamedTuple):
    """A delivery that is being sent, as its row says."""

    id: str
    n: int
    hook: int
    hook_deleted: int
    claims: int
    owner: str
    tries: int
    attempts: int
    last_status: int | None
    last_error: str | None
    lane: int


class Session:
    """One connection inside one transaction at a time. Used by the writer's thread only."""

    def __init__(self, connection: apsw.Connection, path: str) -> None:
        self.connection = connection
        self.path = path
        self.statements = 0
        self.lineage: str | None = None
        self.serial = 0
        self.salt: bytes | None = None
        self.gone: dict[str, int] = {}
        self.next_event = 1
        self.next_delivery = 1
        self.fresh: dict[int, Fresh] = {}
        self.held: dict[str, Held] = {}
        self._fresh_bytes = 0
        self._present: set[tuple[int, int]] = set()
        self._hooks: dict[str, Hook] = {}
        self._tallies: dict[int, Tally] = {}
        self._known_hooks: dict[int, Hook] = {}
        self._version: int | None = None

    def execute(self, statement: str, bindings: Bindings = ()) -> int:
        """Run one statement that answers nothing; how many rows it has changed."""
        self.statements += 1
        self.connection.execute(statement, bindings)
        return self.connection.changes()

    def fetch(self, statement: str, bindings: Bindings = ()) -> list[tuple[Any, ...]]:
        """Run one statement and take all its rows."""
        self.statements += 1
        return fetch(self.connection, statement, bindings)

    def write_rows(self, statement: str, width: int, rows: Sequence[Any]) -> int:
        """Run a statement of many rows, given as one flat list; how many rows it has changed."""
        changed = at = 0
        for size in sql.sizes(len(rows) // width):
            part = rows[at : at + size * width]
            spare = size * width - len(part)
            whole = [*part, *(None,) * spare] if spare else part
            changed += self.execute(sql.multiplied(statement, width, size), whole)
            at += size * width
        return changed

    # -- transactions --------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start a transaction; read again what another connection may have changed."""
        self.execute(sql.BEGIN)
        if self.connection.data_version() != self._version:
            self._refresh()

    def commit(self) -> None:
        """Write what the hooks went through, and commit."""
        self.flush()
        self.execute(sql.COMMIT)
        self._version = self.connection.data_version()

    def rollback(self) -> None:
        """Back to before `begin`, and usable again whatever has happened."""
        self.forget()
        if self.connection.in_transaction:
            self.execute(sql.ROLLBACK)

    def forget(self) -> None:
        """What is known was part of something undone: read it again next time."""
        self._version = None
        self._tallies.clear()
        self.forget_rows()

    def forget_rows(self) -> None:
        """Rows may have been changed otherwise than by accepting, claiming and settling: read them again."""
        self.fresh.clear()
        self.held.clear()
        self._fresh_bytes = 0

    def undo(self) -> None:
        """Back to the savepoint, within the transaction."""
        self._tallies.clear()
        self.execute(sql.ROLLBACK_TO)
        self._refresh()

    def _refresh(self) -> None:
        self._hooks.clear()
        self._known_hooks.clear()
        self._tallies.clear()
        self._present.clear()
        self.forget_rows()
        ((self.lineage, self.serial, self.salt),) = self.fetch(sql.READ_META)
        self.gone = dict(self.fetch(sql.READ_GONE))
        sequences = dict(self.fetch(sql.READ_SEQUENCES))
        self.next_event = sequences.get("event", 0) + 1
        self.next_delivery = sequences.get("delivery", 0) + 1

    def refresh(self) -> None:
        """Flush, then read everything again: a statement has changed hooks or state beside the tallies."""
        self.flush()
        self._refresh()

    # -- deliveries at hand ----------------------------------------------------------------------------------------

    def note_presence(self, hook: int, n: int) -> None:
        """A hook has a delivery of this number."""
        place = (hook, n >> sql.BLOCK_BITS)
        if place not in self._present:
            self.execute(sql.INSERT_PRESENCE, place)
            self._present.add(place)

    def accepted(self, n: int, fresh: Fresh) -> None:
        """A delivery was inserted: keep it at hand for the claim that is likely to follow."""
        if len(self.fresh) < FRESH_MAX and self._fresh_bytes < FRESH_BYTES_MAX:
            self.fresh[n] = fresh
            self._fresh_bytes += len(fresh.event.payload)

    def take_fresh(self, n: int) -> Fresh | None:
        """A delivery at hand, if it is; it leaves the hand."""
        fresh = self.fresh.pop(n, None)
        if fresh is not None:
            self._fresh_bytes -= len(fresh.event.payload)
        return fresh

    def claimed(self, held: Held) -> None:
        """Keep a claim at hand for its settling."""
        if len(self.held) >= HELD_MAX:
            self.held.clear()
        self.held[held.id] = held

    def claimed_first(self, delivery_id: str, n: int, hook: int, owner: str) -> None:
        """Keep a delivery's first claim at hand."""
        self.claimed(Held(delivery_id, n, hook, self.is_deleted(hook), 1, owner, 0, 0, None, None, 0))

    # -- hooks ---------------------------------------------------------------------------------------------------

    def hook(self, hook_id: str) -> int:
        """A hook's number; a hook that was never applied gets one."""
        known = self._hooks.get(hook_id)
        if known is None:
            known = self._find(hook_id) or self._keep(hook_id, *self.fetch(sql.INSERT_HOOK, (hook_id,))[0])
        return known.n

    def find_hook(self, hook_id: str) -> int | None:
        """A hook's number, if it has one."""
        known = self._hooks.get(hook_id) or self._find(hook_id)
        return None if known is None else known.n

    def _find(self, hook_id: str) -> Hook | None:
        for row in self.fetch(sql.READ_HOOK, (hook_id,)):
            return self._keep(hook_id, *row)
        return None

    def _keep(self, hook_id: str, n: int, hour: int, deleted: int) -> Hook:
        known = self._hooks[hook_id] = self._known_hooks[n] = Hook(n, hour, deleted)
        return known

    def is_deleted(self, hook: int) -> int:
        """Whether a hook that was asked for in this transaction has been deleted, as its row says."""
        return self._known_hooks[hook].deleted

    def mark_gone(self, hook: int, now_ms: int) -> None:
        """A hook has answered 410."""
        self.tally(hook).gone_ms = now_ms
        (hook_id,) = self.fetch(sql.READ_HOOK_ID, (hook,))[0]
        self.gone.setdefault(hook_id, now_ms)

    def tally(self, hook: int) -> Tally:
        """What this transaction has done to a hook so far."""
        tally = self._tallies.get(hook)
        if tally is None:
            tally = self._tallies[hook] = Tally()
        return tally

    def flush(self) -> None:
        """Write the tallies."""
        if not self._tallies:
            return
        rows: list[Any] = []
        for n, tally in self._tallies.items():
            hour, count = self._hour(n, tally)
            rows += (
                n,
                *tally.statuses,
                hour,
                count,
                tally.called_ms,
                tally.attempt_ms,
                tally.delivered_ms,
                tally.recovered,
                tally.failing_ms,
                tally.gone_ms,
            )
        self.write_rows(sql.TALLY, sql.TALLY_WIDTH, rows)
        self._tallies.clear()

    def _hour(self, n: int, tally: Tally) -> tuple[int, int]:
        """The hour that a hook's row shall count, and what to add to it; other hours go to their own table."""
        known = self._known_hooks.get(n)
        if not tally.hours:
            return 0, 0
        assert known is not None, "traffic comes through `hook`"
        hour = max(known.hour, *tally.hours)
        if hour > known.hour:
            self.execute(sql.ROLL_HOUR, (n,))
            known.hour = hour
        for other, count in tally.hours.items():
            if other != hour:
                self.execute(sql.ADD_TRAFFIC, (n, other, count))
        return hour, tally.hours[hour]


assert len(DeliveryStatus) == sql.TALLY_WIDTH - 9, "the tally's columns are written out by place"
