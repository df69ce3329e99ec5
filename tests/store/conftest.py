"""What the tests of one backend share."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.model.delivery import NewDelivery, NewEvent
from reconciler.store.connect import open_store
from reconciler.store.port import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from reconciler.store.port import Store


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """The one event loop of a test and its fixtures."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run asynchronous tests on their runner."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    wanted = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in wanted}
    pyfuncitem.funcargs["runner"].run(pyfuncitem.obj(**arguments))
    return True


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is, in a folder that is not there yet."""
    return tmp_path / "state" / "store.db"


@pytest.fixture
def opening(path: Path, runner: asyncio.Runner) -> Iterator[Callable[..., Any]]:
    """Opens the store at `path`; what is open at the end is closed."""
    opened: list[Store] = []

    async def opening(access: Access = Access.WRITE, **more: Any) -> Store:
        store = await open_store(f"sqlite:{path}", access, **more)
        opened.append(store)
        return store

    yield opening
    for store in opened:
        runner.run(store.close())


@pytest.fixture
def event() -> Callable[..., NewEvent]:
    """Makes an event whose delivery to hook `h` has the id `event/h`."""

    def event(event_id: str, *hooks: str, payload: bytes = b"{}") -> NewEvent:
        deliveries = tuple(NewDelivery(f"{event_id}/{hook}", hook) for hook in hooks)
        return NewEvent(id=event_id, type="sync.success", payload=payload, received_ms=1_000, deliveries=deliveries)

    return event
