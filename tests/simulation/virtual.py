"""Time that passes only when nobody has anything left to do in it."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

EPOCH_MS = 1_700_000_000_000


class Stuck(AssertionError):
    """Everybody waits for somebody else, and no time-out will end it."""


class _Leaping(selectors.BaseSelector):
    """Selects nothing, and instead of waiting lets the loop's time leap to the next timer."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self._keys[fileobj] = selectors.SelectorKey(fileobj, 0, events, data)
        return self._keys[fileobj]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise Stuck("nobody can ever go on")
        self.now_s += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which a day takes as long as what happens in it."""

    def __init__(self) -> None:
        self._leaping = _Leaping()
        super().__init__(self._leaping)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._leaping.now_s

    def now_ms(self) -> int:
        """Milliseconds since the epoch of a made-up calendar."""
        return EPOCH_MS + int(self._leaping.now_s * 1000 + 1e-3)


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """Run `main` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def pause(seconds: float) -> None:
    """Let time pass."""
    await asyncio.sleep(seconds)  # noqa: TID251 - virtual time, which is what is driven here


def now_ms() -> int:
    """What time it is in the running world."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop.now_ms()
