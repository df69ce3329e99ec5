"""When to look at which hook again."""

from __future__ import annotations

import heapq

__all__ = ["ENTRIES_MAX", "Timetable"]

ENTRIES_MAX = 50_000
"""How many times are remembered; beyond that the regular look at the store finds what is due."""


class Timetable:
    """Due times of hooks' work, earliest first. Kinds of entry: first attempts, retries, or an end of a pause."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, str]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, due_ms: int, hook_id: str, kind: str) -> None:
        """Note that this hook is to be looked at then; forgotten if there is no room."""
        if len(self._heap) < ENTRIES_MAX:
            heapq.heappush(self._heap, (due_ms, hook_id, kind))

    def due(self, now_ms: int) -> list[tuple[str, str]]:
        """Take out what is due: hook and kind."""
        found = []
        while self._heap and self._heap[0][0] <= now_ms:
            _, hook_id, kind = heapq.heappop(self._heap)
            found.append((hook_id, kind))
        return found

    def wait_ms(self, now_ms: int) -> int | None:
        """How long until the next entry is due; None without any."""
        return max(0, self._heap[0][0] - now_ms) if self._heap else None
