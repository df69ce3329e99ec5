"""How long the writer lets operations gather before it commits them. Times are a monotonic clock's, in seconds.

Not at all while little is asked: a commit takes what has come during the one before it. As the load grows, up to
PACE_MAX_S between commits, where a few milliseconds of company save most of the work.

Unless nobody comes. Clients that wait for this very commit, each on its connection, send nothing more until it is
done, and a pause holds up all of them for nothing. So each pause is judged by its second half: at a steady rate that
brings as many operations as any other time of its length.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["PACE_MAX_S", "Pace"]

PACE_MAX_S: Final = 0.006
"""The longest time between two commits that is spent on waiting for company."""

RATE_ALONE, RATE_FULL = 1_000.0, 5_000.0
"""Operations a second up to which nobody is waited for, and from which all that time is spent. Few operations are not
worth waiting for: the calls of a trigger that come at once are one by the time they come here."""

PAUSE_MIN_S: Final = 0.0002
"""Shorter ones cost more than they bring."""

_RATE_MEMORY_S: Final = 0.05
_WORTH: Final = 0.75
"""The part of the usual operations in a pause's second half that makes the pause worth its time."""
_RATIO_MAX: Final = 8.0
"""Operations that come in bursts count for so much of the usual at most."""
_GAIN: Final = 0.2
_RECOVERY: Final = 1.02


class Pace:
    """Learns from every commit how fast operations come, and from every pause whether it was worth it."""

    __slots__ = ("_last_s", "_patience", "_rate")

    def __init__(self) -> None:
        self._rate = 0.0
        self._last_s = 0.0
        self._patience = 1.0

    def pause_s(self, now_s: float) -> float:
        """How long to wait from now on; 0 for not at all."""
        share = min(max(self._rate - RATE_ALONE, 0.0) / (RATE_FULL - RATE_ALONE), 1.0)
        pause_s = self._last_s + PACE_MAX_S * share * self._patience - now_s
        if pause_s >= PAUSE_MIN_S:
            return pause_s
        self._patience = min(self._patience * _RECOVERY, 1.0)  # longer ones are tried again one day
        return 0.0

    def waited(self, pause_s: float, late: int) -> None:
        """So many operations came in the second half of a pause."""
        ratio = min(late / (self._rate * pause_s / 2), _RATIO_MAX)
        self._patience = min(self._patience * math.exp(_GAIN * (ratio - _WORTH)), 1.0)

    def committed(self, operations: int, started_s: float) -> None:
        """A commit of so many operations began then."""
        interval_s = max(started_s - self._last_s, 1e-4)
        weight = min(interval_s / _RATE_MEMORY_S, 1.0)
        self._rate += (operations / interval_s - self._rate) * weight
        self._last_s = started_s
