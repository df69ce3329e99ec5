"""A window shrinks and grows with the receiver's health."""

from __future__ import annotations

from reconciler.model.window import Window


def test_attempts_that_time_out_together_halve_the_window_once() -> None:
    """Eight in flight that all hang are one piece of news."""
    window = Window.of(8)
    for _ in range(8):
        window = window.after_timeout(started_ms=0, now_ms=10_000)
    assert window.room == 4
    assert window.after_timeout(started_ms=10_001, now_ms=20_001).room == 2


def test_a_window_never_closes() -> None:
    """One attempt at a time goes on however often it times out."""
    window = Window.of(8)
    for now_ms in range(10, 200, 10):
        window = window.after_timeout(started_ms=now_ms - 1, now_ms=now_ms)
    assert window.room == 1


def test_a_window_grows_by_one_for_each_window_of_answers_up_to_its_limit() -> None:
    """From four, four answers make five; the limit is never passed."""
    window = Window.of(8).after_timeout(started_ms=0, now_ms=1)
    for _ in range(5):
        window = window.after_answer()
    assert window.room == 5
    for _ in range(100):
        window = window.after_answer()
    assert window.room == 8
    assert window.after_answer() is window


def test_a_window_follows_a_changed_limit() -> None:
    """A lower limit holds at once; a higher one is grown into."""
    assert Window.of(8).with_limit(2).room == 2
    assert Window.of(2).with_limit(8).room == 2
