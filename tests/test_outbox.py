"""Writes of one turn go out together at its end, each once, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from typing import Any

from reconciler.outbox import Outbox


class Writer:
    """Notes when it is flushed."""

    def __init__(self, name: str, told: list[str], *, then: Any = None) -> None:
        self.name = name
        self.told = told
        self.then = then

    def flush(self) -> None:
        """Note it, and do what is to be done then."""
        self.told.append(self.name)
        if self.then is not None:
            self.then()


def test_writers_are_flushed_in_their_order_after_the_turn() -> None:
    """Nothing goes out between two pieces of work of the same turn; who comes while they write has the next turn."""

    async def go() -> None:
        loop, told, outbox, done = asyncio.get_running_loop(), [], Outbox(), asyncio.Event()
        last = Writer("late", told, then=done.set)
        loop.call_soon(lambda: (told.append("work"), outbox.add(Writer("first", told))))
        loop.call_soon(
            lambda: (outbox.add(Writer("second", told, then=lambda: outbox.add(last))), told.append("more"))
        )
        await done.wait()
        assert told == ["work", "more", "first", "second", "late"]

    asyncio.run(go())


def test_a_write_that_fails_keeps_nobody_else_from_writing() -> None:
    """The loop is told, and the others go out."""

    async def go() -> None:
        loop, told, outbox, done = asyncio.get_running_loop(), [], Outbox(), asyncio.Event()
        faults: list[Any] = []
        loop.set_exception_handler(lambda _, fault: faults.append(fault["exception"]))

        def fail() -> None:
            raise RuntimeError("broken")

        for writer in (Writer("first", told), Writer("broken", told, then=fail), Writer("last", told, then=done.set)):
            outbox.add(writer)
        await done.wait()
        assert told == ["first", "broken", "last"]
        assert [str(fault) for fault in faults] == ["broken"]

    asyncio.run(go())
