"""Room is shared between lanes and hooks, and shrinks and grows with the receiver's health."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.lanes import Lanes, Window, fair_shares


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


def test_a_lane_without_work_leaves_all_room_to_the_other() -> None:
    """Nothing is kept free for nobody."""
    assert Lanes().share(8, first=True, retries=False)[:2] == (8, 0)
    assert Lanes().share(8, first=False, retries=True)[:2] == (0, 8)
    assert Lanes().share(8, first=False, retries=False)[:2] == (0, 0)


@given(st.lists(st.integers(0, 16), min_size=1, max_size=60))
def test_retries_get_their_tenth_however_the_room_is_handed_out(rooms: list[int]) -> None:
    """In any sequence of rooms retries get a tenth of the sum, to within one, and all room is used."""
    lanes, retries, total = Lanes(), 0, 0
    for room in rooms:
        share = lanes.share(room, first=True, retries=True)
        assert share.first >= 0
        assert share.first + share.retries == room
        lanes, retries, total = share.lanes, retries + share.retries, total + room
    assert total // 10 - 1 <= retries <= total / 10


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(0, 200), st.integers(0, 19))
def test_shares_are_fair(rooms: list[int], total: int, start: int) -> None:
    """Nothing is wasted, nobody gets more than its room, and who has room left is at most one turn behind."""
    start = start % len(rooms) if rooms else 0
    shares = fair_shares(rooms, total, start=start)
    assert sum(shares) == min(total, sum(rooms))
    assert all(0 <= share <= room for share, room in zip(shares, rooms, strict=True))
    unfilled = [share for share, room in zip(shares, rooms, strict=True) if share < room]
    if unfilled:
        assert max(shares) - min(unfilled) <= 1


def test_the_odd_slot_goes_to_whose_turn_it_is() -> None:
    """Who starts moves on from round to round, so that nobody is always last."""
    assert fair_shares([5, 5, 5], 1, start=1) == [0, 1, 0]
    assert fair_shares([5, 5, 5], 5, start=2) == [2, 1, 2]
