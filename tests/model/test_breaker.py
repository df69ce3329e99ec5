"""A breaker opens, probes and closes."""

from __future__ import annotations

from reconciler.model.breaker import CLOSED, FAILURES_TO_OPEN, Breaker, BreakerState


def failed(times: int, *, now_ms: int = 0, start: Breaker = CLOSED) -> Breaker:
    """The breaker after so many failures at one moment."""
    breaker = start
    for _ in range(times):
        breaker = breaker.after_failure(now_ms)
    return breaker


def test_it_stays_closed_while_failures_are_interrupted() -> None:
    """A success in between starts the count again."""
    almost = failed(FAILURES_TO_OPEN - 1)
    assert almost.state(0) is BreakerState.CLOSED
    assert failed(FAILURES_TO_OPEN - 1, start=almost.after_success()).room(8, 0) == 8


def test_it_opens_for_thirty_seconds_after_ten_failures_in_a_row() -> None:
    """While open nothing starts; when its time is up exactly one attempt may."""
    breaker = failed(10, now_ms=1_000)
    assert breaker.state(1_000) is BreakerState.OPEN
    assert breaker.room(8, 30_999) == 0
    assert breaker.state(31_000) is BreakerState.HALF_OPEN
    assert breaker.room(8, 31_000) == 1
    assert breaker.room(0, 31_000) == 0
    assert breaker.after_start(31_000).room(8, 31_000) == 0


def test_failures_from_before_it_opened_change_nothing() -> None:
    """What was in flight when it opened does not keep it open longer."""
    breaker = failed(10, now_ms=1_000)
    assert failed(7, now_ms=2_000, start=breaker) == breaker


def test_a_failed_probe_opens_it_twice_as_long_up_to_five_minutes() -> None:
    """30 s, 1 min, 2 min, 4 min, then 5 min for ever."""
    now_ms, breaker, waits = 0, failed(10), []
    for _ in range(40):
        assert breaker.open_until_ms is not None
        waits.append(breaker.open_until_ms - now_ms)
        now_ms = breaker.open_until_ms
        breaker = breaker.after_start(now_ms).after_failure(now_ms)
    assert waits[:6] == [30_000, 60_000, 120_000, 240_000, 300_000, 300_000]
    assert set(waits[6:]) == {300_000}


def test_a_good_probe_closes_it_and_forgets() -> None:
    """After recovery it takes ten failures again, and thirty seconds again."""
    breaker = failed(10).after_start(30_000).after_success()
    assert breaker == CLOSED
    assert failed(10, now_ms=50_000, start=breaker).open_until_ms == 80_000


def test_a_probe_that_never_asked_may_be_tried_again() -> None:
    """A probe that was refused by our own side says nothing of the receiver."""
    breaker = failed(10).after_start(30_000)
    assert breaker.after_nothing().room(8, 30_000) == 1
    assert CLOSED.after_nothing() is CLOSED


def test_starting_while_closed_is_no_probe() -> None:
    """Only a half-open breaker counts who goes first."""
    assert CLOSED.after_start(5) is CLOSED
