"""How many attempts may run at once, for whom, and which first: fair turns decided on plain numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RETRY_SHARE", "LaneShare", "Lanes", "Window", "fair_shares"]

RETRY_SHARE = 10
"""Where both lanes have work, one attempt in this many is a retry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A webhook's concurrency: halved when its receiver times out, up by one for each window of answers.

    `limit` is the configured most. `size` is a fraction so that it can grow by `1 / size` an answer.
    """

    limit: int
    size: float
    shrunk_ms: int = -1

    @classmethod
    def of(cls, limit: int) -> Window:
        """A full window."""
        return cls(limit=limit, size=float(limit))

    @property
    def room(self) -> int:
        """How many attempts may be in flight."""
        return max(1, min(self.limit, int(self.size)))

    def after_answer(self) -> Window:
        """The receiver has answered in time, whatever it said."""
        if self.size >= self.limit:
            return self
        return replace(self, size=min(float(self.limit), self.size + 1 / self.size))

    def after_timeout(self, *, started_ms: int, now_ms: int) -> Window:
        """An attempt has timed out. What had started before the last halving is late news: it counts once."""
        if started_ms <= self.shrunk_ms:
            return self
        return replace(self, size=max(1.0, self.size / 2), shrunk_ms=now_ms)

    def with_limit(self, limit: int) -> Window:
        """The window under a changed configuration."""
        return self if limit == self.limit else replace(self, limit=limit, size=min(self.size, float(limit)))


class LaneShare(NamedTuple):
    """Room for first attempts and for retries, and the lanes to go on with."""

    first: int
    retries: int
    lanes: Lanes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """Shares a webhook's room between first attempts and retries, also where it is handed out one by one.

    `credit` is what the retries have saved up, in attempts times RETRY_SHARE.
    """

    credit: int = 0

    def share(self, room: int, *, first: bool, retries: bool) -> LaneShare:
        """First attempts go first, yet retries get their tenth; a lane without work leaves all to the other."""
        if not (first and retries):
            return LaneShare(room if first else 0, room if retries else 0, self)
        credit = self.credit + room
        for_retries = min(room, credit // RETRY_SHARE)
        # What could not be used is not saved up for ever.
        left = min(credit - for_retries * RETRY_SHARE, RETRY_SHARE)
        return LaneShare(room - for_retries, for_retries, replace(self, credit=left))


def fair_shares(rooms: Sequence[int], total: int, *, start: int = 0) -> list[int]:
    """`total` slots dealt out in turns of one, none getting more than its room; the first turn is `start`'s.

    In the order of `rooms`. Cost grows with the rooms and their different sizes, not with `total`.
    """
    shares = [0] * len(rooms)
    order = [*range(start, len(rooms)), *range(start)] if rooms else []
    waiting = [index for index in order if rooms[index] > 0]
    while waiting and total > 0:
        smallest = min(rooms[index] - shares[index] for index in waiting)
        each = max(1, min(total // len(waiting), smallest))
        for index in waiting[:total]:
            shares[index] += each
            total -= each
        waiting = [index for index in waiting if shares[index] < rooms[index]]
    return shares
