"""Accepting events: whole or not at all, once, and only on the state they were decided on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import SnapshotMoved
from reconciler.model.delivery import Accepted, DeliveryFilter, DeliveryStatus, Fence, Taking

if TYPE_CHECKING:
    from reconciler.store.port import Store

EVERYTHING = DeliveryFilter()


async def test_an_event_makes_its_deliveries_due_at_once_when_accepted(store: Store, given: Any) -> None:
    """Every delivery of an accepted event waits, due since the event came."""
    answers = await store.accept([given.event("e", "h1", "h2", at=1_000)], serial=0)
    assert answers == [Accepted("e", duplicate=False, deliveries=2, unmatched=None)]
    page = await store.deliveries(EVERYTHING, cursor=None, limit=10)
    assert [(item.id, item.status, item.next_attempt_ms, item.attempts) for item in page.items] == [
        ("e/h2", DeliveryStatus.PENDING, 1_000, 0),
        ("e/h1", DeliveryStatus.PENDING, 1_000, 0),
    ]


async def test_what_is_taken_as_it_comes_is_held_like_any_claim(store: Store, given: Any) -> None:
    """Of each hook the first deliveries there is room for are claimed in the same breath; the rest waits."""
    events = [given.event(f"e{n}", "a", "b", at=1_000) for n in range(3)]
    answers = await store.accept(events, serial=0, taking=Taking({"a": 2, "c": 5}, "worker", 1_100))
    assert [[claim.delivery_id for claim in answer.claims] for answer in answers] == [["e0/a"], ["e1/a"], []]
    assert [answer.deliveries for answer in answers] == [2, 2, 2]
    (claim,) = answers[0].claims
    assert claim.fence == Fence(1, "worker")
    assert (claim.payload, claim.attempt, claim.round, claim.created_ms) == (b'{"of":"e0"}', 1, 1, 1_000)
    assert [found.delivery_id for found in await given.claim(store, "a", at=1_099)] == ["e2/a"]
    assert await store.settle([given.settled(claim, DeliveryStatus.DELIVERED, at=1_050)], now_ms=1_050) == [True]
    (heir,) = await given.claim(store, "a", at=1_100)
    assert (heir.delivery_id, heir.fence.claims) == ("e1/a", 2)
    assert [waiting.delivery_id for waiting in await given.claim(store, "b")] == ["e0/b", "e1/b", "e2/b"]


async def test_nothing_is_taken_of_a_known_event_or_for_a_hook_that_is_gone(store: Store, given: Any) -> None:
    """A claim comes only with a delivery that is new."""
    await given.commit(store, given.webhook("bot/gone", "gone"))
    await store.accept([given.event("e", "gone")], serial=1)
    (claim,) = await given.claim(store, "gone")
    await store.settle([given.settled(claim, DeliveryStatus.PENDING, at=2_000, due=9_000, gone=True)], now_ms=2_000)
    taking = Taking({"gone": 5, "h": 5}, "worker", 3_000)
    again, new, twice = await store.accept(
        [given.event("e", "h"), given.event("new", "gone", "h"), given.event("new", "h")], serial=1, taking=taking
    )
    assert (again.claims, twice.claims, new.deliveries) == ((), (), 1)
    assert [claim.delivery_id for claim in new.claims] == ["new/h"]


async def test_what_was_taken_is_free_again_after_a_crash(harness: Any, store: Store, given: Any) -> None:
    """A claim that came with its event is as durable as the event, and ends like every other."""
    await store.accept([given.event("e", "h", at=1_000)], serial=0, taking=Taking({"h": 1}, "worker", 90_000))
    again = await harness.reopen()
    assert await given.claim(again, "h", at=2_000) == []
    assert await again.free_leases() == 1
    (claim,) = await given.claim(again, "h", at=2_000)
    assert (claim.attempt, claim.fence) == (1, Fence(2, "worker"))


async def test_what_was_accepted_is_there_after_a_crash(harness: Any, store: Store, given: Any) -> None:
    """Nothing acknowledged is lost when the process is killed."""
    payload = '{"text":"\u2028 \U0001f600 {{"}'.encode()
    await store.accept([given.event("e", "h", payload=payload, unmatched="dataSource")], serial=0)
    again = await harness.reopen()
    found = await again.delivery("e/h")
    assert found is not None
    assert found[1] == payload
    assert await again.accept([given.event("e", "h")], serial=0) == [
        Accepted("e", duplicate=True, deliveries=1, unmatched="dataSource")
    ]


async def test_a_known_event_changes_nothing_and_answers_as_the_first_time(store: Store, given: Any) -> None:
    """A repeated id repeats the first answer, whatever else is in the repetition."""
    await store.accept([given.event("e", "h1", "h2", unmatched="bot")], serial=0)
    again = await store.accept([given.event("e", "h3", payload=b"{}")], serial=0)
    assert again == [Accepted("e", duplicate=True, deliveries=2, unmatched="bot")]
    assert await store.count(EVERYTHING) == 2


async def test_an_id_given_twice_in_one_call_counts_once(store: Store, given: Any) -> None:
    """Within one call, too, the first event of an id counts and the second is its duplicate."""
    events = [given.event("a", "h"), given.event("b"), given.event("a", "h", "h2")]
    answers = await store.accept(events, serial=0)
    assert [(answer.event_id, answer.duplicate, answer.deliveries) for answer in answers] == [
        ("a", False, 1),
        ("b", False, 0),
        ("a", True, 1),
    ]


async def test_one_of_many_simultaneous_posts_of_an_id_is_the_first(store: Store, given: Any) -> None:
    """A hundred posts of one event at once store one event; each gets the same figures."""
    answers = await asyncio.gather(*(store.accept([given.event("e", "h")], serial=0) for _ in range(100)))
    assert sorted(answer.duplicate for (answer,) in answers) == [False] + [True] * 99
    assert {answer.deliveries for (answer,) in answers} == {1}
    assert await store.count(EVERYTHING) == 1


async def test_accepting_is_refused_when_the_state_has_moved(store: Store, given: Any) -> None:
    """A fan-out decided on another serial stores nothing."""
    await given.commit(store)
    for serial in (0, 2):
        with pytest.raises(SnapshotMoved):
            await store.accept([given.event("e", "h")], serial=serial)
    assert await store.count(EVERYTHING) == 0
    assert (await store.stats()).events == 0


async def test_a_refused_neighbour_takes_nobody_along(store: Store, given: Any) -> None:
    """Operations that are committed together succeed and fail one by one."""
    await given.commit(store)
    answers = await asyncio.gather(
        store.accept([given.event("a", "h")], serial=1),
        store.accept([given.event("b", "h")], serial=0),
        store.accept([given.event("c", "h")], serial=1),
        store.accept([given.event("d", "h"), given.event("a2", "h")], serial=1),
        return_exceptions=True,
    )
    assert [isinstance(answer, SnapshotMoved) for answer in answers] == [False, True, False, False]
    assert await store.count(EVERYTHING) == 4


async def test_nothing_is_accepted_when_a_delivery_id_is_taken(store: Store, given: Any) -> None:
    """All events of a call are stored, or none; neighbours of a faulty call are not touched."""
    await store.accept([given.event("e", "h")], serial=0)
    clash = given.event("other", "h")
    clash = type(clash)(
        id="other",
        type=clash.type,
        payload=b"{}",
        received_ms=1,
        deliveries=given.event("e", "h").deliveries,
    )
    answers = await asyncio.gather(
        store.accept([given.event("fine", "h")], serial=0),
        store.accept([given.event("first", "h"), clash], serial=0),
        store.accept([given.event("good", "h")], serial=0),
        return_exceptions=True,
    )
    assert [isinstance(answer, ValueError) for answer in answers] == [False, True, False]
    assert (await store.stats()).events == 3
    assert await store.count(EVERYTHING) == 3


async def test_events_without_deliveries_are_remembered(store: Store, given: Any) -> None:
    """An event that nobody wants still makes its id known."""
    await store.accept([given.event("e", unmatched="bot")], serial=0)
    assert await store.accept([given.event("e")], serial=0) == [
        Accepted("e", duplicate=True, deliveries=0, unmatched="bot")
    ]


async def test_hooks_marked_gone_get_no_new_deliveries(store: Store, given: Any) -> None:
    """After a 410 a hook is left out, and the answer says how many deliveries there really are."""
    await store.accept([given.event("e", "h")], serial=0)
    await given.run(store, "h", DeliveryStatus.EXHAUSTED, gone=True)
    answers = await store.accept([given.event("f", "h", "other")], serial=0)
    assert [answer.deliveries for answer in answers] == [1]
    assert await store.delivery("f/h") is None
    assert (await store.accept([given.event("f", "h", "other")], serial=0))[0].deliveries == 1


@pytest.mark.parametrize("count", [1, 2, 3, 127, 128, 129, 300])
async def test_every_event_is_stored_whatever_their_number(store: Store, given: Any, count: int) -> None:
    """Batches of any size are stored whole, in order."""
    events = [given.event(f"e{number:03}", "h", payload=b"%d" % number) for number in range(count)]
    answers = await store.accept(events, serial=0)
    assert [answer.event_id for answer in answers] == [event.id for event in events]
    claims = await given.claim(store, "h", limit=count)
    assert [claim.payload for claim in claims] == [event.payload for event in events][:100]
    assert (await store.stats()).events == count
