"""Claims, fences, leases and what an attempt comes to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler.model.delivery import AttemptError, DeliveryFilter, DeliveryStatus, Fence, Settlement
from reconciler.store.port import Demand, HookReadiness, Latest

if TYPE_CHECKING:
    from reconciler.store.port import Store

DELIVERED, PENDING, SENDING = DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.SENDING
EXHAUSTED, CANCELLED = DeliveryStatus.EXHAUSTED, DeliveryStatus.CANCELLED
EVERYTHING = DeliveryFilter()


async def status(store: Store, delivery_id: str) -> DeliveryStatus:
    """Where a delivery stands."""
    found = await store.delivery(delivery_id)
    assert found is not None
    return found[0].status


async def test_a_claim_tells_all_that_an_attempt_needs(store: Store, given: Any) -> None:
    """Payload, type, ids, round and the number of the attempt come with the claim."""
    await store.accept([given.event("e", "h", kind="sync.failure", at=900)], serial=0)
    (claim,) = await given.claim(store, "h")
    assert (claim.delivery_id, claim.hook_id, claim.event_id, claim.event_type) == ("e/h", "h", "e", "sync.failure")
    assert (claim.payload, claim.attempt, claim.round, claim.created_ms) == (b'{"of":"e"}', 1, 1, 900)
    assert claim.fence == Fence(1, "worker")
    assert await status(store, "e/h") is SENDING


async def test_nothing_is_claimed_before_it_is_due(store: Store, given: Any) -> None:
    """A delivery can be claimed from its due time on, not a millisecond before."""
    await store.accept([given.event("e", "h", at=1_000)], serial=0)
    assert await given.claim(store, "h", at=999) == []
    assert len(await given.claim(store, "h", at=1_000)) == 1


async def test_demands_are_served_in_order_and_by_lane_when_room_is_short(store: Store, given: Any) -> None:
    """Each lane gives at most what was asked, earliest due first; `limit` cuts the rest."""
    for hook in ("a", "b"):
        await store.accept([given.event(f"{hook}{n}", hook, at=1_000 + n) for n in range(4)], serial=0)
    for hook, first_due in (("a", 1_600), ("b", 1_500)):
        claims = await store.claim([Demand(hook, 2, 0)], limit=9, owner="w", now_ms=1_400, lease_ms=50)
        await store.settle(
            [given.settled(claim, PENDING, at=1_450, due=first_due - place) for place, claim in enumerate(claims)],
            now_ms=1_450,
        )
    claims = await store.claim(
        [Demand("b", 1, 2), Demand("nobody", 5, 5), Demand("a", 2, 2)], limit=6, owner="w", now_ms=2_000, lease_ms=50
    )
    assert [claim.delivery_id for claim in claims] == ["b2/b", "b1/b", "b0/b", "a2/a", "a3/a", "a1/a"]
    assert [claim.attempt for claim in claims] == [1, 2, 2, 1, 1, 2]


async def test_no_room_means_no_claims(store: Store, given: Any) -> None:
    """Empty demands, empty rooms and a limit of nothing take nothing."""
    await store.accept([given.event("e", "h")], serial=0)
    for demands, limit in (([], 5), ([Demand("h", 0, 0)], 5), ([Demand("h", 0, 5)], 5), ([Demand("h", 5, 5)], 0)):
        assert await store.claim(demands, limit=limit, owner="w", now_ms=2_000, lease_ms=50) == []
    assert await status(store, "e/h") is PENDING


async def test_two_workers_never_hold_one_delivery(harness: Any, store: Store, given: Any) -> None:
    """Whoever claims, and however simultaneously: each delivery is held once."""
    await store.accept([given.event(f"e{number}", "h") for number in range(60)], serial=0)
    other = await harness.second()
    rounds = await asyncio.gather(
        *(given.claim(worker, "h", owner=f"w{place}", limit=7) for place, worker in enumerate([store, other] * 5))
    )
    held = [claim.delivery_id for claims in rounds for claim in claims]
    assert len(held) == len(set(held)) == 60


async def test_a_claim_holds_until_its_lease_ends(store: Store, given: Any) -> None:
    """Unexpired claims are safe from everybody; from the end of the lease on they are anybody's."""
    await store.accept([given.event("e", "h")], serial=0)
    (first,) = await given.claim(store, "h", at=2_000)
    assert await given.claim(store, "h", at=2_099, owner="thief") == []
    (second,) = await given.claim(store, "h", at=2_100, owner="heir")
    assert second.fence == Fence(first.fence.claims + 1, "heir")
    assert second.attempt == 1


async def test_a_late_settle_changes_nothing(store: Store, given: Any) -> None:
    """A worker that wakes up after its lease was taken over leaves no trace."""
    await store.accept([given.event("e", "h")], serial=0)
    (first,) = await given.claim(store, "h", at=2_000)
    (second,) = await given.claim(store, "h", at=2_200, owner="heir")
    assert await store.settle([given.settled(first, DELIVERED, at=2_201, gone=True)], now_ms=2_201) == [False]
    assert await status(store, "e/h") is SENDING
    assert await store.gone() == {}
    assert await store.settle([given.settled(second, EXHAUSTED, at=2_202)], now_ms=2_202) == [True]
    assert await store.settle([given.settled(second, DELIVERED, at=2_203)], now_ms=2_203) == [False]
    found = await store.delivery("e/h")
    assert found is not None
    assert (found[0].status, found[0].finished_ms, len(found[2])) == (EXHAUSTED, 2_202, 1)


async def test_a_fence_needs_counter_and_owner(store: Store, given: Any) -> None:
    """Neither a right counter of another owner nor a wrong counter of the right one settles anything."""
    await store.accept([given.event("e", "h")], serial=0)
    (claim,) = await given.claim(store, "h")
    for fence in (Fence(1, "other"), Fence(2, "worker"), Fence(0, "worker")):
        late = given.settled(claim, DELIVERED, at=2_010)._replace(fence=fence)
        assert await store.settle([late], now_ms=2_010) == [False]
    assert await store.settle(
        [Settlement(delivery_id="nothing", fence=Fence(1, "worker"), status=DELIVERED)], now_ms=2_010
    ) == [False]
    assert await status(store, "e/h") is SENDING


async def test_attempt_and_status_change_together(store: Store, given: Any) -> None:
    """A settled attempt is recorded whole, beside the status it led to."""
    await store.accept([given.event("e", "h")], serial=0)
    (claim,) = await given.claim(store, "h")
    attempt = given.attempt(claim, at=2_050, status=None, error=AttemptError.TIMEOUT)
    settlement = Settlement(
        delivery_id="e/h", fence=claim.fence, status=PENDING, due_ms=32_050, attempt=attempt, error="timeout"
    )
    assert await store.settle([settlement], now_ms=2_050) == [True]
    found = await store.delivery("e/h")
    assert found is not None
    delivery, _, attempts = found
    assert attempts == [attempt]
    assert (delivery.status, delivery.next_attempt_ms, delivery.attempts) == (PENDING, 32_050, 1)
    assert (delivery.last_status, delivery.last_error, delivery.finished_ms) == (None, "timeout", None)
    assert await given.claim(store, "h", at=32_049) == []
    (again,) = await given.claim(store, "h", at=32_050)
    assert (again.attempt, again.round, again.fence.claims) == (2, 1, 2)


async def test_settling_a_batch_tells_which_held(store: Store, given: Any) -> None:
    """Results come in the order asked; a lost fence among them touches only itself."""
    await store.accept([given.event(f"e{number}", "h") for number in range(3)], serial=0)
    claims = await given.claim(store, "h")
    settlements = [given.settled(claim, DELIVERED, at=2_010) for claim in claims]
    settlements[1] = settlements[1]._replace(fence=Fence(9, "other"))
    assert await store.settle(settlements, now_ms=2_010) == [True, False, True]
    assert [await status(store, f"e{number}/h") for number in range(3)] == [DELIVERED, SENDING, DELIVERED]


async def test_settles_of_many_tasks_are_kept_apart(store: Store, given: Any) -> None:
    """Each caller gets its own verdicts, also when two report the same delivery at once."""
    await store.accept([given.event(f"e{number}", "h") for number in range(40)], serial=0)
    claims = await given.claim(store, "h")
    answers = await asyncio.gather(
        *(store.settle([given.settled(claim, DELIVERED, at=2_010)], now_ms=2_010) for claim in claims + claims)
    )
    assert [held for (held,) in answers] == [True] * 40 + [False] * 40
    assert await store.count(DeliveryFilter(statuses=frozenset({DELIVERED}))) == 40


async def test_a_released_claim_waits_again_without_an_attempt(store: Store, given: Any) -> None:
    """Giving back consumes nothing, and a lost fence is passed over in silence."""
    await store.accept([given.event("e", "h"), given.event("f", "h")], serial=0)
    first, second = await given.claim(store, "h")
    await store.release(
        [
            (first.delivery_id, "h", first.fence.claims),
            (second.delivery_id, "h", second.fence.claims + 1),
            ("nothing", "h", 1),
        ],
        owner="worker",
        due_ms=5_000,
    )
    assert (await status(store, "e/h"), await status(store, "f/h")) == (PENDING, SENDING)
    assert await given.claim(store, "h", at=2_050) == []
    (again,) = [claim for claim in await given.claim(store, "h", at=5_000) if claim.delivery_id == "e/h"]
    assert (again.attempt, again.fence.claims) == (1, 2)


async def test_a_lone_daemon_frees_all_leases_after_a_crash(harness: Any, store: Store, given: Any) -> None:
    """What a killed daemon was sending is due at once in its successor, with nothing consumed."""
    await given.commit(store, given.data_source("bot/docs"))
    await store.accept([given.event("e", "h"), given.event("f", "h")], serial=1)
    await store.request_sync(given.sync("s"), serial=1)
    claims = await given.claim(store, "h")
    await store.claim_syncs(limit=1, owner="worker", now_ms=2_000, lease_ms=100_000)
    again = await harness.reopen()
    assert await again.free_leases() == 3
    assert await again.free_leases() == 0
    assert await again.settle([given.settled(claims[0], DELIVERED, at=2_010)], now_ms=2_010) == [False]
    assert [claim.fence.claims for claim in await given.claim(again, "h", at=2_001, owner="new")] == [2, 2]
    (sync,) = await again.claim_syncs(limit=1, owner="new", now_ms=2_001, lease_ms=100)
    assert sync.sync_id == "s"


async def test_a_lone_daemon_draws_nearer_what_a_wrong_clock_has_put_off(store: Store, given: Any) -> None:
    """First attempts are due now, retries within their wait, those that may have been told when within another."""
    await store.accept([given.event(name, "h", at=1_000) for name in ("late", "soon", "asked", "sent")], serial=0)
    claims = {claim.event_id: claim for claim in await given.claim(store, "h")}
    settled = {
        name: given.settled(claims[name], PENDING, at=2_010, due=due)
        for name, due in (("late", 90_000), ("soon", 3_000), ("asked", 90_000))
    }
    for name in ("late", "soon"):
        settled[name] = settled[name]._replace(attempt=given.attempt(claims[name], at=2_010, status=500))
    await store.settle(list(settled.values()), now_ms=2_010)
    await store.accept([given.event("new", "h", at=80_000), given.event("other", "i", at=80_000)], serial=0)

    assert await store.free_leases(latest=[Latest("h", 4_000, 5_000, 6_000)]) == 1

    page = await store.deliveries(EVERYTHING, cursor=None, limit=100)
    due = {delivery.event_id: delivery.next_attempt_ms for delivery in page.items}
    assert due == {"soon": 3_000, "sent": 1_000, "new": 4_000, "late": 5_000, "asked": 6_000, "other": 80_000}


async def test_what_is_redelivered_waits_in_the_lane_of_retries(store: Store, given: Any) -> None:
    """First attempts go before it, also after it was claimed, given back and claimed again."""
    await store.accept([given.event("old", "h")], serial=0)
    await given.run(store, "h", EXHAUSTED)
    await store.redeliver(DeliveryFilter(), now_ms=2_500, limit=10)
    await store.accept([given.event("new", "h", at=2_600)], serial=0)

    (retry,) = await store.claim([Demand("h", 0, 9)], limit=9, owner="worker", now_ms=3_000, lease_ms=100)
    assert (retry.event_id, retry.attempt, retry.is_retry) == ("old", 1, True)
    await store.release([(retry.delivery_id, "h", retry.fence.claims)], owner="worker", due_ms=3_000)
    (first,) = await store.claim([Demand("h", 9, 0)], limit=9, owner="worker", now_ms=3_000, lease_ms=100)
    assert (first.event_id, first.is_retry) == ("new", False)
    (again,) = await store.claim([Demand("h", 9, 9)], limit=9, owner="worker", now_ms=3_000, lease_ms=100)
    assert again.event_id == "old"


async def test_readiness_tells_each_lane_s_first_due_time(store: Store, given: Any) -> None:
    """Waiting work counts with its due time, work being sent with the end of its lease, ended work not at all."""
    await store.accept([given.event("a", "h1", at=1_000), given.event("b", "h1", at=1_001)], serial=0)
    await store.accept([given.event("c", "h2", at=1_500)], serial=0)
    await store.accept([given.event("d", "h3")], serial=0)
    await given.run(store, "h3", DELIVERED)
    (claim,) = await given.claim(store, "h2", at=2_000)
    assert sorted(await store.ready()) == [
        HookReadiness("h1", 1_000, None),
        HookReadiness("h2", 2_100, None),
    ]
    await store.settle([given.settled(claim, PENDING, at=2_050, due=9_000)], now_ms=2_050)
    assert HookReadiness("h2", None, 9_000) in await store.ready()


async def test_a_410_marks_the_hook_until_it_is_cleared(harness: Any, store: Store, given: Any) -> None:
    """The first 410 counts; clearing says whether there was a mark; the mark survives a crash."""
    await store.accept([given.event("a", "h"), given.event("b", "h")], serial=0)
    await given.run(store, "h", EXHAUSTED, at=2_000, gone=True)
    assert await store.gone() == {"h": 2_000}
    again = await harness.reopen()
    assert await again.gone() == {"h": 2_000}
    assert (await again.stats()).gone == 1
    assert await again.clear_gone("h") is True
    assert await again.clear_gone("h") is False
    assert await again.clear_gone("never heard of") is False
    assert await again.gone() == {}


async def test_settling_for_a_deleted_hook_never_leaves_it_waiting(store: Store, given: Any) -> None:
    """In flight when its hook is deleted: a success counts, anything that would wait ends as cancelled."""
    await given.commit(store, given.webhook("bot/hook", "h"))
    await store.accept([given.event(name, "h") for name in ("ok", "retry", "back", "lost")], serial=1)
    claims = {claim.event_id: claim for claim in await given.claim(store, "h")}
    key = given.webhook("bot/hook", "h").key
    await given.commit(store, deletes=(key,), cancel_hooks=frozenset({"h"}))
    assert await status(store, "ok/h") is SENDING
    held = await store.settle(
        [
            given.settled(claims["ok"], DELIVERED, at=2_010),
            given.settled(claims["retry"], PENDING, at=2_010, due=9_000, gone=True),
        ],
        now_ms=2_010,
    )
    assert held == [True, True]
    await store.release([("back/h", "h", claims["back"].fence.claims)], owner="worker", due_ms=2_020)
    assert await store.free_leases() == 1
    statuses = [await status(store, f"{name}/h") for name in ("ok", "retry", "back", "lost")]
    assert statuses == [DELIVERED, CANCELLED, CANCELLED, CANCELLED]
    assert await store.gone() == {}
    assert await store.ready() == []


async def test_a_long_queue_of_one_hook_hides_nobody(store: Store, given: Any) -> None:
    """What each demand gets does not depend on how much waits elsewhere."""
    await store.accept([given.event(f"long{number}", "long") for number in range(400)], serial=0)
    await store.accept([given.event("short", "short")], serial=0)
    claims = await store.claim(
        [Demand("long", 3, 3), Demand("short", 3, 3)], limit=100, owner="w", now_ms=2_000, lease_ms=50
    )
    assert [claim.hook_id for claim in claims] == ["long"] * 3 + ["short"]


async def test_counts_follow_every_move(store: Store, given: Any) -> None:
    """Claims taken over, given back, settled and freed leave figures that match the rows."""
    await store.accept([given.event(f"e{number}", "h") for number in range(6)], serial=0)
    claims = await given.claim(store, "h", at=2_000)
    claims = await given.claim(store, "h", at=2_200)
    await store.settle(
        [
            given.settled(claims[0], DELIVERED, at=2_210),
            given.settled(claims[1], EXHAUSTED, at=2_210),
            given.settled(claims[2], DeliveryStatus.REFUSED, at=2_210),
            given.settled(claims[3], PENDING, at=2_210, due=3_000),
        ],
        now_ms=2_210,
    )
    await store.release([(claims[4].delivery_id, "h", claims[4].fence.claims)], owner="worker", due_ms=2_500)
    stats = await store.stats()
    counted = {one: await store.count(DeliveryFilter(statuses=frozenset({one}))) for one in DeliveryStatus}
    assert stats.by_status == counted
    assert (counted[PENDING], counted[SENDING]) == (2, 1)
    assert stats.oldest_due_ms == 2_500
