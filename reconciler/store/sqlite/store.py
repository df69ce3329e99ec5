"""The port on one SQLite file: verbs become operations of the writer, reads run on readers' threads."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

import apsw

from reconciler.errors import StateUnreadable, StoreUnavailable, UsageError
from reconciler.store.port import Access, Pruned, Retention, Stats
from reconciler.store.sqlite import ingest, log, retention, state, syncs
from reconciler.store.sqlite import queue as deliveries_queue
from reconciler.store.sqlite.checkpoint import Checkpointer
from reconciler.store.sqlite.database import DaemonLock, make_folder, open_checkpointer, open_reader, open_writer
from reconciler.store.sqlite.faults import translation
from reconciler.store.sqlite.session import Session
from reconciler.store.sqlite.writer import Operation, Single, Verb, Writer
from reconciler.store.wording import cursor_place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from reconciler.model.delivery import (
        Accepted,
        Attempt,
        Claim,
        Delivery,
        DeliveryFilter,
        NewEvent,
        Settlement,
        Taking,
    )
    from reconciler.model.resource import State
    from reconciler.model.sync import NewSync, SyncClaim, SyncTicket
    from reconciler.store.port import Commit, Demand, HookReadiness, Latest, Observed, Page

__all__ = ["SqliteStore", "open_sqlite"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

_READERS: Final = 2


def _free_leases(session: Session, latest: Sequence[Latest]) -> int:
    return deliveries_queue.free_deliveries(session, latest) + syncs.free_syncs(session)


# What ends goes before what begins, and claims come last, so that they see what was accepted beside them.
_SETTLE = Verb("settle", 0, deliveries_queue.settle)
_RELEASE = Verb("release", 1, deliveries_queue.release)
_FREE_LEASES = Single("free_leases", 2, _free_leases)
_ACCEPT = Verb("accept", 3, ingest.accept)
_REQUEST_SYNC = Verb("request_sync", 3, syncs.request_sync)
_FINISH_SYNC = Single("finish_sync", 4, syncs.finish_sync)
_RELEASE_SYNC = Single("release_sync", 4, syncs.release_sync)
_COMMIT = Single("commit", 5, state.commit)
_WRITE_NOTE = Single("write_note", 5, state.write_note)
_CLEAR_GONE = Single("clear_gone", 5, state.clear_gone)
_REDELIVER = Single("redeliver", 6, retention.redeliver)
_EXPIRE = Single("expire", 6, retention.expire)
_REMOVE = Single("remove", 6, retention.remove)
_CLAIM = Verb("claim", 7, deliveries_queue.claim)
_CLAIM_SYNCS = Single("claim_syncs", 7, syncs.claim_syncs)


async def open_sqlite(
    path: Path, access: Access, *, observer: Callable[[int, float], None] | None = None
) -> SqliteStore | None:
    """Open the file at `path`; None where there is nothing to read yet.

    `observer` is told of every commit (operations in it, seconds it took, fsync included), on an event loop
    that asked for part of it.
    """
    store = SqliteStore(path, observer)
    try:
        return store if await store.open(access) else None
    except BaseException:
        await store.close()
        raise


class SqliteStore:
    """See the port. Made by `open_sqlite`."""

    def __init__(self, path: Path, observer: Callable[[int, float], None] | None) -> None:
        self._path = path
        self._observer = observer
        self._lock: DaemonLock | None = None
        self._writer: Writer | None = None
        self._idle: queue.SimpleQueue[apsw.Connection] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="store-reader")
        self._reads: set[asyncio.Future[Any]] = set()
        self._closed = False
        self._opened: dict[str, tuple[int, int]] = {}
        self._is_displaced = False

    async def open(self, access: Access) -> bool:
        """Take the lock, make or check the file; False where there is nothing to read."""
        return await self._run(self._open, access)

    def _open(self, access: Access) -> bool:
        if access is Access.READ:
            reader = open_reader(self._path)
            if reader is None:
                return False
            self._idle.put(reader)
            return True
        if access is Access.DAEMON:
            make_folder(self._path)
            lock = DaemonLock(self._path.with_name(self._path.name + ".lock"))
            lock.acquire()
            self._lock = lock
        connection = open_writer(self._path)
        checkpointer = Checkpointer(connection, partial(open_checkpointer, self._path))
        self._writer = Writer(Session(connection, str(self._path)), checkpointer, self._observer)
        self._writer.start()
        self._opened = self._files_at_path()
        return True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._reads:
            await asyncio.wait(self._reads)
        try:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._release)
        finally:
            self._readers.shutdown()

    def _release(self) -> None:
        # The writer's connection goes last: only one that may write can fold the log back into the file.
        while not self._idle.empty():
            self._idle.get().close()
        if self._writer is not None:
            self._writer.stop()
        if self._lock is not None:
            self._lock.release()

    # -- the two ways to the database ------------------------------------------------------------------------

    async def _run(self, call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Run a blocking call on a reader's thread."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        future = asyncio.get_running_loop().run_in_executor(self._readers, lambda: call(*args, **kwargs))
        self._reads.add(future)
        future.add_done_callback(self._reads.discard)
        return await future

    async def _read(
        self, query: Callable[Concatenate[apsw.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run a query on a reader's connection."""
        return await self._run(self._query, lambda connection: query(connection, *args, **kwargs))

    def _query(self, query: Callable[[apsw.Connection], _T]) -> _T:
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            opened = open_reader(self._path)
            if opened is None:
                raise StateUnreadable(f"the store {self._path} has been removed") from None
            connection = opened
        try:
            return query(connection)
        except apsw.Error as error:
            raise translation(error, str(self._path)) from error
        finally:
            self._idle.put(connection)

    def _write(self, verb: Verb, *arguments: Any) -> asyncio.Future[Any]:
        """Hand an operation to the writer, to be awaited until its commit."""
        future = asyncio.get_running_loop().create_future()
        if self._writer is None:
            future.set_exception(StoreUnavailable(f"the store {self._path} was opened for reading only"))
        elif self._is_displaced:
            future.set_exception(self._displaced())
        else:
            self._writer.submit(Operation(verb, arguments, future))
        return future

    # -- state -----------------------------------------------------------------------------------------------

    async def read_state(self) -> State:
        return await self._read(state.read_state_at_once)

    async def read_serial(self) -> tuple[str | None, int]:
        # Whoever keeps a store open for long asks for this about every second, and is told here what SQLite says to
        # nobody in WAL mode: that what it writes is no more in the file that the next start will read.
        if self._writer is not None:
            found = self._files_at_path()
            self._is_displaced = any(found.get(suffix) != file for suffix, file in self._opened.items())
            if self._is_displaced:
                raise self._displaced()
            self._opened = found  # the log may have been made since
        return await self._read(log.read_serial)

    def _files_at_path(self) -> dict[str, tuple[int, int]]:
        """Which files the database and its log are now."""
        found = {}
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                file = self._path.with_name(self._path.name + suffix).stat()
                found[suffix] = file.st_dev, file.st_ino
        return found

    def _displaced(self) -> StoreUnavailable:
        return StoreUnavailable(
            f"the store {self._path} or its log was removed or replaced while it was in use, so nothing more is "
            "written; put the file back and it goes on, or start again on what is there now"
        )

    async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
        serial: int = await self._write(_COMMIT, change, now_ms, verify)
        return serial

    async def read_note(self, name: str) -> str | None:
        return await self._read(log.read_note, name)

    async def write_note(self, name: str, value: str) -> None:
        await self._write(_WRITE_NOTE, name, value)

    # -- ingest ----------------------------------------------------------------------------------------------

    def accept(
        self, events: Sequence[NewEvent], *, serial: int, taking: Taking | None = None
    ) -> asyncio.Future[list[Accepted]]:
        return self._write(_ACCEPT, events, serial, taking)

    # -- queue -----------------------------------------------------------------------------------------------

    async def claim(
        self, demands: Sequence[Demand], *, limit: int, owner: str, now_ms: int, lease_ms: int
    ) -> list[Claim]:
        claims: list[Claim] = await self._write(_CLAIM, demands, limit, owner, now_ms, lease_ms)
        return claims

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> list[bool]:
        held: list[bool] = await self._write(_SETTLE, settlements, now_ms)
        return held

    async def release(self, claims: Sequence[tuple[str, str, int]], *, owner: str, due_ms: int) -> None:
        await self._write(_RELEASE, claims, owner, due_ms)

    async def free_leases(self, *, latest: Sequence[Latest] = ()) -> int:
        freed: int = await self._write(_FREE_LEASES, latest)
        return freed

    async def ready(self) -> list[HookReadiness]:
        return await self._read(log.ready)

    async def clear_gone(self, hook_id: str) -> bool:
        cleared: bool = await self._write(_CLEAR_GONE, hook_id)
        return cleared

    async def gone(self) -> dict[str, int]:
        return await self._read(log.gone)

    # -- syncs -----------------------------------------------------------------------------------------------

    async def request_sync(self, sync: NewSync, *, serial: int) -> SyncTicket:
        ticket: SyncTicket = await self._write(_REQUEST_SYNC, sync, serial)
        return ticket

    async def claim_syncs(
        self, *, limit: int, owner: str, now_ms: int, lease_ms: int, resting: frozenset[str] = frozenset()
    ) -> list[SyncClaim]:
        claims: list[SyncClaim] = await self._write(_CLAIM_SYNCS, limit, owner, now_ms, lease_ms, resting)
        return claims

    async def finish_sync(
        self,
        claim: SyncClaim,
        *,
        event: NewEvent | None,
        serial: int,
        now_ms: int,  # noqa: ARG002 - no log of syncs
    ) -> Accepted | None:
        accepted: Accepted | None = await self._write(_FINISH_SYNC, claim, event, serial)
        return accepted

    async def release_sync(self, claim: SyncClaim) -> None:
        await self._write(_RELEASE_SYNC, claim)

    # -- log and operations ----------------------------------------------------------------------------------

    async def deliveries(self, which: DeliveryFilter, *, cursor: str | None, limit: int) -> Page:
        return await self._read(log.deliveries, which, cursor_place(cursor), limit)

    async def delivery(self, delivery_id: str) -> tuple[Delivery, bytes, list[Attempt]] | None:
        return await self._read(log.delivery, delivery_id)

    async def count(self, which: DeliveryFilter) -> int:
        return await self._read(log.count, which)

    async def redeliver(self, which: DeliveryFilter, *, now_ms: int, limit: int) -> list[tuple[str, str]]:
        started: list[tuple[str, str]] = await self._write(_REDELIVER, which, now_ms, limit)
        return started

    async def observed(self, *, now_ms: int) -> dict[str, Observed]:
        return await self._read(log.observed, now_ms)

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
        rule = Retention(ended_before_ms, parked, parked_before_ms, keep, limit, now_ms)
        too_long = await self._read(retention.find_parked, rule)
        expired: int = await self._write(_EXPIRE, rule, too_long)
        outdated = await self._read(retention.find_outdated, rule, limit - expired)
        deliveries, events = await self._write(_REMOVE, rule, outdated)
        return Pruned(deliveries, events, expired)

    async def stats(self) -> Stats:
        figures = await self._read(log.figures)
        engine = await self._read(self._engine)
        return Stats(**figures, engine=engine)

    def _engine(self, connection: apsw.Connection) -> dict[str, str | int]:
        engine: dict[str, str | int] = {
            "backend": "sqlite",
            "sqlite": apsw.sqlite_lib_version(),
            "journal_mode": str(connection.pragma("journal_mode")),
            "synchronous": int(connection.pragma("synchronous")),
            "file_bytes": self._size(""),
            "wal_bytes": self._size("-wal"),
            "free_pages": int(connection.pragma("freelist_count")),
            "pages": int(connection.pragma("page_count")),
        }
        if self._writer is not None:
            counters = self._writer.counters
            engine |= {
                "commits": counters.commits,
                "operations": counters.operations,
                "batch_max": counters.batch_max,
                "commit_us": round(counters.seconds * 1e6),
                "statements": self._writer.statements,
            }
        return engine

    def _size(self, suffix: str) -> int:
        try:
            return self._path.with_name(self._path.name + suffix).stat().st_size
        except OSError:
            return 0

    async def backup(self, path: str) -> None:
        await self._read(_copy, Path(path))


def _copy(connection: apsw.Connection, path: Path) -> None:
    """A compact copy of one moment, whole under its name or not there at all."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; a backup never overwrites anything") from None
    except OSError as error:
        raise UsageError(f"cannot write a backup to {path}: {error.strerror or error}") from error
    try:
        # VACUUM INTO writes to the copy only, but counts as writing.
        connection.execute("PRAGMA query_only = OFF")
        try:
            connection.execute("VACUUM INTO ?", (str(path),))
        finally:
            connection.execute("PRAGMA query_only = ON")
        os.fsync(descriptor)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
