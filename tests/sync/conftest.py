"""A data source, a claim, and a process table to look at."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.model.delivery import Fence
from reconciler.model.hook import DataSource
from reconciler.model.sync import SyncClaim

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 20.0


@pytest.fixture(scope="session")
def source() -> Callable[..., DataSource]:
    """A data source synced as told."""

    def make(sync: Any, *, timeout_ms: int = 20_000, scrub: tuple[str, ...] = ()) -> DataSource:
        return DataSource(
            address="support/docs",
            bot="support",
            id="ds-1",
            name="Data source one",
            sync=sync,
            timeout_ms=timeout_ms,
            scrub=scrub,
        )

    return make


@pytest.fixture(scope="session")
def claim() -> Callable[..., SyncClaim]:
    """A claimed sync with this body."""

    def make(body: bytes = b"") -> SyncClaim:
        return SyncClaim(
            sync_id="01890000-0000-7000-8000-000000000001",
            data_source="support/docs",
            requested_ms=1_790_000_000_000,
            body=body,
            fence=Fence(1, "w"),
        )

    return make


@pytest.fixture(scope="session")
def is_alive() -> Callable[[int], bool]:
    """Whether a process exists and is no zombie."""

    def check(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return check


@pytest.fixture(scope="session")
def wait_until() -> Callable[[Callable[[], Any]], Any]:
    """What a condition comes to once it is true."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + PATIENCE_S
        while not (found := condition()):
            assert time.monotonic() < deadline_s, "it never came true"
            os.sched_yield()
        return found

    return wait


@pytest.fixture(scope="session")
def wait_for() -> Callable[[Callable[[], Any]], Any]:
    """The same within a loop."""

    async def wait(condition: Callable[[], Any]) -> Any:
        async with asyncio.timeout(PATIENCE_S):
            while not (found := condition()):
                await asyncio.to_thread(os.sched_yield)
            return found

    return wait
