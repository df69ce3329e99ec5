"""Retention in small steps, so that everybody else gets their turn between them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler.daemon.options import ServeOptions
from reconciler.daemon.retention import PRUNE_PAUSE_S, PRUNE_ROWS, keep_finite
from reconciler.errors import StoreUnavailable
from reconciler.model.delivery import DeliveryFilter, DeliveryStatus, NewDelivery, NewEvent, Settlement
from reconciler.model.snapshot import Snapshot
from reconciler.store.memory import MemoryStore
from reconciler.store.port import Demand

if TYPE_CHECKING:
    from reconciler.store.port import Pruned

NOW_MS = 10_000_000_000


class Spy(MemoryStore):
    """Notes how much each step may remove; is full for the first `refusals` of them."""

    refusals = 0

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[tuple[int, int]] = []

    async def prune(self, **rule: Any) -> Pruned:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("the disk is full")
        pruned = await super().prune(**rule)
        self.steps.append((rule["limit"], pruned.deliveries))
        return pruned


class RoundsClock:
    """Ends the daemon after so many rounds; every pause is over at once and noted."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self.pauses: list[float | None] = []

    def now_ms(self) -> int:
        return NOW_MS

    def wall_s(self) -> int:
        return NOW_MS // 1000

    def monotonic_s(self) -> float:
        return NOW_MS / 1000

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        self.pauses.append(timeout_s)
        if timeout_s != PRUNE_PAUSE_S:
            self._rounds -= 1
            if self._rounds < 0:
                event.set()
        return event.is_set()


async def ended(store: MemoryStore, count: int) -> None:
    """Deliveries that ended long ago, and one that waits."""
    events = [
        NewEvent(id=f"e-{n}", type="x", payload=b"{}", received_ms=1, deliveries=(NewDelivery(f"d-{n}", "h"),))
        for n in range(count + 1)
    ]
    await store.accept(events, serial=0)
    claims = await store.claim([Demand("h", count, 0)], limit=count, owner="w", now_ms=2, lease_ms=10)
    settlements = [
        Settlement(delivery_id=c.delivery_id, fence=c.fence, status=DeliveryStatus.DELIVERED) for c in claims
    ]
    await store.settle(settlements, now_ms=3)


def prune(store: Spy, rounds: int) -> RoundsClock:
    """Run so many rounds."""
    clock = RoundsClock(rounds)
    snapshot = Snapshot(generation=1, lineage=None, serial=0)
    asyncio.run(keep_finite(store, lambda: snapshot, options=ServeOptions(), clock=clock, stopping=asyncio.Event()))
    return clock


def test_no_step_removes_more_than_a_thousand_rows_and_a_pause_follows_each() -> None:
    """2,500 rows are removed in three steps with pauses between them; what waits is left alone."""
    store = Spy()
    asyncio.run(ended(store, 2_500))

    clock = prune(store, 1)

    assert store.steps == [(PRUNE_ROWS, 1_000), (PRUNE_ROWS, 1_000), (PRUNE_ROWS, 500), (PRUNE_ROWS, 0)]
    assert clock.pauses.count(PRUNE_PAUSE_S) == 3
    (left,) = asyncio.run(store.deliveries(DeliveryFilter(), cursor=None, limit=10)).items
    assert left.status is DeliveryStatus.PENDING


def test_a_store_that_is_full_postpones_it_to_the_next_round() -> None:
    """The daemon goes on, and so does retention when it can."""
    store = Spy()
    store.refusals = 1
    asyncio.run(ended(store, 10))

    prune(store, 2)

    assert store.steps == [(PRUNE_ROWS, 10), (PRUNE_ROWS, 0)]
