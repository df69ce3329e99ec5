"""The verbs of the model. Nothing awaits, so each is atomic as long as it checks before it changes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.errors import StoreUnavailable, UsageError
from reconciler.model.delivery import Accepted, Attempt, Claim, Delivery, DeliveryStatus, Fence
from reconciler.model.resource import Kind, State
from reconciler.model.sync import NewSync, SyncClaim, SyncTicket
from reconciler.store.memory.contents import (
    HOUR_MS,
    Contents,
    Hook,
    QueuedSync,
    Row,
    changed,
    latest_due,
    matches,
    take,
)
from reconciler.store.memory.history import observed, prune, shown
from reconciler.store.port import HookReadiness, Observed, Page, Pruned, Retention, Stats
from reconciler.store.wording import cursor_place, moved, stale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType
    from typing import Self

    from reconciler.model.delivery import DeliveryFilter, NewEvent, Settlement, Taking
    from reconciler.store.port import Commit, Demand, Latest

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store that forgets. `writable` False is what a store that is not there yet looks like to a reader."""

    def __init__(self, contents: Contents | None = None, *, writable: bool = True) -> None:
        self._data = contents or Contents()
        self._writable = writable
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True

    def _open(self) -> Contents:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._data

    def _writing(self) -> Contents:
        if not self._writable:
            raise StoreUnavailable("the store was opened for reading only")
        return self._open()

    # -- state -----------------------------------------------------------------------------------------------

    async def read_state(self) -> State:
        return self._open().state

    async def read_serial(self) -> tuple[str | None, int]:
        return self._open().state.lineage, self._data.state.serial

    async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
        state = self._writing().state
        if (state.lineage, state.serial) != (change.expected_lineage, change.expected_serial):
            raise stale(change, state.lineage, state.serial)
        after = changed(state, change)
        verify(after)
        self._data.state = after
        self._data.notes.update(change.notes)
        self._follow_hooks(state, change, now_ms)
        self._follow_syncs(change)
        return after.serial

    def _follow_hooks(self, before: State, change: Commit, now_ms: int) -> None:
        present = {resource.id: key.address for key, resource in self._data.state.resources.items() if resource.id}
        for hook_id, address in present.items():
            hook = self._hook(hook_id)
            hook.address, hook.deleted = address, False
        for resource in before.resources.values():
            if resource.id and resource.id not in present:
                hook = self._hook(resource.id)
                hook.deleted, hook.gone_ms = True, None
        for hook_id in change.clear_gone & self._data.hooks.keys():
            self._hook(hook_id).gone_ms = None
        for row in self._data.deliveries.values():
            if row.hook_id in change.cancel_hooks and row.status is DeliveryStatus.PENDING:
                row.end(DeliveryStatus.CANCELLED, now_ms)

    def _follow_syncs(self, change: Commit) -> None:
        deleted = {key.address for key in change.deletes if key.kind is Kind.DATA_SOURCE}
        renamed = {old.address: new.address for old, new in change.renames.items() if old.kind is Kind.DATA_SOURCE}
        self._data.syncs = [entry for entry in self._data.syncs if entry.sync.data_source not in deleted]
        for entry in self._data.syncs:
            address = entry.sync.data_source
            entry.sync = replace(entry.sync, data_source=renamed.get(address, address))

    async def read_note(self, name: str) -> str | None:
        return self._open().notes.get(name)

    async def write_note(self, name: str, value: str) -> None:
        self._writing().notes[name] = value

    # -- ingest ----------------------------------------------------------------------------------------------

    async def accept(
        self, events: Sequence[NewEvent], *, serial: int, taking: Taking | None = None
    ) -> list[Accepted]:
        self._require(serial)
        return self._accept(events, taking)

    def _require(self, serial: int) -> None:
        current = self._writing().state.serial
        if serial != current:
            raise moved(serial, current)

    def _accept(self, events: Sequence[NewEvent], taking: Taking | None = None) -> list[Accepted]:
        data = self._data
        rooms = {} if taking is None else dict(taking.rooms)
        new = {event.id: event for event in reversed(events) if event.id not in data.events}
        ids = [delivery.id for event in new.values() for delivery in event.deliveries]
        if len(set(ids)) < len(ids) or not data.deliveries.keys().isdisjoint(ids):
            raise ValueError("a delivery id is known already; nothing was accepted")
        answers = []
        for event in events:
            duplicate = event.id in data.events
            claims: list[Claim] = []
            if not duplicate:
                open_ones = tuple(one for one in event.deliveries if self._hook(one.hook_id).gone_ms is None)
                self._store(event._replace(deliveries=open_ones))
                for delivery_id, hook_id in open_ones:
                    if taking is not None and rooms.get(hook_id, 0) > 0:
                        rooms[hook_id] -= 1
                        row = data.deliveries[delivery_id]
                        claims.append(take(row, taking.owner, taking.lease_until_ms))
            first = data.events[event.id]
            answers.append(Accepted(event.id, duplicate, len(first.deliveries), first.unmatched, tuple(claims)))
        return answers

    def _store(self, event: NewEvent) -> None:
        data = self._data
        data.events[event.id] = event
        for delivery in event.deliveries:
            data.sequence += 1
            data.deliveries[delivery.id] = Row(
                data.sequence, delivery.id, delivery.hook_id, event, due_ms=event.received_ms
            )
            self._hook(delivery.hook_id).hours[event.received_ms // HOUR_MS] += 1

    def _hook(self, hook_id: str) -> Hook:
        hook = self._data.hooks.get(hook_id)
        if hook is None:
            hook = self._data.hooks[hook_id] = Hook()
        return hook

    # -- queue -----------------------------------------------------------------------------------------------

    async def claim(
        self, demands: Sequence[Demand], *, limit: int, owner: str, now_ms: int, lease_ms: int
    ) -> list[Claim]:
        self._writing()
        taken: list[Row] = []
        for demand in demands:
            due = sorted(
                (row for row in self._rows() if row.hook_id == demand.hook_id and row.claimable(now_ms)),
                key=lambda row: (row.due_ms, row.sequence),
            )
            taken += [row for row in due if not row.is_retry][: max(demand.first, 0)]
            taken += [row for row in due if row.is_retry][: max(demand.retries, 0)]
        del taken[max(limit, 0) :]
        return [take(row, owner, now_ms + lease_ms) for row in taken]

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> list[bool]:
        self._writing()
        return [self._settle(settlement, now_ms) for settlement in settlements]

    def _settle(self, settlement: Settlement, now_ms: int) -> bool:
        row = self._data.deliveries.get(settlement.delivery_id)
        if row is None or not row.held_by(settlement.fence):
            return False
        hook = self._hook(row.hook_id)
        attempt = settlement.attempt
        if attempt is not None:
            row.attempts.append(attempt)
            row.tries += 1
            row.last_status = attempt.status
            hook.last_attempt_ms = max(hook.last_attempt_ms or 0, attempt.started_ms)
            if settlement.status is not DeliveryStatus.DELIVERED and hook.failing_since_ms is None:
                hook.failing_since_ms = attempt.started_ms
        row.last_error = settlement.error
        if settlement.status is DeliveryStatus.DELIVERED:
            hook.last_delivered_ms, hook.failing_since_ms = now_ms, None
        if settlement.gone and hook.gone_ms is None and not hook.deleted:
            hook.gone_ms = now_ms
        if settlement.status is not DeliveryStatus.PENDING:
            row.end(settlement.status, now_ms)
        else:
            self._requeue(row, now_ms if settlement.due_ms is None else settlement.due_ms, now_ms)
        return True

    def _requeue(self, row: Row, due_ms: int, now_ms: int) -> None:
        if self._hook(row.hook_id).deleted:
            row.end(DeliveryStatus.CANCELLED, now_ms)
        else:
            row.wait(due_ms)

    async def release(self, claims: Sequence[tuple[str, str, int]], *, owner: str, due_ms: int) -> None:
        self._writing()
        for delivery_id, _, count in claims:
            row = self._data.deliveries.get(delivery_id)
            if row is not None and row.held_by(Fence(count, owner)):
                self._requeue(row, due_ms, due_ms)

    async def free_leases(self, *, latest: Sequence[Latest] = ()) -> int:
        self._writing()
        sending = [row for row in self._rows() if row.status is DeliveryStatus.SENDING]
        for row in sending:
            self._requeue(row, row.event.received_ms, row.event.received_ms)
        running = [entry for entry in self._data.syncs if entry.owner is not None]
        for entry in running:
            self._release_sync(entry)
        bounds = {each.hook_id: each for each in latest}
        for row in self._rows():
            if row.status is DeliveryStatus.PENDING and row.due_ms is not None and row.hook_id in bounds:
                row.due_ms = min(row.due_ms, latest_due(row, bounds[row.hook_id]))
        return len(sending) + len(running)

    async def ready(self) -> list[HookReadiness]:
        self._open()
        lanes: dict[str, tuple[list[int], list[int]]] = {}
        for row in self._rows():
            if row.due_ms is not None and not self._hook(row.hook_id).deleted:
                lanes.setdefault(row.hook_id, ([], []))[row.is_retry].append(row.due_ms)
        return [
            HookReadiness(hook_id, min(first, default=None), min(retry, default=None))
            for hook_id, (first, retry) in lanes.items()
        ]

    async def clear_gone(self, hook_id: str) -> bool:
        hook = self._writing().hooks.get(hook_id)
        if hook is None or hook.gone_ms is None:
            return False
        hook.gone_ms = None
        return True

    async def gone(self) -> dict[str, int]:
        return {hook_id: hook.gone_ms for hook_id, hook in self._open().hooks.items() if hook.gone_ms is not None}

    # -- syncs -----------------------------------------------------------------------------------------------

    async def request_sync(self, sync: NewSync, *, serial: int) -> SyncTicket:
        self._require(serial)
        hook = self._hook(sync.hook_id)
        hook.last_called_ms = max(hook.last_called_ms or 0, sync.requested_ms)
        hook.hours[sync.requested_ms // HOUR_MS] += sync.calls
        waiting = self._waiting(sync.data_source)
        if waiting is None:
            self._data.syncs.append(QueuedSync(sync))
            return SyncTicket(sync.id, joined=False)
        waiting.sync = replace(waiting.sync, body=sync.body)
        return SyncTicket(waiting.sync.id, joined=True)

    def _waiting(self, data_source: str) -> QueuedSync | None:
        return next((e for e in self._data.syncs if e.sync.data_source == data_source and e.owner is None), None)

    async def claim_syncs(
        self, *, limit: int, owner: str, now_ms: int, lease_ms: int, resting: frozenset[str] = frozenset()
    ) -> list[SyncClaim]:
        self._writing()
        for entry in [entry for entry in self._data.syncs if entry.owner is not None and entry.due_ms <= now_ms]:
            self._release_sync(entry)
        running = resting | {entry.sync.data_source for entry in self._data.syncs if entry.owner is not None}
        free = [e for e in self._data.syncs if e.owner is None and e.sync.data_source not in running]
        for entry in free[: max(limit, 0)]:
            entry.owner, entry.claims, entry.due_ms = owner, entry.claims + 1, now_ms + lease_ms
        return [
            SyncClaim(
                sync_id=entry.sync.id,
                data_source=entry.sync.data_source,
                requested_ms=entry.sync.requested_ms,
                body=entry.sync.body,
                fence=Fence(entry.claims, owner),
            )
            for entry in free[: max(limit, 0)]
        ]

    def _running(self, claim: SyncClaim) -> QueuedSync | None:
        return next((e for e in self._data.syncs if e.sync.id == claim.sync_id and e.fence == claim.fence), None)

    async def finish_sync(
        self,
        claim: SyncClaim,
        *,
        event: NewEvent | None,
        serial: int,
        now_ms: int,  # noqa: ARG002 - no log of syncs
    ) -> Accepted | None:
        self._writing()
        entry = self._running(claim)
        if entry is None:
            return None
        answer = Accepted(claim.sync_id, duplicate=False, deliveries=0, unmatched=None)
        if event is not None:
            self._require(serial)
            (answer,) = self._accept([event])
        self._data.syncs.remove(entry)
        return answer

    async def release_sync(self, claim: SyncClaim) -> None:
        self._writing()
        entry = self._running(claim)
        if entry is not None:
            self._release_sync(entry)

    def _release_sync(self, entry: QueuedSync) -> None:
        if self._waiting(entry.sync.data_source) is None:
            entry.owner = None
        else:
            self._data.syncs.remove(entry)

    # -- log and operations ----------------------------------------------------------------------------------

    def _rows(self) -> Iterator[Row]:
        """Deliveries in the order of acceptance."""
        return iter(self._data.deliveries.values())

    def _matching(self, which: DeliveryFilter) -> list[Row]:
        self._open()
        return [row for row in self._rows() if matches(row, which)]

    async def deliveries(self, which: DeliveryFilter, *, cursor: str | None, limit: int) -> Page:
        before = cursor_place(cursor)
        rows = [row for row in reversed(self._matching(which)) if before is None or row.sequence < before]
        page = rows[: max(limit, 1)]
        following = str(page[-1].sequence) if len(rows) > len(page) else None
        return Page(tuple(shown(row, self._hook(row.hook_id)) for row in page), following)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, bytes, list[Attempt]] | None:
        row = self._open().deliveries.get(delivery_id)
        return None if row is None else (shown(row, self._hook(row.hook_id)), row.event.payload, list(row.attempts))

    async def count(self, which: DeliveryFilter) -> int:
        return len(self._matching(which))

    async def redeliver(self, which: DeliveryFilter, *, now_ms: int, limit: int) -> list[tuple[str, str]]:
        self._writing()
        rows = [r for r in self._matching(which) if r.status.is_redeliverable and not self._hook(r.hook_id).deleted]
        for row in rows[: max(limit, 0)]:
            row.round, row.tries = row.round + 1, 0
            row.wait(now_ms)
        return [(row.id, row.hook_id) for row in rows[: max(limit, 0)]]

    async def observed(self, *, now_ms: int) -> dict[str, Observed]:
        return observed(self._open(), now_ms)

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
        return prune(self._writing(), Retention(ended_before_ms, parked, parked_before_ms, keep, limit, now_ms))

    async def stats(self) -> Stats:
        data = self._open()
        statuses = Counter(row.status for row in self._rows())
        due = [row.due_ms for row in self._rows() if row.status is DeliveryStatus.PENDING and row.due_ms is not None]
        return Stats(
            by_status={status: statuses[status] for status in DeliveryStatus},
            oldest_due_ms=min(due, default=None),
            syncs_waiting=sum(entry.owner is None for entry in data.syncs),
            syncs_running=sum(entry.owner is not None for entry in data.syncs),
            gone=sum(hook.gone_ms is not None for hook in data.hooks.values()),
            events=len(data.events),
            engine={"backend": "memory"},
        )

    async def backup(self, path: str) -> None:
        self._open()
        raise UsageError(f"memory: has nothing on disk to copy to {path}")
