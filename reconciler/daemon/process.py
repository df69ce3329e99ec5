"""The running parts, and the order in which they start and stop.

Order of a stop: the listener first (what was answered 202 is on disk), then the workers within their grace, then the
store. A second signal cancels everything at once; what was in flight is attempted again after the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from reconciler.daemon.gauges import Gauges
from reconciler.daemon.listener import http_server, url_of
from reconciler.daemon.live import Live
from reconciler.daemon.notices import Notices
from reconciler.daemon.retention import keep_finite
from reconciler.daemon.services import DaemonServices
from reconciler.daemon.supervisor import Supervisor
from reconciler.daemon.watch import FileWatch
from reconciler.delivery.dispatcher import Dispatcher
from reconciler.errors import ExitCode, ReconcilerError
from reconciler.sync.runner import SyncRunner
from reconciler.web.app import build_app

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    import uvicorn
    from starlette.types import ASGIApp

    from reconciler.clock import Clock
    from reconciler.daemon.options import ServeOptions
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.exchange import Sender
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring

__all__ = ["Daemon", "Ground"]

STORE_POLL_S = 1.0
"""How often the store's serial is read, so that another process's apply shows within two seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every part stands on. `owner` is this process's name in fences."""

    options: ServeOptions
    environ: Mapping[str, str]
    store: Store
    keyring: Keyring
    sender: Sender
    clock: Clock
    mint: Mint
    metrics: Metrics
    tokens: Mapping[str, str]
    owner: str


class Daemon:
    """The parts, wired."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._stopping = asyncio.Event()
        self._told_to_reload = asyncio.Event()
        self._supervisor = Supervisor(ground.environ, pid=os.getpid())
        self._live = self._make_live()
        self._notices = self._make_notices()
        self._dispatcher = self._make_dispatcher()
        self._syncs = self._make_syncs()
        self._gauges = Gauges(live=self._live, metrics=ground.metrics, clock=ground.clock)

    async def run(self, listener: socket.socket) -> int:
        """Start, serve, and stop in order after a first signal; a second one cancels this."""
        with _signals(self._stopping, self._told_to_reload), contextlib.ExitStack() as watching:
            await self._live.start()
            watch = None
            if self._ground.options.files is not None:
                watch = watching.enter_context(FileWatch(self._ground.options.files, self._ground.clock))
            server = http_server(self._make_app())
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._dispatcher.run(), name="dispatcher")
                    group.create_task(self._syncs.run(), name="syncs")
                    group.create_task(self._notices.run(), name="notices")
                    group.create_task(self._follow_store(), name="follow-store")
                    group.create_task(self._keep_finite(), name="retention")
                    group.create_task(self._gauges.run(self._stopping), name="lag")
                    group.create_task(self._reload_when_told(), name="reload")
                    group.create_task(
                        self._supervisor.keep_awake(self._ground.clock, self._stopping), name="watchdog"
                    )
                    if watch is not None:
                        group.create_task(self._follow_files(watch), name="follow-files")
                    serving = group.create_task(server.serve([listener]), name="http")
                    log.info("serving", url=url_of(listener), generation=self._live.snapshot.generation)
                    self._supervisor.ready(f"serving {url_of(listener)}")
                    await self._stopping.wait()
                    await self._stop(server, serving, watch)
            except asyncio.CancelledError:
                log.warning("stopped.at-once")
                return ExitCode.FAILED
        log.info("stopped")
        return ExitCode.DONE

    async def _stop(self, server: uvicorn.Server, serving: asyncio.Task[None], watch: FileWatch | None) -> None:
        log.info("stopping", grace_ms=self._ground.options.grace_ms)
        self._supervisor.stopping("draining what is in flight")
        self._told_to_reload.set()
        if watch is not None:
            watch.touch()
        server.should_exit = True
        await serving
        grace_s = self._ground.options.grace_ms / 1000
        await asyncio.gather(self._dispatcher.stop(grace_s), self._syncs.stop(grace_s))
        await self._notices.stop()

    def _swapped(self, snapshot: Snapshot) -> None:
        self._ground.metrics.generation.set(snapshot.generation)
        self._ground.metrics.serial.set(snapshot.serial)
        counts: dict[tuple[str, bool], int] = {}
        for hook in snapshot.addresses.values():
            kind = getattr(hook, "type", None)
            label = ("sync.trigger" if kind is None else kind.value, hook.enabled)
            counts[label] = counts.get(label, 0) + 1
        self._ground.metrics.set_hooks(counts)
        self._dispatcher.wake()
        self._syncs.wake()

    async def _follow_store(self) -> None:
        while not await self._ground.clock.wait(self._stopping, STORE_POLL_S):
            try:
                await self._live.follow_store()
            except ReconcilerError as error:
                log.warning("store.unavailable", code=error.code, reason=error.message)

    async def _follow_files(self, watch: FileWatch) -> None:
        while not self._stopping.is_set():
            await watch.changed()
            if self._stopping.is_set():
                return
            try:
                await self._live.follow_files()
            except ReconcilerError as error:
                log.warning("files.not-looked-at", code=error.code, reason=error.message)

    async def _reload_when_told(self) -> None:
        """SIGHUP looks at files and store now, as `POST /-/reload` does; what came of it is in the log."""
        while True:
            await self._told_to_reload.wait()
            self._told_to_reload.clear()
            if self._stopping.is_set():
                return
            try:
                await self._live.reload()
            except ReconcilerError as error:
                log.warning("reload.failed", code=error.code, reason=error.message)

    async def _keep_finite(self) -> None:
        await keep_finite(
            self._ground.store,
            lambda: self._live.snapshot,
            options=self._ground.options,
            clock=self._ground.clock,
            stopping=self._stopping,
        )

    # -- the parts -------------------------------------------------------------------------------------------

    def _make_live(self) -> Live:
        ground = self._ground
        return Live(
            store=ground.store,
            keyring=ground.keyring,
            clock=ground.clock,
            mint=ground.mint,
            environ=ground.environ,
            files=ground.options.files,
            on_change=ground.options.on_change,
            swapped=self._swapped,
            reported=lambda following: ground.metrics.reloaded(following.outcome.value),
            guarded=ground.metrics.guards_refused,
        )

    def _make_notices(self) -> Notices:
        ground = self._ground
        return Notices(
            store=ground.store,
            snapshot=lambda: self._live.snapshot,
            refresh=self._live.follow_store,
            wake=lambda hook_ids: self._dispatcher.wake(hook_ids),  # noqa: PLW0108 - made a moment later
            clock=ground.clock,
            mint=ground.mint,
            metrics=ground.metrics,
        )

    def _make_dispatcher(self) -> Dispatcher:
        ground = self._ground
        return Dispatcher(
            store=ground.store,
            sender=ground.sender,
            snapshot=lambda: self._live.snapshot,
            clock=ground.clock,
            mint=ground.mint,
            owner=ground.owner,
            metrics=ground.metrics,
            attempted=self._notices.attempted,
        )

    def _make_syncs(self) -> SyncRunner:
        ground = self._ground
        return SyncRunner(
            store=ground.store,
            sender=ground.sender,
            snapshot=lambda: self._live.snapshot,
            refresh=self._live.follow_store,
            on_event=self._dispatcher.wake,
            clock=ground.clock,
            mint=ground.mint,
            owner=ground.owner,
            environ=ground.environ,
            gone=lambda: self._live.gone,
            metrics=ground.metrics,
        )

    def _make_app(self) -> ASGIApp:
        ground = self._ground
        return build_app(
            DaemonServices(
                live=self._live,
                store=ground.store,
                keyring=ground.keyring,
                clock=ground.clock,
                mint=ground.mint,
                metrics=ground.metrics,
                tokens=ground.tokens,
                sender=ground.sender,
                dispatcher=self._dispatcher,
                syncs=self._syncs,
                measure=self._gauges.measure,
            )
        )


@contextlib.contextmanager
def _signals(stopping: asyncio.Event, reload: asyncio.Event) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a stop; the second one does not ask, it cancels the task that is in here.

    SIGHUP asks for a reload.
    """
    task = asyncio.current_task()
    assert task is not None

    def stop() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload.set}
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
