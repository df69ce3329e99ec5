"""The only code that reads time or waits for it."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Time as the daemon sees it. Tests drive a fake one; nothing else reads time."""

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, never running backwards while the process lives.

        Schedules, leases and log times are on this clock, so a wall clock that is stepped cannot
        deliver early, late or twice.
        """
        ...

    def wall_s(self) -> int:
        """Whole seconds since the Unix epoch as the machine believes them now: for signatures only."""
        ...

    def monotonic_s(self) -> float:
        """Seconds on a clock that only moves forward, for durations."""
        ...

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        """Wait until `event` is set (True) or `timeout_s` has passed (False); None waits for ever."""
        ...


class SystemClock:
    """The machine's clock: wall time when made, monotonic time from there on."""

    __slots__ = ("_offset_ns",)

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()  # noqa: TID251 - the one reader

    def now_ms(self) -> int:
        return (self._offset_ns + time.monotonic_ns()) // 1_000_000

    def wall_s(self) -> int:
        return int(time.time())  # noqa: TID251 - the one reader

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if event.is_set():
            return True
        try:
            async with asyncio.timeout(timeout_s):
                return await event.wait()
        except TimeoutError:
            return event.is_set()
