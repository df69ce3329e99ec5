"""Whose turn it is, and how much is claimed ahead for whom."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from reconciler.delivery.lane import AHEAD_MAX, Held, Lane
from reconciler.delivery.rota import Rota
from reconciler.delivery.timetable import ENTRIES_MAX, Timetable
from reconciler.model.delivery import Claim, DeliveryStatus, Fence
from reconciler.model.outcome import Decision
from reconciler.model.window import Window

if TYPE_CHECKING:
    from reconciler.delivery.rota import Turn


def held(number: int, attempt: int = 1) -> Held:
    """A claim, first attempt or retry."""
    claim = Claim(
        delivery_id=f"d{number}",
        hook_id="h",
        event_id="e",
        event_type="conversation.started",
        payload=b"{}",
        attempt=attempt,
        round=1,
        created_ms=0,
        fence=Fence(1, "me"),
    )
    return Held(claim, 60_000)


def lane(hook_id: str, first: int = 0, retries: int = 0, concurrency: int = 8) -> Lane:
    """An open lane that holds so much work."""
    made = Lane(hook_id, window=Window.of(concurrency), limit=concurrency, enabled=True)
    for number in range(first):
        made.hold(held(number))
    for number in range(retries):
        made.hold(held(number, attempt=2))
    return made


def turns(rota: Rota, count: int, *, end: bool = True) -> list[Turn]:
    """So many turns, each ended before the next one is taken, or all taken at once."""
    taken: list[Turn] = []
    while len(taken) < count and (turn := rota.take()) is not None:
        taken.append(turn)
        if end:
            rota.end(turn)
    return taken


def test_hooks_take_turns() -> None:
    """Each hook with work gets every second turn, however long the other's queue is."""
    rota = Rota()
    for each in (lane("long", 100), lane("short", 10)):
        rota.offer(each)
    assert Counter(turn.lane.hook_id for turn in turns(rota, 20)) == {"long": 10, "short": 10}


def test_a_hooks_own_work_goes_oldest_first() -> None:
    """Within a hook the order of claiming is the order of attempts."""
    rota = Rota()
    rota.offer(lane("a", 5))
    assert [turn.held.claim.delivery_id for turn in turns(rota, 9)] == ["d0", "d1", "d2", "d3", "d4"]


def test_a_hook_that_is_full_gives_its_turn_away() -> None:
    """Concurrency is kept: the rest of its work waits until an attempt has ended."""
    rota = Rota()
    full, other = lane("full", 9, concurrency=2), lane("other", 3)
    rota.offer(full)
    rota.offer(other)
    taken = turns(rota, 99, end=False)
    assert Counter(turn.lane.hook_id for turn in taken) == {"full": 2, "other": 3}
    rota.end(taken[0])
    assert [turn.lane.hook_id for turn in turns(rota, 99, end=False)] == ["full"]


@pytest.mark.parametrize("change", [{"enabled": False}, {"gone": True}, {"blocked_until_ms": 5}])
def test_a_hook_that_shuts_gets_no_turn(change: dict[str, object]) -> None:
    """A hook that was disabled, answered 410 or asked to be left alone is passed over, and comes back."""
    rota = Rota()
    shut = lane("shut", 3)
    rota.offer(shut)
    for name, value in change.items():
        setattr(shut, name, value)
    assert rota.take() is None
    shut.enabled, shut.gone, shut.blocked_until_ms = True, False, None
    rota.offer(shut)
    assert len(turns(rota, 9)) == 3


def test_retries_get_a_tenth_beside_first_attempts() -> None:
    """Of one hook and of several: retries neither push in nor starve."""
    for lanes in ([lane("a", 1000, 1000)], [lane("a", 1000), lane("b", 0, 1000)]):
        rota = Rota()
        for each in lanes:
            rota.offer(each)
        kinds = Counter(turn.held.is_retry for turn in turns(rota, 1000))
        assert 90 <= kinds[True] <= 200


def test_retries_alone_get_every_turn() -> None:
    """A tenth is the least, not the most."""
    rota = Rota()
    rota.offer(lane("a", 0, 20))
    assert len(turns(rota, 99)) == 20


def test_neither_kind_can_fill_all_slots() -> None:
    """Hanging retries hold at most half of the slots, first attempts at most nine tenths."""
    for first, retries, most in ((0, 9, 10), (9, 0, 18), (9, 9, 20)):
        rota = Rota(slots=20)
        for number in range(100):
            rota.offer(lane(f"hook{number}", first, retries))
        assert len(turns(rota, 999, end=False)) == most
        assert rota.in_flight == most


def test_a_slow_hook_claims_little_ahead_and_a_fast_one_much() -> None:
    """What is claimed ahead is about what the hook takes in a quarter of a second."""
    slow, fast = lane("slow"), lane("fast")
    slow.first.more = fast.first.more = True
    good = Decision(status=DeliveryStatus.DELIVERED, outcome="2xx")
    for _ in range(50):
        slow.learn(good, started_ms=0, now_ms=10_000)
        fast.learn(good, started_ms=0, now_ms=1)
    assert slow.wanted == 2
    assert fast.wanted == fast.limit + AHEAD_MAX


def test_nothing_is_wanted_while_enough_waits() -> None:
    """A question is asked only when it is worth one."""
    busy = lane("busy", 30)
    busy.first.more = True
    assert busy.wanted == 0
    busy.first.more = False
    assert lane("done").wanted == 0


def test_the_timetable_tells_what_is_due_in_order() -> None:
    """Earliest first, each once, and how long there is nothing to do."""
    timetable = Timetable()
    assert timetable.wait_ms(0) is None
    timetable.add(30, "b", "retry")
    timetable.add(10, "a", "first")
    assert timetable.wait_ms(4) == 6
    assert timetable.due(9) == []
    assert timetable.due(30) == [("a", "first"), ("b", "retry")]
    assert timetable.wait_ms(30) is None


def test_the_timetable_is_bounded() -> None:
    """A million failures do not fill the memory."""
    timetable = Timetable()
    for number in range(ENTRIES_MAX + 10):
        timetable.add(number, "a", "retry")
    assert len(timetable) == ENTRIES_MAX
