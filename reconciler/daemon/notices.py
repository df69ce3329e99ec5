"""Telling an operator how webhooks fare: in log and metrics always, and to the webhook for notices if there is one.

What is told goes through the store like any event, so it is durable, signed, retried and in the log of deliveries.
Until it is there, for a moment, it is only in memory; what a crash takes then the log and the plan's drift still say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.delivery import DeliveryStatus, NewDelivery, NewEvent
from reconciler.model.hook import NoticeType
from reconciler.model.notice import (
    EXHAUSTED_EVERY_MS,
    Allowance,
    Ending,
    Notice,
    Trouble,
    after_attempt,
    notice_payload,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from reconciler.clock import Clock
    from reconciler.delivery.attempt import Attempted
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store

__all__ = ["TOLD_NOTE", "Notices"]

TOLD_NOTE = "webhooks-in-trouble"
"""The note of what was told and is not over: the next process neither repeats it nor forgets to take it back."""

LOOK_EVERY_S = 1.0
"""How often counted deliveries are told of, and forgotten webhooks forgotten."""
WAITING_MAX = 256
"""Notices that may wait for a store that takes no writes; what is beyond is counted."""
TRIES = 3
"""How often a notice is decided anew because another process applied in between, before the next look."""

log = structlog.get_logger(__name__)


class Notices:
    """Hears of every attempt, tells of few. `wake` is told that deliveries to these webhooks wait."""

    def __init__(
        self,
        *,
        store: Store,
        snapshot: Callable[[], Snapshot],
        refresh: Callable[[], Awaitable[None]],
        wake: Callable[[Collection[str]], None],
        clock: Clock,
        mint: Mint,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._refresh = refresh
        self._wake = wake
        self._clock = clock
        self._mint = mint
        self._metrics = metrics
        self._troubles: dict[str, Trouble] = {}
        self._exhausted: dict[str, Notice] = {}
        self._exhausted_told_ms: dict[str, int] = {}
        self._waiting: list[Notice] = []
        self._allowance = Allowance(at_s=clock.monotonic_s())
        self._suppressed = 0
        self._noted = ""
        self._some = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    # -- hearing ---------------------------------------------------------------------------------------------

    def attempted(self, attempted: Attempted) -> None:
        """An attempt's outcome is durable. Called for every one: a success after none but successes costs nothing."""
        decision, hook_id = attempted.decision, attempted.claim.hook_id
        if decision.status is DeliveryStatus.DELIVERED:
            if hook_id in self._troubles:
                self._follow(hook_id, Ending.DELIVERED, None)
            return
        if decision.status is DeliveryStatus.REFUSED:  # nobody was asked
            return
        self._follow(hook_id, Ending.GONE if decision.gone else Ending.FAILED, decision.error)
        if decision.status is DeliveryStatus.EXHAUSTED:
            self._give_up(hook_id, attempted.claim.delivery_id, decision.error)

    def _follow(self, hook_id: str, ending: Ending, error: str | None) -> None:
        now_ms = self._clock.now_ms()
        trouble, told = after_attempt(self._troubles.get(hook_id), ending, now_ms)
        self._troubles[hook_id] = trouble
        if trouble.is_over(now_ms):
            del self._troubles[hook_id]
        if told is not None:
            self._tell(
                Notice(
                    type=told,
                    hook_id=hook_id,
                    at_ms=now_ms,
                    since_ms=trouble.since_ms,
                    failures=trouble.failures,
                    error=error,
                )
            )

    def _give_up(self, hook_id: str, delivery_id: str, error: str | None) -> None:
        now_ms = self._clock.now_ms()
        before = self._exhausted.get(hook_id)
        self._exhausted[hook_id] = Notice(
            type=NoticeType.EXHAUSTED,
            hook_id=hook_id,
            at_ms=now_ms,
            error=error,
            count=1 if before is None else before.count + 1,
            delivery_id=delivery_id if before is None else before.delivery_id,
        )
        if now_ms - self._exhausted_told_ms.get(hook_id, 0) >= EXHAUSTED_EVERY_MS:
            self._tell_exhausted(hook_id, now_ms)

    def _tell_exhausted(self, hook_id: str, now_ms: int) -> None:
        self._exhausted_told_ms[hook_id] = now_ms
        self._tell(self._exhausted.pop(hook_id))

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, notice: Notice) -> None:
        """To the log and the metrics now; to the configured webhook as soon as it may be."""
        snapshot = self._snapshot()
        hook = snapshot.outgoing.get(notice.hook_id)
        if hook is None:  # deleted in between
            return
        line = log.bind(hook_id=hook.id, hook=hook.address, error=notice.error)
        match notice.type:
            case NoticeType.FAILING:
                line.warning(notice.type.value, failures=notice.failures)
            case NoticeType.RECOVERED:
                line.info(notice.type.value)
            case NoticeType.GONE | NoticeType.EXHAUSTED:
                pass  # the dispatcher has logged each of them, with its delivery
        if snapshot.notify is None or hook.id == snapshot.notify.id:
            self._metrics.noticed(notice.type.value, "logged")
            return
        self._allowance, allowed = self._allowance.taken(self._clock.monotonic_s())
        if not allowed or len(self._waiting) >= WAITING_MAX:
            self._suppressed += 1
            self._metrics.noticed(notice.type.value, "suppressed")
            return
        self._waiting.append(notice)
        self._some.set()

    async def run(self) -> None:
        """Send what there is to tell until `stop`."""
        await self._recall()
        is_last = False
        while not is_last:
            await self._clock.wait(self._some, LOOK_EVERY_S)
            self._some.clear()
            is_last = self._stopping.is_set()
            self._look()
            await self._send()
        self._ended.set()

    async def stop(self) -> None:
        """Send what is left, once, and end. Call it when no attempt can end any more."""
        for hook_id in tuple(self._exhausted):
            self._tell_exhausted(hook_id, self._clock.now_ms())
        self._stopping.set()
        self._some.set()
        await self._clock.wait(self._ended, None)

    def _look(self) -> None:
        """Tell of what was only counted for long enough; forget who is well, and who is no more."""
        now_ms = self._clock.now_ms()
        known = self._snapshot().outgoing
        for hook_id, told_ms in tuple(self._exhausted_told_ms.items()):
            if now_ms - told_ms < EXHAUSTED_EVERY_MS:
                continue
            if hook_id in self._exhausted:
                self._tell_exhausted(hook_id, now_ms)
            else:
                del self._exhausted_told_ms[hook_id]
        for hook_id, trouble in tuple(self._troubles.items()):
            if hook_id not in known or trouble.is_over(now_ms):
                del self._troubles[hook_id]

    async def _send(self) -> None:
        try:
            await self._accept()
            await self._note()
        except ReconcilerError as error:
            log.warning("notices.waiting", code=error.code, reason=error.message, notices=len(self._waiting))

    async def _accept(self) -> None:
        """Have what waits stored, as one event each; a snapshot that moved is followed first."""
        for _ in range(TRIES):
            notices, suppressed, snapshot = tuple(self._waiting), self._suppressed, self._snapshot()
            if not notices:
                return
            if snapshot.notify is None:  # taken out of the configuration in between
                self._waiting.clear()
                return
            events = self._events(notices, snapshot, suppressed)
            try:
                await self._store.accept(events, serial=snapshot.serial)
            except SnapshotMoved:
                await self._refresh()
                continue
            del self._waiting[: len(notices)]
            self._suppressed -= suppressed
            for notice in notices:
                self._metrics.noticed(notice.type.value, "sent")
            self._wake([snapshot.notify.id])
            return

    def _events(self, notices: Collection[Notice], snapshot: Snapshot, suppressed: int) -> list[NewEvent]:
        assert snapshot.notify is not None
        events = []
        for notice in notices:
            hook = snapshot.outgoing.get(notice.hook_id)
            if hook is None:
                continue
            payload = notice_payload(notice, hook, suppressed=suppressed)
            suppressed = 0
            events.append(
                NewEvent(
                    id=self._mint.new_id(notice.at_ms),
                    type=notice.type.value,
                    payload=orjson.dumps(payload),
                    received_ms=self._clock.now_ms(),
                    deliveries=(NewDelivery(self._mint.new_id(notice.at_ms), snapshot.notify.id),),
                )
            )
        return events

    # -- from one process to the next ------------------------------------------------------------------------

    async def _recall(self) -> None:
        """What the last process told and has not taken back."""
        try:
            text = await self._store.read_note(TOLD_NOTE)
            told: dict[str, Any] = orjson.loads(text) if text else {}
        except (ReconcilerError, orjson.JSONDecodeError) as error:
            log.warning("notices.not-recalled", reason=str(error))
            return
        for hook_id, (since_ms, told_type, told_ms) in told.items():
            trouble = Trouble(since_ms=since_ms, failures=1, told=NoticeType(told_type), told_ms=told_ms)
            self._troubles.setdefault(hook_id, trouble)
        self._noted = text or ""

    async def _note(self) -> None:
        told = {
            hook_id: (trouble.since_ms, trouble.told.value, trouble.told_ms)
            for hook_id, trouble in sorted(self._troubles.items())
            if trouble.told is not None
        }
        text = orjson.dumps(told).decode() if told else ""
        if text != self._noted:
            await self._store.write_note(TOLD_NOTE, text)
            self._noted = text
