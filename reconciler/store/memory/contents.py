"""What the model remembers, and the small rules of one row."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from reconciler.model.delivery import Claim, DeliveryStatus, Fence
from reconciler.model.resource import State

if TYPE_CHECKING:
    from collections.abc import Collection

    from reconciler.model.delivery import Attempt, DeliveryFilter, NewEvent
    from reconciler.model.resource import Key, Resource
    from reconciler.model.sync import NewSync
    from reconciler.store.port import Commit, Latest

__all__ = [
    "DAY_HOURS",
    "HOUR_MS",
    "Contents",
    "Hook",
    "QueuedSync",
    "Row",
    "changed",
    "latest_due",
    "matches",
    "take",
]

HOUR_MS = 3_600_000
DAY_HOURS = 24


@dataclass(slots=True)
class Row:
    """A delivery. `sequence` is the order of acceptance; `tries` are the attempts of this round."""

    sequence: int
    id: str
    hook_id: str
    event: NewEvent
    status: DeliveryStatus = DeliveryStatus.PENDING
    round: int = 1
    tries: int = 0
    claims: int = 0
    owner: str | None = None
    due_ms: int | None = None
    finished_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_retry(self) -> bool:
        """Whether it was attempted before, in this round or an earlier one."""
        return self.tries > 0 or self.round > 1

    def claimable(self, now_ms: int) -> bool:
        return self.due_ms is not None and self.due_ms <= now_ms

    def held_by(self, fence: Fence) -> bool:
        return self.status is DeliveryStatus.SENDING and (self.claims, self.owner) == fence

    def wait(self, due_ms: int) -> None:
        self.status, self.owner, self.due_ms, self.finished_ms = DeliveryStatus.PENDING, None, due_ms, None

    def end(self, status: DeliveryStatus, now_ms: int) -> None:
        self.status, self.owner, self.due_ms, self.finished_ms = status, None, None, now_ms


@dataclass(slots=True)
class Hook:
    """What is remembered of a hook, deleted ones included. `hours` counts traffic by hour of the epoch."""

    address: str = ""
    deleted: bool = False
    gone_ms: int | None = None
    last_called_ms: int | None = None
    last_delivered_ms: int | None = None
    last_attempt_ms: int | None = None
    failing_since_ms: int | None = None
    hours: Counter[int] = field(default_factory=Counter)


@dataclass(slots=True)
class QueuedSync:
    """A queued sync; running while it has an owner, until `due_ms`."""

    sync: NewSync
    claims: int = 0
    owner: str | None = None
    due_ms: int = 0

    @property
    def fence(self) -> Fence | None:
        return None if self.owner is None else Fence(self.claims, self.owner)


@dataclass(slots=True)
class Contents:
    """What outlives a MemoryStore: hand the same one to another store to reopen it."""

    state: State = field(default_factory=State)
    notes: dict[str, str] = field(default_factory=dict)
    events: dict[str, NewEvent] = field(default_factory=dict)
    deliveries: dict[str, Row] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    syncs: list[QueuedSync] = field(default_factory=list)
    sequence: int = 0


def take(row: Row, owner: str, lease_until_ms: int) -> Claim:
    """Claim a row; what its worker is told."""
    row.status, row.owner, row.due_ms = DeliveryStatus.SENDING, owner, lease_until_ms
    row.claims += 1
    return Claim(
        delivery_id=row.id,
        hook_id=row.hook_id,
        event_id=row.event.id,
        event_type=row.event.type,
        payload=row.event.payload,
        attempt=row.tries + 1,
        round=row.round,
        created_ms=row.event.received_ms,
        fence=Fence(row.claims, owner),
    )


def changed(state: State, change: Commit) -> State:
    """The state after `change`: deletes, then all renames at once, then upserts."""
    kept = {key: resource for key, resource in state.resources.items() if key not in change.deletes}
    moved_rows = {change.renames[key]: kept.pop(key) for key in list(kept) if key in change.renames}
    _refuse_overwriting(kept, moved_rows)
    kept |= {key: replace(resource, key=key) for key, resource in moved_rows.items()}
    kept |= {resource.key: _as_stored(resource) for resource in change.upserts}
    return State(
        lineage=state.lineage or change.lineage,
        serial=state.serial + 1,
        salt=state.salt or change.salt,
        resources=dict(sorted(kept.items())),
    )


def _refuse_overwriting(kept: Collection[Key], moved_rows: Collection[Key]) -> None:
    for key in moved_rows:
        if key in kept:
            raise ValueError(f"{key.kind} {key.address} would be overwritten by a rename")


def _as_stored(resource: Resource) -> Resource:
    """As it comes back from a disk: JSON values of its own."""
    return replace(resource, spec=json.loads(json.dumps(resource.spec)))


def latest_due(row: Row, bound: Latest) -> int:
    """When a delivery can be due at the latest."""
    if not row.is_retry:
        return bound.first_ms
    return bound.asked_ms if row.last_status in (429, 503) else bound.retry_ms


def _ended_before(row: Row, at_ms: int) -> bool:
    return row.finished_ms is not None and row.finished_ms < at_ms


def matches(row: Row, which: DeliveryFilter) -> bool:
    """Whether every given field of the filter matches."""
    created = row.event.received_ms
    return (
        (which.hook_ids is None or row.hook_id in which.hook_ids)
        and (which.statuses is None or row.status in which.statuses)
        and (which.event is None or row.event.type == which.event)
        and (which.error is None or row.last_error == which.error)
        and (which.since_ms is None or created >= which.since_ms)
        and (which.until_ms is None or created < which.until_ms)
        and (which.ended_before_ms is None or _ended_before(row, which.ended_before_ms))
        and (which.ids is None or row.id in which.ids)
    )
