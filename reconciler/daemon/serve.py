"""`reconcile serve`: choose the parts, wire them, run them, and stop them in the right order.

Order of a stop: the listener first (what was answered 202 is on disk), then the workers within their grace, then the
store. A second signal cancels everything at once; what was in flight is attempted again after the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import resource
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvicorn
import uvloop

from reconciler.clock import SystemClock
from reconciler.daemon.gauges import Gauges
from reconciler.daemon.live import Live
from reconciler.daemon.notices import Notices
from reconciler.daemon.retention import keep_finite
from reconciler.daemon.services import DaemonServices
from reconciler.daemon.tokens import configured_tokens, made_token, require_safe_binding
from reconciler.daemon.watch import FileWatch
from reconciler.delivery.dispatcher import Dispatcher
from reconciler.delivery.egress import EgressGuard
from reconciler.delivery.sender import AiohttpSender
from reconciler.errors import ExitCode, ReconcilerError, UsageError
from reconciler.logs import configure_logs
from reconciler.metrics import Metrics
from reconciler.mint import SystemMint
from reconciler.model.backoff import longest_wait_ms
from reconciler.model.outcome import RETRY_AFTER_MS_MAX
from reconciler.model.resource import Kind
from reconciler.model.spec import canonical_webhook, retry_of
from reconciler.store.connect import companions, open_store
from reconciler.store.port import Access, Latest
from reconciler.store.seal import Keyring
from reconciler.sync.runner import SyncRunner
from reconciler.web.app import build_app
from reconciler.web.protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.types import ASGIApp

    from reconciler.daemon.options import ServeOptions
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store

__all__ = ["serve"]

STORE_POLL_S = 1.0
"""How often the store's serial is read, so that another process's apply shows within two seconds."""
KEEP_ALIVE_S = 75
CONNECTIONS_MAX = 4096
BACKLOG = 2048
"""Bounds on what clients may hold."""
FILES_WANTED = 65_536

log = structlog.get_logger(__name__)


def serve(options: ServeOptions) -> int:
    """Run the daemon until it is told to stop; the exit code. Raises what makes a start impossible."""
    configure_logs(level=options.log_level, format=options.log_format)
    _raise_file_limit()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(options, os.environ))
    except BaseExceptionGroup as group:
        known, rest = group.split(ReconcilerError)
        if known is not None and rest is None:
            raise _first(known) from None
        raise


async def _serve(options: ServeOptions, environ: Mapping[str, str]) -> int:
    clock, mint = SystemClock(), SystemMint()
    tokens = configured_tokens(environ)
    require_safe_binding(options.host, tokens)
    metrics = Metrics()
    listener = _bind(options.host, options.port)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        store = await open_store(options.store, Access.DAEMON, observer=metrics.committed)
        stack.push_async_callback(store.close)
        tokens = tokens or _embedded_token(options, mint)
        keyring = await _keyring(options, environ, store, mint)
        freed = await store.free_leases(latest=await _latest(store, clock.now_ms()))
        if freed:
            log.info("leases.freed", count=freed)
        sender = AiohttpSender(
            EgressGuard([ipaddress.ip_network(net, strict=False) for net in options.allow_targets])
        )
        stack.push_async_callback(sender.close)
        daemon = _Daemon(
            options=options,
            environ=environ,
            store=store,
            keyring=keyring,
            sender=sender,
            clock=clock,
            mint=mint,
            metrics=metrics,
            tokens=tokens,
        )
        return await daemon.run(listener)


class _Daemon:
    """The running parts and their order."""

    def __init__(
        self,
        *,
        options: ServeOptions,
        environ: Mapping[str, str],
        store: Store,
        keyring: Keyring,
        sender: AiohttpSender,
        clock: SystemClock,
        mint: SystemMint,
        metrics: Metrics,
        tokens: Mapping[str, str],
    ) -> None:
        self._options = options
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._stopping = asyncio.Event()
        owner = mint.hook_id()
        self._live = Live(
            store=store,
            keyring=keyring,
            clock=clock,
            mint=mint,
            environ=environ,
            files=options.files,
            on_change=options.on_change,
            swapped=self._swapped,
            reported=lambda following: metrics.reloaded(following.outcome.value),
            guarded=metrics.guards_refused,
        )
        self._gauges = Gauges(live=self._live, metrics=metrics, clock=clock)
        self._notices = Notices(
            store=store,
            snapshot=lambda: self._live.snapshot,
            refresh=self._live.follow_store,
            wake=lambda hook_ids: self._dispatcher.wake(hook_ids),  # noqa: PLW0108 - made a moment later
            clock=clock,
            mint=mint,
            metrics=metrics,
        )
        self._dispatcher = Dispatcher(
            store=store,
            sender=sender,
            snapshot=lambda: self._live.snapshot,
            clock=clock,
            mint=mint,
            owner=owner,
            metrics=metrics,
            attempted=self._notices.attempted,
        )
        self._syncs = SyncRunner(
            store=store,
            sender=sender,
            snapshot=lambda: self._live.snapshot,
            refresh=self._live.follow_store,
            on_event=self._dispatcher.wake,
            clock=clock,
            mint=mint,
            owner=owner,
            environ=environ,
            gone=lambda: self._live.gone,
            metrics=metrics,
        )
        self._app = build_app(
            DaemonServices(
                live=self._live,
                store=store,
                keyring=keyring,
                clock=clock,
                mint=mint,
                metrics=metrics,
                tokens=tokens,
                sender=sender,
                dispatcher=self._dispatcher,
                syncs=self._syncs,
                measure=self._gauges.measure,
            )
        )

    async def run(self, listener: socket.socket) -> int:
        """Start, serve, and stop in order after a first signal; a second one cancels this."""
        task = asyncio.current_task()
        assert task is not None
        with _signals(self._stopping, task), contextlib.ExitStack() as watching:
            await self._live.start()
            watch = None
            if self._options.files is not None:
                watch = watching.enter_context(FileWatch(self._options.files, self._clock))
            server = _Server(_server_config(self._app))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._dispatcher.run(), name="dispatcher")
                    group.create_task(self._syncs.run(), name="syncs")
                    group.create_task(self._notices.run(), name="notices")
                    group.create_task(self._follow_store(), name="follow-store")
                    group.create_task(self._keep_finite(), name="retention")
                    group.create_task(self._gauges.run(self._stopping), name="lag")
                    if watch is not None:
                        group.create_task(self._follow_files(watch), name="follow-files")
                    serving = group.create_task(server.serve([listener]), name="http")
                    log.info("serving", url=_url(listener), generation=self._live.snapshot.generation)
                    await self._stopping.wait()
                    await self._stop(server, serving, watch)
            except asyncio.CancelledError:
                log.warning("stopped.at-once")
                return ExitCode.FAILED
        log.info("stopped")
        return ExitCode.DONE

    async def _stop(self, server: uvicorn.Server, serving: asyncio.Task[None], watch: FileWatch | None) -> None:
        log.info("stopping", grace_ms=self._options.grace_ms)
        if watch is not None:
            watch.touch()
        server.should_exit = True
        await serving
        grace_s = self._options.grace_ms / 1000
        await asyncio.gather(self._dispatcher.stop(grace_s), self._syncs.stop(grace_s))
        await self._notices.stop()

    def _swapped(self, snapshot: Snapshot) -> None:
        self._metrics.generation.set(snapshot.generation)
        self._metrics.serial.set(snapshot.serial)
        counts: dict[tuple[str, bool], int] = {}
        for hook in snapshot.addresses.values():
            kind = getattr(hook, "type", None)
            label = ("sync.trigger" if kind is None else kind.value, hook.enabled)
            counts[label] = counts.get(label, 0) + 1
        self._metrics.set_hooks(counts)
        self._dispatcher.wake()
        self._syncs.wake()

    async def _follow_store(self) -> None:
        while not await self._clock.wait(self._stopping, STORE_POLL_S):
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

    async def _keep_finite(self) -> None:
        await keep_finite(
            self._store,
            lambda: self._live.snapshot,
            options=self._options,
            clock=self._clock,
            stopping=self._stopping,
        )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this program has one way to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _server_config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http=BoundedProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS_MAX,
        backlog=BACKLOG,
        timeout_graceful_shutdown=5,
    )


@contextlib.contextmanager
def _signals(stopping: asyncio.Event, task: asyncio.Task[object]) -> Iterator[None]:
    """SIGTERM and SIGINT ask for a stop; the second one does not ask."""

    def stop() -> None:
        if stopping.is_set():
            task.cancel()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        raise UsageError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
    listener.setblocking(False)
    return listener


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every connection in and out is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _embedded_token(options: ServeOptions, mint: SystemMint) -> dict[str, str]:
    beside = companions(options.store)
    if beside is None:
        raise UsageError("this store has no place for a token file: set RECONCILER_ADMIN_TOKEN")
    token, made = made_token(beside.token, mint)
    if made:
        log.info("token.made", path=str(beside.token))
    return {"admin": token}


async def _keyring(options: ServeOptions, environ: Mapping[str, str], store: Store, mint: SystemMint) -> Keyring:
    """The keyring; the default file is made only while no secret is sealed under another key."""
    beside = companions(options.store)
    state = await store.read_state()
    keyring = Keyring.load(
        environ_value=environ.get("RECONCILER_KEY"),
        key_file=None if options.key_file is None else Path(options.key_file),
        beside=None if beside is None else beside.key,
        create=not any(resource.secret for resource in state.resources.values()),
        mint=mint,
    )
    if keyring.made is not None:
        log.info("key.made", path=str(keyring.made), advice="back it up: it opens the store's secrets")
    return keyring


async def _latest(store: Store, now_ms: int) -> list[Latest]:
    """When deliveries can be due at the latest: what is due later was written under a clock that was wrong."""
    latest = []
    for key, item in (await store.read_state()).resources.items():
        if key.kind is Kind.WEBHOOK and item.id is not None and "url" in item.spec:
            wait_ms = longest_wait_ms(retry_of(canonical_webhook(item.spec)))
            asked_ms = max(wait_ms, RETRY_AFTER_MS_MAX)
            latest.append(Latest(item.id, now_ms, now_ms + wait_ms, now_ms + asked_ms))
    return latest


def _first(group: BaseExceptionGroup[ReconcilerError]) -> ReconcilerError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
