"""How long to wait between attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.model.hook import Retry

__all__ = ["longest_wait_ms", "wait_ms"]


def wait_ms(retry: Retry, attempt: int, chance: float) -> int:
    """The wait after failed attempt number `attempt` (from 1): `schedule[attempt - 1] * (1 ± jitter)`.

    Past the end of the schedule its last wait repeats; an empty schedule waits for nothing. `chance` in [0, 1)
    picks the point between the two ends of the jitter.
    """
    if not retry.schedule_ms:
        return 0
    base = retry.schedule_ms[min(attempt, len(retry.schedule_ms)) - 1]
    return max(0, round(base * (1 + retry.jitter * (2 * chance - 1))))


def longest_wait_ms(retry: Retry) -> int:
    """The longest that `wait_ms` may come to, whatever the attempt and the chance."""
    return max((round(base * (1 + retry.jitter)) for base in retry.schedule_ms), default=0)
