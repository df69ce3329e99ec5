"""The one task that runs queued syncs: claims, runs, judges, and ends each in one transaction with its event."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias, assert_never

import orjson
import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.fanout import sync_event
from reconciler.model.hook import CommandSync, HttpSync
from reconciler.sync.command import run_command
from reconciler.sync.http import run_http
from reconciler.sync.result import Deferred, Failed, Succeeded, clean_reason, clean_results

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from reconciler.clock import Clock
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.delivery import NewEvent
    from reconciler.model.exchange import Sender
    from reconciler.model.hook import DataSource
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.sync import SyncClaim
    from reconciler.store.port import Store
    from reconciler.sync.result import Result

    Woken: TypeAlias = Callable[[Collection[str]], None]

__all__ = ["SyncRunner"]

SYNCS_MAX = 16
"""How many syncs run at once, over all data sources."""
LEASE_MARGIN_MS = 60_000
"""What a lease outlasts the longest time-out by: the killing, the judging and a slow disk."""
REST_S = 0.25
"""The least time between the starts of two syncs of one data source: calls that keep coming join the one that waits,
instead of starting a short sync again and again."""
POLL_S = 5.0
"""How often the queue is looked at unasked, for what another process queued and leases that ran out."""
TRY_AGAIN_S = 1.0
"""The pause before a finished sync is recorded again when the store could not be written."""

log = structlog.get_logger(__name__)


class SyncRunner:
    """Runs syncs, one at a time per data source, `limit` in all.

    `snapshot` reads the view in force, `refresh` catches up when the state has moved. `on_event` hears which hooks
    have deliveries waiting. `environ` is what commands inherit.
    """

    def __init__(
        self,
        *,
        store: Store,
        sender: Sender,
        snapshot: Callable[[], Snapshot],
        refresh: Callable[[], Awaitable[None]],
        on_event: Woken,
        clock: Clock,
        mint: Mint,
        owner: str,
        environ: Mapping[str, str],
        gone: Callable[[], Collection[str]] = frozenset,
        metrics: Metrics | None = None,
        limit: int = SYNCS_MAX,
    ) -> None:
        self._store = store
        self._sender = sender
        self._snapshot = snapshot
        self._refresh = refresh
        self._on_event = on_event
        self._clock = clock
        self._mint = mint
        self._owner = owner
        self._environ = environ
        self._gone = gone
        self._metrics = metrics
        self._limit = limit
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._rests: dict[str, float] = {}

    @property
    def running(self) -> int:
        """How many syncs run now."""
        return len(self._tasks)

    def wake(self) -> None:
        """A sync is queued."""
        self._woken.set()

    async def run(self) -> None:
        """Run syncs until `stop`. Cancelled, it kills what runs and gives it back to the queue."""
        async with asyncio.TaskGroup() as group:
            while not self._stopping:
                self._woken.clear()
                await self._start_some(group)
                await self._clock.wait(self._woken, self._pause_s())

    async def stop(self, grace_s: float) -> None:
        """Start nothing more, let what runs end within `grace_s`, then kill it; killed ones run again later."""
        self._stopping = True
        self.wake()
        if not await self._clock.wait(self._idle, grace_s):
            for task in self._tasks:
                task.cancel()
            await self._clock.wait(self._idle, None)

    # -- claiming --------------------------------------------------------------------------------------------

    async def _start_some(self, group: asyncio.TaskGroup) -> None:
        free = self._limit - len(self._tasks)
        if free <= 0:
            return
        now_s = self._clock.monotonic_s()
        self._rests = {address: end_s for address, end_s in self._rests.items() if end_s > now_s}
        timeouts = (source.timeout_ms for source in self._snapshot().data_sources.values())
        try:
            claims = await self._store.claim_syncs(
                limit=free,
                owner=self._owner,
                now_ms=self._clock.now_ms(),
                lease_ms=max(timeouts, default=0) + LEASE_MARGIN_MS,
                resting=frozenset(self._rests),
            )
        except ReconcilerError as error:
            log.warning("syncs.unavailable", code=error.code, reason=error.message)
            return
        for claim in claims:
            self._rests[claim.data_source] = now_s + REST_S
            task = group.create_task(self._see_through(claim))
            self._tasks.add(task)
            self._idle.clear()
            task.add_done_callback(self._ended)

    def _pause_s(self) -> float:
        """How long until there may be something to start that nobody tells of."""
        return max(0.0, min([POLL_S, *(end_s - self._clock.monotonic_s() for end_s in self._rests.values())]))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not self._tasks:
            self._idle.set()
        self.wake()

    # -- one sync --------------------------------------------------------------------------------------------

    async def _see_through(self, claim: SyncClaim) -> None:
        started_s = self._clock.monotonic_s()
        line = log.bind(sync_id=claim.sync_id, data_source=claim.data_source)
        line.info("sync.started")
        try:
            result = await self._result(claim)
            kept = await self._finish(claim, result)
        except asyncio.CancelledError:
            line.info("sync.released")
            await self._release(claim)
            raise
        duration_s = self._clock.monotonic_s() - started_s
        outcome = _outcome(result) if kept else "lost"
        reason = result.reason if isinstance(result, Failed) else None
        tell = line.info if kept and reason is None else line.warning
        tell("sync.ended", outcome=outcome, duration_ms=round(duration_s * 1000), reason=reason)
        if self._metrics is not None:
            self._metrics.synced(outcome, duration_s)

    async def _result(self, claim: SyncClaim) -> Result:
        source = self._snapshot().data_sources.get(claim.data_source)
        if source is None or source.sync is None:
            await self._refresh()
            source = self._snapshot().data_sources.get(claim.data_source)
        if source is None:
            return Deferred()  # deleted in between: there is nobody left to tell
        result = await self._run(source, claim)
        match result:
            case Succeeded():
                return Succeeded(results=clean_results(result.results, source.scrub))
            case Failed():
                return Failed(reason=clean_reason(result.reason, source.scrub))
            case Deferred():
                return result
            case _:
                assert_never(result)

    async def _run(self, source: DataSource, claim: SyncClaim) -> Result:
        try:
            match source.sync:
                case HttpSync():
                    return await run_http(source.sync, source, claim, sender=self._sender, metrics=self._metrics)
                case CommandSync():
                    return await run_command(source.sync, source, claim, environ=self._environ)
                case None:
                    return Failed(reason="this data source has no `sync` any more")
                case _:
                    assert_never(source.sync)
        except Exception:
            log.exception("sync.broken", sync_id=claim.sync_id, data_source=claim.data_source)
            return Failed(reason="the sync could not be run; the daemon's log says more")

    async def _finish(self, claim: SyncClaim, result: Result) -> bool:
        """Record the end and its event together, however long the store takes to be there; False: lease lost."""
        while True:
            snapshot = self._snapshot()
            event = self._event(claim, result, snapshot)
            try:
                accepted = await self._store.finish_sync(
                    claim, event=event, serial=snapshot.serial, now_ms=self._clock.now_ms()
                )
            except SnapshotMoved:
                await self._refresh()
                if self._snapshot().serial == snapshot.serial:
                    await self._clock.wait(asyncio.Event(), TRY_AGAIN_S)
            except ReconcilerError as error:
                log.warning(
                    "sync.not-recorded",
                    sync_id=claim.sync_id,
                    data_source=claim.data_source,
                    code=error.code,
                    reason=error.message,
                )
                await self._clock.wait(asyncio.Event(), TRY_AGAIN_S)
            else:
                if event is not None and accepted is not None:
                    self._on_event({delivery.hook_id for delivery in event.deliveries})
                return event is None or accepted is not None

    def _event(self, claim: SyncClaim, result: Result, snapshot: Snapshot) -> NewEvent | None:
        """The event to tell of `result`; None if there is none to tell, or nobody left whose it would be."""
        source = snapshot.data_sources.get(claim.data_source)
        bot = snapshot.bots.get(source.bot) if source is not None else None
        if isinstance(result, Deferred) or source is None or bot is None:
            return None
        now_ms = self._clock.now_ms()

        return sync_event(
            bot,
            source,
            results=result.results if isinstance(result, Succeeded) else None,
            reason=result.reason if isinstance(result, Failed) else "",
            event_id=claim.sync_id,
            new_id=lambda: self._mint.new_id(now_ms),
            received_ms=now_ms,
            encode=orjson.dumps,
            gone=self._gone(),
        )

    async def _release(self, claim: SyncClaim) -> None:
        try:
            await self._store.release_sync(claim)
        except ReconcilerError as error:  # the lease runs out by itself
            log.warning(
                "sync.not-released",
                sync_id=claim.sync_id,
                data_source=claim.data_source,
                code=error.code,
                reason=error.message,
            )


def _outcome(result: Result) -> str:
    match result:
        case Succeeded():
            return "success"
        case Failed():
            return "failure"
        case Deferred():
            return "deferred"
        case _:
            assert_never(result)
