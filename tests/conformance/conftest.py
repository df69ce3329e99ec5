"""One suite for every store: a backend is a Harness of a few lines."""

from __future__ import annotations

import asyncio
import inspect
import shutil
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from reconciler.model.delivery import Attempt, Claim, DeliveryStatus, NewDelivery, NewEvent, Settlement
from reconciler.model.resource import Key, Kind, Resource, Secret, State
from reconciler.model.sync import NewSync
from reconciler.store.connect import open_store
from reconciler.store.memory import Contents, MemoryStore
from reconciler.store.port import Access, Commit, Demand

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from reconciler.model.delivery import AttemptError
    from reconciler.store.port import Store


class Harness(Protocol):
    """How a backend is opened, lost and found again. Everything opened is closed at the end."""

    async def open(self) -> Store:
        """The daemon's store, empty."""
        ...

    async def second(self) -> Store:
        """Another worker on the same data."""
        ...

    async def reopen(self) -> Store:
        """What a new process finds after the first one was killed."""
        ...

    async def close(self) -> None:
        """Close everything that was opened."""
        ...


class MemoryHarness:
    """The contents outlive the store."""

    def __init__(self, _: Path) -> None:
        self._contents = Contents()

    async def open(self) -> Store:
        return MemoryStore(self._contents)

    async def second(self) -> Store:
        return await self.open()

    async def reopen(self) -> Store:
        return await self.open()

    async def close(self) -> None:
        return


class SqliteHarness:
    """A file. What SIGKILL leaves behind is a copy of the file and its log, taken while the store is open."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "here" / "store.db"
        self._opened: list[Store] = []

    async def open(self) -> Store:
        return await self._open(Access.DAEMON)

    async def second(self) -> Store:
        return await self._open(Access.WRITE)

    async def reopen(self) -> Store:
        left = self._path.parent.with_name(f"{self._path.parent.name}-again")
        left.mkdir()
        for name in ("store.db", "store.db-wal"):
            shutil.copyfile(self._path.with_name(name), left / name)
        self._path = left / "store.db"
        return await self._open(Access.DAEMON)

    async def _open(self, access: Access) -> Store:
        store = await open_store(f"sqlite:{self._path}", access)
        self._opened.append(store)
        return store

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The one event loop of a test and its fixtures."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(params=[MemoryHarness, SqliteHarness], ids=["memory", "sqlite"])
def harness(request: pytest.FixtureRequest, tmp_path: Path, runner: asyncio.Runner) -> Iterator[Harness]:
    """Every backend in turn."""
    harness: Harness = request.param(tmp_path)
    yield harness
    runner.run(harness.close())


@pytest.fixture
def store(harness: Harness, runner: asyncio.Runner) -> Store:
    """An empty store, open for the daemon."""
    return runner.run(harness.open())


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run asynchronous tests on their runner."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**arguments))
    return True


class Given:
    """Short ways to say what happened. Times are milliseconds; a lease lasts 100."""

    lease_ms = 100

    @staticmethod
    def event(event_id: str, *hooks: str, at: int = 1_000, kind: str = "sync.success", **more: Any) -> NewEvent:
        """An event whose delivery to hook `h` has the id `event_id/h`."""
        deliveries = tuple(NewDelivery(f"{event_id}/{hook}", hook) for hook in hooks)
        payload = more.pop("payload", f'{{"of":"{event_id}"}}'.encode())
        return NewEvent(id=event_id, type=kind, payload=payload, received_ms=at, deliveries=deliveries, **more)

    @staticmethod
    async def claim(store: Store, *hooks: str, at: int = 2_000, owner: str = "worker", **more: Any) -> list[Claim]:
        """Claim up to 100 of each lane of the hooks."""
        demands = [Demand(hook, 100, 100) for hook in hooks]
        limit = more.pop("limit", 1_000)
        return await store.claim(demands, limit=limit, owner=owner, now_ms=at, lease_ms=Given.lease_ms)

    @staticmethod
    def attempt(claim: Claim, *, at: int, status: int | None = 200, error: AttemptError | None = None) -> Attempt:
        """The record of an attempt that took 5 ms."""
        return Attempt(
            number=claim.attempt,
            round=claim.round,
            started_ms=at - 5,
            duration_ms=5,
            status=status,
            error=error,
            headers='{"a":"b"}',
            body=b"answer",
        )

    @staticmethod
    def settled(claim: Claim, status: DeliveryStatus, *, at: int, due: int | None = None, **more: Any) -> Settlement:
        """What a worker reports: 200 for delivered, 503 otherwise."""
        delivered = status is DeliveryStatus.DELIVERED
        return Settlement(
            delivery_id=claim.delivery_id,
            fence=claim.fence,
            status=status,
            due_ms=due,
            attempt=Given.attempt(claim, at=at, status=200 if delivered else 503),
            **more,
        )

    @staticmethod
    async def run(store: Store, hook: str, status: DeliveryStatus, *, at: int = 2_000, **more: Any) -> list[Claim]:
        """Claim everything of a hook that is due and settle it at the same time."""
        claims = await Given.claim(store, hook, at=at)
        held = await store.settle([Given.settled(claim, status, at=at, **more) for claim in claims], now_ms=at)
        assert all(held)
        return claims

    @staticmethod
    def webhook(address: str, hook_id: str, **spec: Any) -> Resource:
        """A webhook with a sealed secret."""
        secret = Secret(fingerprint="0a0b0c0d", sealed=b"sealed", created_ms=1)
        return Resource(key=Key(Kind.WEBHOOK, address), spec=spec, base_dir="/config", id=hook_id, secret=secret)

    @staticmethod
    def data_source(address: str) -> Resource:
        """A data source."""
        return Resource(key=Key(Kind.DATA_SOURCE, address), spec={"name": "docs"})

    @staticmethod
    async def commit(store: Store, *upserts: Resource, at: int = 500, **more: Any) -> int:
        """Apply a change to whatever the state is now."""
        lineage, serial = await store.read_serial()

        def verify(_: State) -> None:
            return

        change = Commit(
            expected_lineage=lineage,
            expected_serial=serial,
            lineage="lineage-1",
            salt=b"salt",
            upserts=upserts,
            **more,
        )
        return await store.commit(change, now_ms=at, verify=verify)

    @staticmethod
    def sync(
        sync_id: str, data_source: str = "bot/docs", *, at: int = 1_000, body: bytes = b"", hook: str = "t"
    ) -> NewSync:
        """A trigger's call."""
        return NewSync(id=sync_id, data_source=data_source, hook_id=hook, requested_ms=at, body=body)


@pytest.fixture
def given() -> type[Given]:
    """Short ways to say what happened."""
    return Given
