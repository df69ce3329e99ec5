"""Waits follow the schedule."""

from __future__ import annotations

import pytest

from reconciler.model.backoff import longest_wait_ms, wait_ms
from reconciler.model.hook import Retry

DEFAULT = Retry(attempts=5, schedule_ms=(30_000, 60_000, 120_000, 240_000, 480_000), jitter=0.1)


@pytest.mark.parametrize(
    ("attempt", "ms"),
    [(1, 30_000), (2, 60_000), (3, 120_000), (4, 240_000), (5, 480_000), (6, 480_000), (99, 480_000)],
)
def test_each_failed_attempt_waits_for_its_entry_and_the_last_one_repeats(attempt: int, ms: int) -> None:
    """The first entry follows the first attempt; past the end the last wait goes on."""
    assert wait_ms(DEFAULT, attempt, 0.5) == ms


def test_jitter_spreads_to_both_sides_by_its_share_and_no_further() -> None:
    """Chance 0 is the shortest wait, and just below 1 the longest."""
    assert wait_ms(DEFAULT, 1, 0.0) == 27_000
    assert wait_ms(DEFAULT, 1, 0.999_999) == 33_000


def test_a_whole_jitter_never_waits_for_less_than_nothing() -> None:
    """With jitter 1 the shortest wait is none."""
    assert wait_ms(Retry(attempts=2, schedule_ms=(1_000,), jitter=1.0), 1, 0.0) == 0


def test_an_empty_schedule_waits_for_nothing() -> None:
    """Retries without waits follow at once."""
    assert wait_ms(Retry(attempts=2, schedule_ms=(), jitter=0.1), 1, 0.9) == 0


def test_no_wait_is_longer_than_the_longest() -> None:
    """Whatever the attempt and the chance; an empty schedule has none."""
    assert longest_wait_ms(DEFAULT) == 528_000
    assert max(wait_ms(DEFAULT, attempt, 0.999_999) for attempt in range(1, 20)) == longest_wait_ms(DEFAULT)
    assert longest_wait_ms(Retry(attempts=2, schedule_ms=(), jitter=0.1)) == 0
