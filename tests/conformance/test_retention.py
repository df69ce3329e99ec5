"""Pruning removes what retention no longer covers, in bounded steps, and never live work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.model.delivery import DeliveryFilter, DeliveryStatus
from reconciler.model.resource import Key, Kind
from reconciler.store.port import Pruned

if TYPE_CHECKING:
    from reconciler.store.port import Store

DELIVERED, PENDING, SENDING = DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.SENDING
EVERYTHING = DeliveryFilter()


async def prune(store: Store, *, at: int = 100_000, **rule: Any) -> Pruned:
    """Prune by a rule that keeps everything but for what is given."""
    rule = {"ended_before_ms": 0, "parked": frozenset(), "parked_before_ms": 0, "keep": 1_000, "limit": 1_000} | rule
    return await store.prune(now_ms=at, **rule)


async def test_what_ended_long_ago_goes_with_everything_of_it(store: Store, given: Any) -> None:
    """Deliveries, attempts and events go together; the event's id is forgotten with its last delivery."""
    await store.accept([given.event("e", "h1", "h2")], serial=0)
    await given.run(store, "h1", DELIVERED, at=2_000)
    await given.run(store, "h2", DELIVERED, at=3_000)
    assert await prune(store, ended_before_ms=2_000) == Pruned(0, 0, 0)
    assert await prune(store, ended_before_ms=2_001) == Pruned(1, 0, 0)
    assert await store.delivery("e/h1") is None
    assert (await store.accept([given.event("e", "h1")], serial=0))[0].duplicate
    assert await prune(store, ended_before_ms=9_000) == Pruned(1, 1, 0)
    assert not (await store.accept([given.event("e", "h1")], serial=0))[0].duplicate
    found = await store.delivery("e/h1")
    assert found is not None
    assert found[2] == []


async def test_live_work_is_never_removed(store: Store, given: Any) -> None:
    """However old it is and however little may be kept, what waits or is being sent stays."""
    await store.accept([given.event("waits", "h"), given.event("flies", "h2"), given.event("done", "h3")], serial=0)
    await given.claim(store, "h2")
    await given.run(store, "h3", DELIVERED)
    assert await prune(store, ended_before_ms=10**12, keep=0) == Pruned(1, 1, 0)
    statuses = (await store.stats()).by_status
    assert (statuses[PENDING], statuses[SENDING], statuses[DELIVERED]) == (1, 1, 0)
    assert [claim.payload for claim in await given.claim(store, "h")] == [b'{"of":"waits"}']


async def test_only_the_newest_are_kept(store: Store, given: Any) -> None:
    """Of the ended ones the last accepted `keep` stay, whenever they ended."""
    await store.accept([given.event(f"e{number}", "h") for number in range(6)], serial=0)
    claims = await given.claim(store, "h")
    for at, claim in enumerate(reversed(claims[:5]), start=3_000):
        await store.settle([given.settled(claim, DELIVERED, at=at)], now_ms=at)
    assert await prune(store, keep=2) == Pruned(3, 3, 0)
    page = await store.deliveries(EVERYTHING, cursor=None, limit=10)
    assert [item.id for item in page.items] == ["e5/h", "e4/h", "e3/h"]


async def test_pruning_goes_on_where_the_limit_stopped_it(store: Store, given: Any) -> None:
    """Each call removes at most `limit`, oldest first, until nothing is left to remove."""
    await store.accept([given.event(f"e{number}", "h") for number in range(5)], serial=0)
    await given.run(store, "h", DELIVERED)
    rounds = [await prune(store, ended_before_ms=9_000, limit=2) for _ in range(4)]
    assert [one.deliveries for one in rounds] == [2, 2, 1, 0]
    assert await prune(store, ended_before_ms=9_000, limit=0) == Pruned(0, 0, 0)


async def test_events_that_nobody_wanted_go_too(store: Store, given: Any) -> None:
    """By age and by number; those with deliveries are not counted among them."""
    await store.accept([given.event(f"old{number}", at=1_000) for number in range(2)], serial=0)
    await store.accept([given.event(f"new{number}", at=5_000) for number in range(3)], serial=0)
    await store.accept([given.event("wanted", "h", at=1_000)], serial=0)
    assert await prune(store, ended_before_ms=2_000) == Pruned(0, 2, 0)
    assert await prune(store, keep=1) == Pruned(0, 2, 0)
    answers = await store.accept([given.event("new2"), given.event("new1"), given.event("wanted")], serial=0)
    assert [answer.duplicate for answer in answers] == [True, False, True]


async def test_what_was_parked_too_long_expires_and_can_be_redelivered(store: Store, given: Any) -> None:
    """Only waiting deliveries of the parked hooks, older than the limit; they stay in the log."""
    await store.accept([given.event("old", "parked", "other", at=1_000)], serial=0)
    await store.accept([given.event("young", "parked", at=5_000)], serial=0)
    pruned = await prune(store, parked=frozenset({"parked", "unknown"}), parked_before_ms=5_000, at=7_000)
    assert pruned == Pruned(0, 0, 1)
    found = await store.delivery("old/parked")
    assert found is not None
    assert (found[0].status, found[0].finished_ms, found[0].next_attempt_ms) == (DeliveryStatus.EXPIRED, 7_000, None)
    assert (await store.observed(now_ms=7_000))["parked"].waiting == 1
    assert await store.redeliver(EVERYTHING, now_ms=8_000, limit=9) == [("old/parked", "parked")]


async def test_what_a_dead_worker_was_sending_to_a_deleted_hook_is_cancelled(store: Store, given: Any) -> None:
    """Nobody will claim it again, so pruning ends it once its lease is over."""
    await given.commit(store, given.webhook("bot/h", "h"))
    await store.accept([given.event("e", "h")], serial=1)
    await given.claim(store, "h", at=2_000)
    await given.commit(store, deletes=(Key(Kind.WEBHOOK, "bot/h"),), cancel_hooks=frozenset({"h"}))
    await prune(store, at=2_099)
    assert (await store.stats()).by_status[SENDING] == 1
    await prune(store, at=2_100)
    assert (await store.stats()).by_status[DeliveryStatus.CANCELLED] == 1


async def test_a_deleted_hook_is_forgotten_with_its_last_delivery(store: Store, given: Any) -> None:
    """Until then the log shows its address; afterwards its id is new to the store."""
    await given.commit(store, given.webhook("bot/h", "h"))
    await store.accept([given.event("e", "h")], serial=1)
    await given.commit(store, deletes=(Key(Kind.WEBHOOK, "bot/h"),), cancel_hooks=frozenset({"h"}), at=2_000)
    await prune(store)
    found = await store.delivery("e/h")
    assert found is not None
    assert found[0].hook == "bot/h"
    assert await prune(store, ended_before_ms=2_001) == Pruned(1, 1, 0)
    await store.accept([given.event("f", "h")], serial=2)
    found = await store.delivery("f/h")
    assert found is not None
    assert found[0].hook == ""
