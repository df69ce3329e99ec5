"""Whether the store can be used, as probes and scrapers are told."""

from __future__ import annotations

import asyncio

from reconciler.daemon.usable import FRESH_S, PATIENCE_S, UNREAD, UNWRITTEN, StoreCheck
from reconciler.errors import StateUnreadable, StoreUnavailable
from reconciler.store.memory import MemoryStore


class HandClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def wall_s(self) -> int:
        return int(self.s)

    def monotonic_s(self) -> float:
        return self.s

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise NotImplementedError


class Faulty(MemoryStore):
    """Fails as it is told, or hangs while `hangs` is not set; counts what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.unreadable = self.unwritable = False
        self.goes = asyncio.Event()
        self.goes.set()
        self.written = 0

    async def read_serial(self) -> tuple[str | None, int]:
        if self.unreadable:
            raise StateUnreadable("/a/private/path is damaged")
        return await super().read_serial()

    async def write_note(self, name: str, value: str) -> None:
        await self.goes.wait()
        if self.unwritable:
            raise StoreUnavailable("/a/private/path: the disk is full")
        self.written += 1
        await super().write_note(name, value)


def test_a_store_that_cannot_be_used_says_what_it_cannot_do() -> None:
    """Unwritten and unread are told apart, without the store's path, and forgotten once it works again."""

    async def body() -> None:
        store, clock = Faulty(), HandClock()
        check = StoreCheck(store, clock)
        assert await check.trouble() is None
        for unreadable, unwritable, wanted in (
            (False, True, UNWRITTEN),
            (True, True, UNREAD),
            (False, False, None),
        ):
            store.unreadable, store.unwritable = unreadable, unwritable
            clock.s += FRESH_S
            assert await check.trouble() == wanted

    asyncio.run(body())


def test_a_crowd_that_asks_costs_one_write() -> None:
    """Anybody may ask as often as they like: a verdict holds for a while, and nobody checks beside another."""

    async def body() -> None:
        store, clock = Faulty(), HandClock()
        check = StoreCheck(store, clock)
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(check.trouble())
        clock.s += FRESH_S - 0.1
        await check.trouble()
        assert store.written == 1
        clock.s += 0.1
        await check.trouble()
        assert store.written == 2

    asyncio.run(body())


def test_a_store_that_hangs_is_in_trouble() -> None:
    """Who asks while a check takes too long hears so at once, and does not wait beside it."""

    async def body() -> None:
        store, clock = Faulty(), HandClock()
        check = StoreCheck(store, clock)
        store.goes.clear()
        async with asyncio.TaskGroup() as group:
            first = group.create_task(check.trouble())
            await asyncio.sleep(0)  # noqa: TID251 - lets the first begin
            assert await check.trouble() is None
            clock.s += PATIENCE_S + 0.1
            assert await check.trouble() == UNREAD
            store.goes.set()
        assert first.result() is None
        assert await check.trouble() is None

    asyncio.run(body())
