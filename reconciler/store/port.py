"""What a store does: the one port, whose docstrings are the contract every backend is tested against.

Rules that hold for every verb:

- A verb is atomic and durable when it returns; when it raises, nothing of it happened.
- `now_ms` and ids come from the caller. Times are milliseconds since the epoch.
- StoreUnavailable: cannot write now (disk full, read-only, connection lost), may be tried again.
  StateUnreadable: what is stored cannot be understood; trying again will not help.
- Any number of tasks may call any verbs concurrently; they are serialised by the store.
- Reads see every verb that returned before they were called.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from reconciler.model.delivery import (
        Accepted,
        Attempt,
        Claim,
        Delivery,
        DeliveryFilter,
        DeliveryStatus,
        NewEvent,
        Settlement,
        Taking,
    )
    from reconciler.model.resource import Key, Resource, State
    from reconciler.model.sync import NewSync, SyncClaim, SyncTicket

__all__ = [
    "Access",
    "Commit",
    "Demand",
    "HookReadiness",
    "Latest",
    "Observed",
    "Page",
    "Pruned",
    "Retention",
    "Stats",
    "Store",
]


class Access(Enum):
    """What the opener will do, which decides what opening may create, lock or refuse."""

    READ = "read"
    """Reads only. Creates, locks and changes nothing; a missing store reads as the empty state."""

    WRITE = "write"
    """A command beside a possible daemon. Creates the store if it is missing."""

    DAEMON = "daemon"
    """The one daemon. Raises StoreLocked when another holds a store that only one may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A state change, as rows.

    `expected_lineage`/`expected_serial` are the state's this was planned on (None/0 for a new store). `lineage`
    and `salt` are used only when the store has none yet. In this order: `deletes` go; `renames` move rows from old
    to new keys, all at once, so that a swap is no special case (rows keep everything but their key); `upserts`
    write whole resources.

    A hook whose id leaves the state is deleted for good: its gone mark goes with it. `cancel_hooks` are ids whose
    PENDING deliveries end as CANCELLED; those that are SENDING may still be delivered, and end as CANCELLED where
    they would have become PENDING again. `clear_gone` are ids whose gone mark is removed. `notes` are key-value
    pairs written with it. Syncs, waiting or running, of deleted data sources go, of renamed ones move along.
    """

    expected_lineage: str | None
    expected_serial: int
    lineage: str
    salt: bytes = field(repr=False)
    upserts: tuple[Resource, ...] = ()
    deletes: tuple[Key, ...] = ()
    renames: Mapping[Key, Key] = field(default_factory=dict)
    cancel_hooks: frozenset[str] = frozenset()
    clear_gone: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)


class Demand(NamedTuple):
    """How many deliveries of one hook a worker can take, by lane.

    `first` is of those never attempted, `retries` of the others and of what is redelivered. The store lends no
    lane's room to the other.
    """

    hook_id: str
    first: int
    retries: int


class Latest(NamedTuple):
    """When deliveries of a hook can be due at the latest, unless a clock was wrong: first attempts, retries.

    `asked_ms` is of retries after a 429 or 503, which may have said when to come again.
    """

    hook_id: str
    first_ms: int
    retry_ms: int
    asked_ms: int


class HookReadiness(NamedTuple):
    """The earliest due time of a hook's live work in each lane, None where a lane is empty.

    What is being sent counts as due when its lease ends: that is when it can be claimed again.
    """

    hook_id: str
    first_ms: int | None
    retry_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What has happened at a webhook: for plans, `show` and guards. Counts are of deliveries (or trigger calls).

    `waiting` counts PENDING deliveries. `last_attempt_ms` is when the latest attempt began, `last_delivered_ms`
    when the latest success was recorded. `day_count` covers the present hour (of the epoch) and the 23 before it.
    `failing_since_ms` is the start of an unbroken run of failed attempts, None after a success.
    """

    hook_id: str
    waiting: int = 0
    last_called_ms: int | None = None
    last_delivered_ms: int | None = None
    last_attempt_ms: int | None = None
    day_count: int = 0
    gone_since_ms: int | None = None
    failing_since_ms: int | None = None


class Page(NamedTuple):
    """One page of the log, newest first, and the cursor of the next one (None at the end)."""

    items: tuple[Delivery, ...]
    next: str | None


class Pruned(NamedTuple):
    """What pruning removed or expired."""

    deliveries: int
    events: int
    expired: int


class Retention(NamedTuple):
    """What pruning leaves; see `Store.prune`."""

    ended_before_ms: int
    parked: frozenset[str]
    parked_before_ms: int
    keep: int
    limit: int
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The whole store at a glance.

    `by_status` has every status. `oldest_due_ms` is the earliest due time among pending deliveries. `engine` is
    free-form health (journal mode, file size, commits and statements of this process, …).
    """

    by_status: Mapping[DeliveryStatus, int]
    oldest_due_ms: int | None
    syncs_waiting: int
    syncs_running: int
    gone: int
    events: int
    engine: Mapping[str, str | int] = field(default_factory=dict)


class Store(Protocol):
    """Durable state, queue and log behind one port. Use as `async with`, or call `close`."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    # -- state -----------------------------------------------------------------------------------------------

    async def read_state(self) -> State:
        """The whole applied state, secrets sealed. The empty state where there is none yet."""
        ...

    async def read_serial(self) -> tuple[str | None, int]:
        """Lineage and serial only: cheap enough to poll several times a second."""
        ...

    async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
        """Apply `change` in one transaction and return the new serial, one above the old.

        Raises PlanStale if lineage or serial is not the expected one. Before committing, reads the state back
        from its rows and hands it to `verify`; whatever that raises rolls everything back and is raised on.
        `verify` may run on another thread, and everything else waits for it: no I/O, no calls of the store.
        """
        ...

    async def read_note(self, name: str) -> str | None:
        """A small text kept beside the state, such as the digest of the files last acted on."""
        ...

    async def write_note(self, name: str, value: str) -> None:
        """Set a note without touching state or serial."""
        ...

    # -- ingest ----------------------------------------------------------------------------------------------

    def accept(
        self, events: Sequence[NewEvent], *, serial: int, taking: Taking | None = None
    ) -> Awaitable[list[Accepted]]:
        """Store events with all their deliveries, PENDING and due at once; all of them or none.

        With `taking` a worker that has room for them claims some as they come, so that nobody has to ask for them:
        these are SENDING until the end of their lease, and their claims are in the answer.

        `serial` is the state's the fan-out was decided on: raises SnapshotMoved if it is no longer current.
        An event whose id is known (stored before, or earlier in `events`) changes nothing and answers as the
        first time with `duplicate` set. Deliveries to hooks that are marked gone are left out and not counted.
        Delivery ids are new: a known one under a new event is a ValueError.
        """
        ...

    # -- queue -----------------------------------------------------------------------------------------------

    async def claim(
        self, demands: Sequence[Demand], *, limit: int, owner: str, now_ms: int, lease_ms: int
    ) -> list[Claim]:
        """Take due deliveries, at most what each demand asks and `limit` in all, in order of due time per lane.

        Demands are served in their order, each its first lane before its retries; a hook is named at most once.
        A taken delivery is SENDING until `now_ms + lease_ms`; then it may be claimed again. No two unexpired
        claims are ever held on one delivery.
        """
        ...

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> list[bool]:
        """Record attempts and move deliveries on, each only if its fence still holds; which did, in order.

        Attempt and status change together. A lost fence changes nothing at all, whatever the delivery is now.
        A delivery whose webhook was deleted ends as CANCELLED instead of PENDING. `gone` marks the hook, unless
        it is marked or deleted already. A delivery is settled at most once a call.
        """
        ...

    async def release(self, claims: Sequence[tuple[str, str, int]], *, owner: str, due_ms: int) -> None:
        """Give back unattempted claims `(delivery_id, hook_id, claims)` of `owner`: PENDING again, due at `due_ms`.

        No attempt is consumed. Lost fences are passed over in silence. Those of deleted hooks end as CANCELLED.
        """
        ...

    async def free_leases(self, *, latest: Sequence[Latest] = ()) -> int:
        """Make every SENDING delivery PENDING and due, and every running sync waiting; how many of both.

        What is then due later than `latest` says becomes due then: a clock that was wrong when it was written must
        not hold it up.
        Only a daemon that alone holds the store may call it, once, before its first claim. What may not become
        PENDING (deleted hooks) ends as CANCELLED; a sync that another one waits behind is absorbed by that.
        """
        ...

    async def ready(self) -> list[HookReadiness]:
        """Each existing hook that has live deliveries, and when the first of each lane can be claimed.

        Cost grows with hooks, not with deliveries.
        """
        ...

    async def clear_gone(self, hook_id: str) -> bool:
        """Remove a hook's gone mark, as a 2xx test does; whether there was one."""
        ...

    async def gone(self) -> dict[str, int]:
        """Ids of hooks marked gone, with the time of the 410."""
        ...

    # -- syncs -----------------------------------------------------------------------------------------------

    async def request_sync(self, sync: NewSync, *, serial: int) -> SyncTicket:
        """Queue a sync, or join the one of the same data source that waits; counts as a call of the trigger.

        A joined one keeps its id, time and place in the queue and takes the new body. It counts as `sync.calls`
        calls. Raises SnapshotMoved if `serial` is not current.
        """
        ...

    async def claim_syncs(
        self, *, limit: int, owner: str, now_ms: int, lease_ms: int, resting: frozenset[str] = frozenset()
    ) -> list[SyncClaim]:
        """Take waiting syncs, oldest first, none of a data source that is `resting` or has one running.

        One whose lease has ended counts as waiting; where another waits behind it, that one absorbs it.
        """
        ...

    async def finish_sync(
        self, claim: SyncClaim, *, event: NewEvent | None, serial: int, now_ms: int
    ) -> Accepted | None:
        """End a sync and accept its result event in one transaction (`event` None: reported later by post).

        None when the fence was lost: then nothing happened. Without an event the answer carries the sync's id and
        no deliveries, and the serial does not matter; with one, SnapshotMoved is raised as by `accept`.
        """
        ...

    async def release_sync(self, claim: SyncClaim) -> None:
        """Give a running sync back to waiting; absorbed by one that waits already."""
        ...

    # -- log and operations ----------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, *, cursor: str | None, limit: int) -> Page:
        """A page of the log, last accepted first. A cursor stays valid while rows come and go.

        UsageError for a text that is no cursor.
        """
        ...

    async def delivery(self, delivery_id: str) -> tuple[Delivery, bytes, list[Attempt]] | None:
        """One delivery, its event's payload, and its attempts in order."""
        ...

    async def count(self, which: DeliveryFilter) -> int:
        """How many deliveries match."""
        ...

    async def redeliver(self, which: DeliveryFilter, *, now_ms: int, limit: int) -> list[tuple[str, str]]:
        """Start a new round for up to `limit` matching redeliverable deliveries, first accepted first.

        Same ids, fresh budget, due at once; attempts of earlier rounds stay. Those of deleted hooks are passed
        over. A filter without statuses takes all redeliverable ones, delivered ones too. Returns (delivery, hook)
        ids; fewer than `limit` means that nothing is left.
        """
        ...

    async def observed(self, *, now_ms: int) -> dict[str, Observed]:
        """What has happened at each existing webhook, by hook id; those without any history may be absent."""
        ...

    async def prune(
        self,
        *,
        ended_before_ms: int,
        parked: frozenset[str],
        parked_before_ms: int,
        keep: int,
        limit: int,
        now_ms: int,
    ) -> Pruned:
        """Remove what retention no longer covers, at most `limit` rows a call; never live work.

        The one verb that may commit in steps: an interrupted one has removed a part, and the next goes on.

        Goes: ended deliveries, with attempts, that ended before `ended_before_ms` or exceed the last accepted
        `keep` ended ones; an event with the last of its deliveries; an event that never had any when it was received
        before `ended_before_ms` or exceeds the newest `keep` of its kind. With an event its id is forgotten. PENDING
        deliveries of the `parked` hooks created before `parked_before_ms` end as EXPIRED. SENDING ones of deleted
        hooks whose lease has ended end as CANCELLED; a deleted hook is
        forgotten with its last delivery. Expired ones and events without deliveries count towards `limit`, in the
        order: expired, deliveries, events.
        """
        ...

    async def stats(self) -> Stats:
        """Counts over the whole store."""
        ...

    async def backup(self, path: str) -> None:
        """Write a consistent copy to `path`, which must not exist, while the store stays in use.

        UsageError if the path is taken, or if this backend has nothing on disk to copy.
        """
        ...

    async def close(self) -> None:
        """Finish what was asked, release everything held. Calling it again does nothing."""
        ...
