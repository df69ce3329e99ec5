"""The dispatcher: takes what is due, gives each hook its turn, attempts, and has the outcomes written.

`Intake` claims, `Rota` says whose turn it is, a worker makes the attempt, `Settler` writes down what came of it. A
turn ends when the answer is there; that its outcome becomes durable a moment later holds nobody up.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from reconciler.delivery.attempt import attempt
from reconciler.delivery.intake import Intake
from reconciler.delivery.rota import SLOTS, Rota
from reconciler.delivery.settler import Settler
from reconciler.model.breaker import BreakerState
from reconciler.model.delivery import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.delivery.attempt import Attempted
    from reconciler.delivery.lane import Lane
    from reconciler.delivery.rota import Turn
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.breaker import Tripped
    from reconciler.model.delivery import Claim, Taking
    from reconciler.model.exchange import Sender
    from reconciler.model.hook import OutgoingHook
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store

__all__ = ["Dispatcher"]

SETTLE_MARGIN_MS = 5_000
"""What must be left of a lease after an attempt that takes its full time-out."""

log = structlog.get_logger(__name__)


class Dispatcher:
    """Delivers. `owner` is this process's name in fences, `snapshot` reads the view in force.

    `attempted` hears of every outcome that is durable.
    """

    def __init__(
        self,
        *,
        store: Store,
        sender: Sender,
        snapshot: Callable[[], Snapshot],
        clock: Clock,
        mint: Mint,
        owner: str,
        metrics: Metrics | None = None,
        attempted: Callable[[Attempted], None] | None = None,
        slots: int = SLOTS,
    ) -> None:
        self._sender = sender
        self._snapshot = snapshot
        self._clock = clock
        self._mint = mint
        self._metrics = metrics
        self._attempted = attempted
        self._log = log.bind()  # once, for one line a delivery
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)
        self._rota = Rota(slots)
        if metrics is not None:
            metrics.in_flight.set_function(lambda: self._rota.in_flight)
        self._settler = Settler(
            store=store, clock=clock, owner=owner, recorded=self._recorded, recovered=self._start_turns
        )
        self._intake = Intake(
            store=store,
            clock=clock,
            owner=owner,
            snapshot=snapshot,
            arrived=self._arrived,
            give_back=self._settler.give_back,
        )
        self._group: asyncio.TaskGroup | None = None
        self._workers: set[asyncio.Task[None]] = set()
        self._resting: list[asyncio.Future[Turn | None]] = []
        self._under_way: dict[int, Turn] = {}
        self._faults: dict[str, int] = {}
        self._stopping = False
        self._idle = asyncio.Event()
        self._ended = asyncio.Event()

    def wake(self, hook_ids: Collection[str] | None = None, *, retries: bool = False) -> None:
        """First attempts, or retries, are due at these hooks; without ids, anything may have changed. Never waits."""
        self._intake.wake(hook_ids, retries=retries)

    def reserve(self, hook_ids: Iterable[str]) -> Taking | None:
        """Room for deliveries that are about to be stored, for the store to claim them as they come."""
        return self._intake.reserve(hook_ids)

    def take(self, taking: Taking, claims: Sequence[Claim]) -> None:
        """What came of a reservation: claims to attempt, or none. Due once for each."""
        self._intake.take(taking, claims)

    def status(self) -> Mapping[str, int]:
        """What `reconcile status` shows of the workers."""
        lanes = self._intake.lanes
        states = Counter(tripped.state for tripped in self.breakers().values())
        return {
            "in_flight": self._rota.in_flight,
            "slots": self._rota.slots,
            "claimed": self._intake.held,
            "unsettled": self._settler.unsettled,
            "slow_hooks": sum(lane.slow for lane in lanes),
            "paused_hooks": len(self.pauses()),
            "open_breakers": states[BreakerState.OPEN],
            "half_open_breakers": states[BreakerState.HALF_OPEN],
            "faults": sum(self._faults.values()),
        }

    def breakers(self) -> Mapping[str, Tripped]:
        """The breakers that are not closed, by hook id."""
        return self._intake.breakers()

    def pauses(self) -> Mapping[str, int]:
        """Until when receivers asked to be left alone, by hook id; only of those that are enabled and not gone."""
        return self._intake.pauses()

    def renew(self, hook_id: str) -> None:
        """The hook's receiver has answered a test well: whatever held its deliveries back here is forgotten."""
        self._intake.renew(hook_id)

    async def run(self) -> None:
        """Deliver until `stop`. Cancelled, it ends at once: what was in flight is attempted again another time."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._intake.run_looks(), name="looks")
                group.create_task(self._intake.run(), name="claims")
                group.create_task(self._settler.run(), name="settlements")
        finally:
            self._group = None
            self._ended.set()

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, let what is in flight end within `grace_s`, write the outcomes, give back the rest."""
        self._stopping = True
        self._intake.stop()
        for rest in self._resting:
            if not rest.done():
                rest.set_result(None)
        self._resting.clear()
        if self._under_way and not await self._clock.wait(self._idle, grace_s):
            log.warning("deliveries.cut-off", in_flight=len(self._under_way))
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)
        self._settler.give_back([turn.held.claim for turn in self._under_way.values()])
        self._settler.finish()
        if self._group is not None:
            await self._clock.wait(self._ended, None)

    # -- turns -----------------------------------------------------------------------------------------------

    def _arrived(self, lane: Lane) -> None:
        self._rota.offer(lane)
        self._start_turns()

    def _start_turns(self) -> None:
        """Give turns to workers that rest, then to new ones."""
        while self._group is not None and (self._resting or len(self._workers) < self._rota.slots):
            turn = self._next_turn()
            if turn is None:
                return
            if self._resting:
                self._resting.pop().set_result(turn)
                continue
            worker = self._group.create_task(self._work(turn))
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _next_turn(self) -> Turn | None:
        if not self._rota.is_awaited:
            return None
        self._intake.follow()
        while not self._stopping and not self._settler.is_stuck:
            turn = self._rota.take()
            if turn is None:
                return None
            self._intake.started()
            now_ms = self._clock.now_ms()
            if turn.held.lease_until_ms - now_ms >= turn.lane.timeout_ms + SETTLE_MARGIN_MS:
                self._under_way[id(turn)] = turn
                turn.lane.start(now_ms)
                return turn
            # It waited too long (a stopped process, a clock that leapt): whoever claims it next has all the time.
            self._rota.end(turn)
            self._settler.give_back([turn.held.claim])
            self._intake.wake([turn.lane.hook_id], retries=turn.held.is_retry)
        return None

    async def _work(self, first: Turn) -> None:
        """Make one attempt after the other, resting in between when there is none to make."""
        turn: Turn | None = first
        while turn is not None:
            try:
                await self._take_turn(turn)
            except Exception as fault:  # noqa: BLE001 - a log that cannot be written must not end deliveries
                self._faults[type(fault).__name__] = self._faults.get(type(fault).__name__, 0) + 1
                self._under_way.pop(id(turn), None)
            turn = self._next_turn()
            if turn is None and not self._stopping:
                rest: asyncio.Future[Turn | None] = asyncio.get_running_loop().create_future()
                self._resting.append(rest)
                turn = await rest

    async def _take_turn(self, turn: Turn) -> None:
        lane, claim = turn.lane, turn.held.claim
        hook = self._snapshot().outgoing.get(claim.hook_id)
        if hook is not None and not (hook.enabled and lane.is_open):
            hook = None  # it shut after the turn was given
        openings = lane.breaker.openings
        attempted = None
        try:
            if hook is not None:
                attempted = await attempt(hook, claim, sender=self._sender, clock=self._clock, mint=self._mint)
                started_ms = attempted.record.started_ms
                ended_ms = started_ms + attempted.record.duration_ms
                self._intake.learn(lane, attempted.decision, started_ms=started_ms, now_ms=ended_ms)
        finally:
            if attempted is None:
                lane.abandon(self._clock.now_ms())
            self._rota.end(turn)
        del self._under_way[id(turn)]
        if self._stopping and not self._under_way:
            self._idle.set()
        if hook is None or attempted is None:  # deleted or shut: the store knows what becomes of it
            self._settler.give_back([claim])
            return
        self._intake.ended(lane)
        self._settler.settle(attempted)
        self._tell(hook, attempted)
        if lane.breaker.openings != openings:
            self._tell_breaker(hook, lane)

    def _recorded(self, batch: Sequence[Attempted], kept: Sequence[bool]) -> None:
        """A batch of outcomes is durable."""
        ended: dict[str, int] = {}
        for attempted, counted in zip(batch, kept, strict=True):
            claim, settlement = attempted.claim, attempted.settlement
            if settlement.gone:
                self._intake.closed(claim.hook_id)
            if not counted:
                hook = self._snapshot().outgoing.get(claim.hook_id)
                log.warning(
                    "lease.lost",
                    delivery_id=claim.delivery_id,
                    event_id=claim.event_id,
                    hook_id=claim.hook_id,
                    hook=None if hook is None else hook.address,
                )
                if self._metrics is not None:
                    self._metrics.leases_lost.inc()
                continue
            if self._attempted is not None:
                self._attempted(attempted)
            if settlement.status is not DeliveryStatus.PENDING:
                ended[settlement.status.value] = ended.get(settlement.status.value, 0) + 1
            elif settlement.due_ms is not None:
                self._intake.due(claim.hook_id, settlement.due_ms)
        if self._metrics is not None:
            for status, count in ended.items():
                self._metrics.ended(status, count)

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, hook: OutgoingHook, attempted: Attempted) -> None:
        """Count the attempt, and log how it ended: the good ones for debugging, a last failure as a warning."""
        claim, record, decision = attempted.claim, attempted.record, attempted.decision
        if self._metrics is not None:
            self._metrics.attempted(decision.outcome, record.duration_ms / 1000)
            if claim.attempt == 1 and claim.round == 1:
                self._metrics.first_attempt_seconds.observe(max(0, record.started_ms - claim.created_ms) / 1000)
            if decision.error == "egress":
                self._metrics.egress_refused("delivery")
        if decision.status is DeliveryStatus.DELIVERED and not self._tells_all:
            return
        line = {
            "delivery_id": claim.delivery_id,
            "event_id": claim.event_id,
            "hook_id": hook.id,
            "hook": hook.address,
            "attempt": claim.attempt,
            "duration_ms": record.duration_ms,
        }
        if decision.gone:
            self._log.warning("webhook.gone", **line)
        if decision.status is DeliveryStatus.DELIVERED:
            self._log.debug("delivery.delivered", status=record.status, **line)
        elif decision.status is DeliveryStatus.PENDING:
            error, message = decision.error, record.message
            self._log.info("attempt.failed", error=error, message=message, due_ms=decision.due_ms, **line)
        else:
            error, message = decision.error, record.message
            self._log.warning(f"delivery.{decision.status.value}", error=error, message=message, **line)

    def _tell_breaker(self, hook: OutgoingHook, lane: Lane) -> None:
        """Log that a breaker has opened, again perhaps, or closed."""
        line = log.bind(hook_id=hook.id, hook=hook.address)
        if lane.breaker.open_until_ms is None:
            line.info("breaker.closed")
        else:
            line.warning("breaker.opened", until_ms=lane.breaker.open_until_ms, failures=lane.breaker.failures)
