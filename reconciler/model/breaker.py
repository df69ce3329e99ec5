"""A circuit breaker for one webhook: it may delay an attempt, but never skips or adds one.

::

    closed ──10 failures in a row──▶ open ──its time is up──▶ half-open ──probe succeeds──▶ closed
                                      ▲                          │
                                      └──────probe fails─────────┘ (open twice as long, up to 5 minutes)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

__all__ = ["CLOSED", "FAILURES_TO_OPEN", "OPEN_MS_FIRST", "OPEN_MS_MAX", "Breaker", "BreakerState", "Tripped"]

FAILURES_TO_OPEN = 10
OPEN_MS_FIRST = 30_000
OPEN_MS_MAX = 300_000


class BreakerState(StrEnum):
    """Whether attempts pass freely, not at all, or one at a time."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """A breaker at one moment. `openings` counts how often it has opened since it was last closed.

    `open_until_ms` is None while closed; `probing` is whether the one probe of a half-open breaker is under way.
    """

    failures: int = 0
    openings: int = 0
    open_until_ms: int | None = None
    probing: bool = False

    def state(self, now_ms: int) -> BreakerState:
        """Where the breaker stands now."""
        if self.open_until_ms is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now_ms < self.open_until_ms else BreakerState.HALF_OPEN

    def room(self, wanted: int, now_ms: int) -> int:
        """How many of `wanted` attempts may start now."""
        match self.state(now_ms):
            case BreakerState.CLOSED:
                return wanted
            case BreakerState.OPEN:
                return 0
            case BreakerState.HALF_OPEN:
                return 0 if self.probing else min(wanted, 1)

    def after_start(self, now_ms: int) -> Breaker:
        """An attempt starts: in a half-open breaker it is the probe."""
        return replace(self, probing=True) if self.state(now_ms) is BreakerState.HALF_OPEN else self

    def after_success(self) -> Breaker:
        """The receiver has answered well, so it is closed, whoever asked."""
        return CLOSED

    def after_failure(self, now_ms: int) -> Breaker:
        """An attempt has failed. Other than the probe, that is one from before it opened and tells nothing new."""
        match self.state(now_ms):
            case BreakerState.CLOSED:
                if self.failures + 1 >= FAILURES_TO_OPEN:
                    return self._opened(now_ms)
                return replace(self, failures=self.failures + 1)
            case BreakerState.OPEN:
                return self
            case BreakerState.HALF_OPEN:
                return self._opened(now_ms) if self.probing else self

    def after_nothing(self) -> Breaker:
        """An attempt has ended without asking the receiver (refused, released): the probe may be tried again."""
        return replace(self, probing=False) if self.probing else self

    def _opened(self, now_ms: int) -> Breaker:
        open_ms = min(OPEN_MS_FIRST * 2 ** min(self.openings, 16), OPEN_MS_MAX)
        return Breaker(
            failures=self.failures + 1,
            openings=self.openings + 1,
            open_until_ms=now_ms + open_ms,
        )


CLOSED = Breaker()


class Tripped(NamedTuple):
    """A breaker that is not closed, for those who look at it. `until_ms` is when it lets the next probe through."""

    state: BreakerState
    since_ms: int
    until_ms: int
    failures: int
