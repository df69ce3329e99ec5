"""Claiming: which hooks have work that is due, how much of it to take in, and when to look again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from reconciler.delivery.lane import RETRY_TURN, Held, Lane
from reconciler.delivery.timetable import Timetable
from reconciler.errors import ReconcilerError
from reconciler.model.delivery import Taking
from reconciler.store.port import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from reconciler.clock import Clock
    from reconciler.model.breaker import Tripped
    from reconciler.model.delivery import Claim
    from reconciler.model.outcome import Decision
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store

__all__ = ["LEASE_MARGIN_MS", "Intake"]

LEASE_MARGIN_MS = 20_000
"""What a lease has beyond the longest time-out: for the wait before the attempt and the writing after it."""
CLAIMS_MAX = 512
DEMANDS_MAX = 256
"""Claims, and hooks, a question."""
HELD_MAX = 4096
HELD_BYTES_MAX = 64 * 1024 * 1024
"""What may wait here for an attempt, over all hooks."""
CLAIM_EVERY_S = 0.004
"""The pause after each question, so that under load each brings many claims."""
LOOK_EVERY_S = 1.0
"""How often the store is asked what is due: for what other processes queued, and for wake-ups that were missed."""
LOOK_PAUSE_S = 0.2
"""What lies between two looks at least, however often one is asked for."""
AGAIN_S = 0.5
"""The pause after a question that the store could not answer."""
_PAYLOAD_BYTES = 1024
"""What a payload is taken for until one is seen."""

_FIRST, _RETRY, _PAUSE = "first", "retry", "pause"

log = structlog.get_logger(__name__)


class Intake:
    """Owns the lanes. `arrived` hears of lanes that got claims or opened, `give_back` takes claims of closed ones."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        owner: str,
        snapshot: Callable[[], Snapshot],
        arrived: Callable[[Lane], None],
        give_back: Callable[[Sequence[Claim]], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._snapshot = snapshot
        self._arrived = arrived
        self._give_back = give_back
        self._seen: Snapshot | None = None
        self._lanes: dict[str, Lane] = {}
        self._hungry: dict[str, Lane] = {}
        self._timetable = Timetable()
        self._gone: set[str] = set()
        self._going: dict[str, bool] = {}
        self._held = self._reserved = 0
        self._payload_bytes = _PAYLOAD_BYTES
        self._awake = asyncio.Event()
        self._look = asyncio.Event()
        self._stopping = asyncio.Event()

    # -- what others tell ------------------------------------------------------------------------------------

    def wake(self, hook_ids: Collection[str] | None, *, retries: bool = False) -> None:
        """There are first attempts, or retries, to be made at these hooks; None: anything may have changed."""
        if hook_ids is None:
            self.follow()
            self._look.set()
            self._awake.set()
            return
        for hook_id in hook_ids:
            if hook_id in self._gone or hook_id in self._going:
                self._look.set()
            lane = self._lane(hook_id)
            if lane is not None:
                lane.wakes += 1
                lane.work(retry=retries).more = True
                self._feed(lane)

    def reserve(self, hook_ids: Iterable[str]) -> Taking | None:
        """Room for deliveries to these hooks that are about to be stored; a hook is named once for each of them.

        Whatever comes of the storing, `take` is due then.
        """
        rooms: dict[str, int] = {}
        left = 0 if self._stopping.is_set() else self._room()
        timeout_ms = 0
        for hook_id in hook_ids:
            lane = self._lane(hook_id)
            if lane is None:
                continue
            if left > 0 and lane.reserve():
                rooms[hook_id] = rooms.get(hook_id, 0) + 1
                timeout_ms = max(timeout_ms, lane.timeout_ms)
                left -= 1
                self._reserved += 1
            else:
                lane.first.backlog = True  # those that come later shall not go first
        if not rooms:
            return None
        return Taking(rooms, self._owner, self._clock.now_ms() + timeout_ms + LEASE_MARGIN_MS)

    def take(self, taking: Taking, claims: Sequence[Claim]) -> None:
        """What came of a reservation."""
        for hook_id, count in taking.rooms.items():
            self._reserved -= count
            lane = self._lanes.get(hook_id)
            if lane is not None:
                lane.reserved -= count
                self._feed(lane)
        if claims:
            self._take_in(claims, taking.lease_until_ms)

    def started(self, count: int = 1) -> None:
        """So many claims that waited here do so no more."""
        self._held -= count
        if self._hungry:
            self._awake.set()

    def learn(self, lane: Lane, decision: Decision, *, started_ms: int, now_ms: int) -> None:
        """An attempt is about to end: what its answer means for the whole hook. `ended` is due then."""
        blocked_until_ms = lane.blocked_until_ms
        lane.learn(decision, started_ms=started_ms, now_ms=now_ms)
        if decision.gone:
            self._close(lane)
        if lane.blocked_until_ms != blocked_until_ms:
            self._follow_block(lane)

    def ended(self, lane: Lane) -> None:
        """An attempt has ended, and there may be room for more."""
        self._feed(lane)

    def renew(self, hook_id: str) -> None:
        """The receiver has answered well elsewhere: forget how it did."""
        lane = self._lanes.get(hook_id)
        if lane is not None:
            was_open = lane.is_open
            lane.renew()
            if lane.is_open and not was_open:
                self._opened(lane)

    def due(self, hook_id: str, due_ms: int) -> None:
        """A retry of this hook waits in the store until then."""
        self._timetable.add(due_ms, hook_id, _RETRY)
        self._awake.set()

    def closed(self, hook_id: str) -> None:
        """The store knows that the receiver wants nothing more."""
        self._going[hook_id] = True

    def stop(self) -> None:
        """Claim nothing more, and give back what waits."""
        self._stopping.set()
        self._awake.set()
        self._look.set()
        for lane in self._lanes.values():
            self._empty(lane)

    @property
    def lanes(self) -> Collection[Lane]:
        """All lanes."""
        return self._lanes.values()

    @property
    def held(self) -> int:
        """How many claims wait here."""
        return self._held

    def breakers(self) -> dict[str, Tripped]:
        """The breakers that are not closed, by hook id."""
        now_ms = self._clock.now_ms()
        found = ((lane.hook_id, lane.tripped(now_ms)) for lane in self._lanes.values())
        return {hook_id: tripped for hook_id, tripped in found if tripped is not None}

    def pauses(self) -> dict[str, int]:
        """Until when receivers asked to be left alone, by hook id; only of those that are enabled and not gone."""
        now_ms = self._clock.now_ms()
        found = ((lane.hook_id, lane.paused_until(now_ms)) for lane in self._lanes.values())
        return {hook_id: until_ms for hook_id, until_ms in found if until_ms is not None}

    # -- lanes -----------------------------------------------------------------------------------------------

    def follow(self) -> None:
        """Take over a swapped snapshot: hooks that came, went, opened or shut."""
        snapshot = self._snapshot()
        if snapshot is self._seen:
            return
        self._seen = snapshot
        for hook_id, lane in tuple(self._lanes.items()):
            self._describe(lane)
            if hook_id not in snapshot.outgoing and lane.is_idle:
                del self._lanes[hook_id]
                self._hungry.pop(hook_id, None)

    def _lane(self, hook_id: str) -> Lane | None:
        """The hook's lane; None for a hook that the snapshot does not know."""
        self.follow()
        lane = self._lanes.get(hook_id)
        if lane is None and self._seen is not None and hook_id in self._seen.outgoing:
            lane = self._lanes[hook_id] = Lane(hook_id)
            self._describe(lane)
        return lane

    def _describe(self, lane: Lane) -> None:
        """Bring the lane up to date with its hook, and act on it if it opened or shut."""
        assert self._seen is not None
        was_open = lane.is_open
        hook = self._seen.outgoing.get(lane.hook_id)
        lane.describe(hook, gone=lane.hook_id in self._gone or lane.hook_id in self._going)
        if lane.is_open and not was_open:
            self._opened(lane)
        elif not lane.is_open:
            self._empty(lane)

    def _opened(self, lane: Lane) -> None:
        lane.wakes += 1
        lane.first.stocked()
        lane.retries.stocked()
        self._feed(lane)
        self._arrived(lane)

    def _close(self, lane: Lane) -> None:
        """The receiver wants nothing more; `closed` is due when that is written."""
        self._going[lane.hook_id] = False
        lane.gone = True
        self._empty(lane)

    def _follow_block(self, lane: Lane) -> None:
        """The lane is to be left alone for a while, or no more."""
        if lane.blocked_until_ms is not None:
            self._timetable.add(lane.blocked_until_ms, lane.hook_id, _PAUSE)
            self._empty(lane)
            self._awake.set()
        elif lane.is_open:
            self._opened(lane)

    def _empty(self, lane: Lane) -> None:
        self._return(lane.empty())

    def _return(self, given: Sequence[Held]) -> None:
        self._held -= len(given)
        self._give_back([held.claim for held in given])

    def _feed(self, lane: Lane) -> None:
        if lane.wanted and lane.hook_id not in self._hungry:
            self._hungry[lane.hook_id] = lane
            self._awake.set()

    # -- looking ---------------------------------------------------------------------------------------------

    async def run_looks(self) -> None:
        """Ask the store regularly, and when told to, what is due and which hooks are gone."""
        while not self._stopping.is_set():
            self._look.clear()
            written = [hook_id for hook_id, is_written in self._going.items() if is_written]
            try:
                gone, ready = await self._store.gone(), await self._store.ready()
            except ReconcilerError as error:
                log.warning("queue.unavailable", code=error.code, reason=error.message)
            else:
                self._gone = set(gone)
                for hook_id in written:  # what was written since may not have been seen
                    if self._going.get(hook_id):
                        del self._going[hook_id]
                now_ms = self._clock.now_ms()
                for lane in tuple(self._lanes.values()):
                    self._refresh(lane, now_ms)
                self._find_slow(now_ms)
                for hook_id, first_ms, retry_ms in ready:
                    self._note(hook_id, first_ms, now_ms, retry=False)
                    self._note(hook_id, retry_ms, now_ms, retry=True)
            await self._clock.wait(self._stopping, LOOK_PAUSE_S)
            await self._clock.wait(self._look, LOOK_EVERY_S - LOOK_PAUSE_S)

    def _refresh(self, lane: Lane, now_ms: int) -> None:
        """Catch up with the store's marks, and with a pause whose end found no room on the timetable."""
        if lane.gone != (lane.hook_id in self._gone or lane.hook_id in self._going):
            self.follow()
            self._describe(lane)
        self._end_pause(lane, now_ms)

    def _find_slow(self, now_ms: int) -> None:
        """Give back what waits for hooks that have fallen silent, and let others have their slots."""
        silent = [lane for lane in self._lanes.values() if lane.look(now_ms)]
        for lane in silent:
            self._return(lane.surplus())
        for lane in silent:  # once all are known, or one that is not yet would take what another gives up
            self._arrived(lane)

    def _end_pause(self, lane: Lane, now_ms: int) -> None:
        if lane.pause_ended(now_ms) and lane.is_open:
            self._opened(lane)

    def _note(self, hook_id: str, due_ms: int | None, now_ms: int, *, retry: bool) -> None:
        lane = self._lane(hook_id) if due_ms is not None else None
        if lane is None or due_ms is None:
            return
        work = lane.work(retry=retry)
        if due_ms <= now_ms:
            lane.wakes += 1
            work.stocked()
            self._feed(lane)
        elif work.told_ms != due_ms:
            work.told_ms = due_ms
            self._timetable.add(due_ms, hook_id, _RETRY if retry else _FIRST)
            self._awake.set()

    def _ring(self) -> None:
        """Act on what the timetable says is due."""
        now_ms = self._clock.now_ms()
        for hook_id, kind in self._timetable.due(now_ms):
            lane = self._lane(hook_id)
            if lane is None:
                continue
            if kind == _PAUSE:
                self._end_pause(lane, now_ms)
                continue
            lane.wakes += 1
            lane.work(retry=kind == _RETRY).stocked()
            self._feed(lane)

    # -- claiming --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Claim what is due as long as there is room for it, until `stop`."""
        while not self._stopping.is_set():
            self._awake.clear()
            self.follow()
            self._ring()
            demands = self._demands()
            if demands:
                pause_s = await self._claim(demands)
                await self._clock.wait(self._stopping, pause_s)
                continue
            wait_ms = self._timetable.wait_ms(self._clock.now_ms())
            await self._clock.wait(self._awake, None if wait_ms is None else wait_ms / 1000)

    def _demands(self) -> list[Demand]:
        """What to ask for now, each hook its share of the room; those left out come first the next time."""
        room = self._room()
        share = max(1, room // max(1, len(self._hungry)))
        demands: list[Demand] = []
        for hook_id, lane in tuple(self._hungry.items()):
            if room <= 0 or len(demands) == DEMANDS_MAX:
                break
            del self._hungry[hook_id]
            wanted = min(lane.wanted, share)
            if not wanted:
                continue
            retries = wanted
            if lane.first.more:
                retries = -(-wanted // RETRY_TURN)
            demand = Demand(hook_id, wanted if lane.first.more else 0, retries if lane.retries.more else 0)
            room -= demand.first + demand.retries
            demands.append(demand)
        return demands

    def _room(self) -> int:
        most = min(HELD_MAX, HELD_BYTES_MAX // self._payload_bytes)
        return min(CLAIMS_MAX, most - self._held - self._reserved)

    async def _claim(self, demands: Sequence[Demand]) -> float:
        """Ask, and hand what comes to its lanes. How long to pause then."""
        now_ms = self._clock.now_ms()
        lanes = [self._lanes[demand.hook_id] for demand in demands]
        wakes = [lane.wakes for lane in lanes]
        lease_ms = max(lane.timeout_ms for lane in lanes) + LEASE_MARGIN_MS
        limit = sum(demand.first + demand.retries for demand in demands)
        try:
            claims = await self._store.claim(
                demands, limit=limit, owner=self._owner, now_ms=now_ms, lease_ms=lease_ms
            )
        except ReconcilerError as error:
            log.warning("claims.unavailable", code=error.code, reason=error.message)
            self._hungry.update((lane.hook_id, lane) for lane in lanes)
            return AGAIN_S
        self._take_in(claims, now_ms + lease_ms)
        self._learn(demands, lanes, wakes, claims)
        return CLAIM_EVERY_S

    def _take_in(self, claims: Sequence[Claim], lease_until_ms: int) -> None:
        strays: list[Claim] = []
        touched: dict[str, Lane] = {}
        for claim in claims:
            lane = self._lane(claim.hook_id)
            if lane is None or not lane.is_open or self._stopping.is_set():
                strays.append(claim)  # deleted, disabled or paused while the store was answering
                continue
            lane.hold(Held(claim, lease_until_ms))
            touched[claim.hook_id] = lane
        self._held += len(claims) - len(strays)
        self._give_back(strays)
        if claims:
            largest = max(len(claim.payload) for claim in claims)
            self._payload_bytes = max(_PAYLOAD_BYTES, largest, self._payload_bytes * 3 // 4)
        for lane in touched.values():
            self._arrived(lane)

    def _learn(
        self, demands: Sequence[Demand], lanes: Sequence[Lane], wakes: Sequence[int], claims: Sequence[Claim]
    ) -> None:
        """What the answer tells of how much of each hook's work there still is."""
        got: dict[tuple[str, bool], int] = {}
        for claim in claims:
            key = (claim.hook_id, claim.is_retry)
            got[key] = got.get(key, 0) + 1
        for (hook_id, first, retries), lane, woken in zip(demands, lanes, wakes, strict=True):
            lane.first.asked(first, got.get((hook_id, False), 0), woken=lane.wakes != woken)
            lane.retries.asked(retries, got.get((hook_id, True), 0), woken=lane.wakes != woken)
            self._feed(lane)
