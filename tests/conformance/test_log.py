"""The log, redelivery, what has been observed, and the figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import UsageError
from reconciler.model.delivery import AttemptError, DeliveryFilter, DeliveryStatus, Settlement
from reconciler.store.port import Observed

if TYPE_CHECKING:
    from reconciler.store.port import Store

HOUR = 3_600_000
DELIVERED, PENDING, EXHAUSTED = DeliveryStatus.DELIVERED, DeliveryStatus.PENDING, DeliveryStatus.EXHAUSTED
EVERYTHING = DeliveryFilter()


async def ids(store: Store, which: DeliveryFilter) -> list[str]:
    """What matches, and that counting agrees."""
    page = await store.deliveries(which, cursor=None, limit=100)
    assert await store.count(which) == len(page.items)
    return [item.id for item in page.items]


async def test_the_log_shows_the_newest_first_page_by_page(store: Store, given: Any) -> None:
    """Pages join without gap or overlap; the last one has no cursor."""
    await store.accept([given.event(f"e{number}", "h") for number in range(5)], serial=0)
    first = await store.deliveries(EVERYTHING, cursor=None, limit=2)
    second = await store.deliveries(EVERYTHING, cursor=first.next, limit=2)
    third = await store.deliveries(EVERYTHING, cursor=second.next, limit=2)
    assert [[item.id for item in page.items] for page in (first, second, third)] == [
        ["e4/h", "e3/h"],
        ["e2/h", "e1/h"],
        ["e0/h"],
    ]
    assert third.next is None
    assert (await store.deliveries(EVERYTHING, cursor=None, limit=5)).next is None


async def test_a_cursor_stays_valid_while_rows_come_and_go(store: Store, given: Any) -> None:
    """New rows do not shift a page, and the row a cursor points at may be gone."""
    await store.accept([given.event(f"e{number}", "h") for number in range(6)], serial=0)
    await given.run(store, "h", DELIVERED)
    page = await store.deliveries(EVERYTHING, cursor=None, limit=3)
    await store.accept([given.event("later", "h", at=9_000)], serial=0)
    await store.prune(ended_before_ms=0, parked=frozenset(), parked_before_ms=0, keep=3, limit=100, now_ms=2_100)
    following = await store.deliveries(EVERYTHING, cursor=page.next, limit=9)
    assert [item.id for item in following.items] == []
    await store.accept([given.event("last", "h", at=9_000)], serial=0)
    assert (await store.deliveries(EVERYTHING, cursor=page.next, limit=9)).items == ()


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1 OR 1", "9" * 30, "\u0663"])
async def test_a_text_that_is_no_cursor_is_refused(store: Store, cursor: str) -> None:
    """A mistyped cursor is the caller's mistake."""
    with pytest.raises(UsageError):
        await store.deliveries(EVERYTHING, cursor=cursor, limit=1)


async def test_filters_all_have_to_match(store: Store, given: Any) -> None:
    """By hooks, statuses, event type, error, time and ids, alone and together; empty sets match nothing."""
    await store.accept(
        [
            given.event("a", "h1", "h2", kind="sync.success", at=1_000),
            given.event("b", "h1", kind="sync.failure", at=1_500),
            given.event("c", "h3", kind="sync.failure", at=2_000),
        ],
        serial=0,
    )
    await given.run(store, "h2", DELIVERED)
    (claim,) = await given.claim(store, "h3")
    await store.settle(
        [
            Settlement(
                delivery_id="c/h3",
                fence=claim.fence,
                status=EXHAUSTED,
                attempt=given.attempt(claim, at=2_050, status=None, error=AttemptError.DNS),
                error="dns",
            )
        ],
        now_ms=2_050,
    )
    assert await ids(store, EVERYTHING) == ["c/h3", "b/h1", "a/h2", "a/h1"]
    assert await ids(store, DeliveryFilter(hook_ids=frozenset({"h1"}))) == ["b/h1", "a/h1"]
    assert await ids(store, DeliveryFilter(hook_ids=frozenset({"h1", "h3", "?"}))) == ["c/h3", "b/h1", "a/h1"]
    assert await ids(store, DeliveryFilter(hook_ids=frozenset())) == []
    assert await ids(store, DeliveryFilter(statuses=frozenset({EXHAUSTED}))) == ["c/h3"]
    assert await ids(store, DeliveryFilter(statuses=frozenset({EXHAUSTED, PENDING}))) == ["c/h3", "b/h1", "a/h1"]
    assert await ids(store, DeliveryFilter(statuses=frozenset())) == []
    assert await ids(store, DeliveryFilter(event="sync.failure")) == ["c/h3", "b/h1"]
    assert await ids(store, DeliveryFilter(error="dns")) == ["c/h3"]
    assert await ids(store, DeliveryFilter(since_ms=1_500)) == ["c/h3", "b/h1"]
    assert await ids(store, DeliveryFilter(until_ms=1_500)) == ["a/h2", "a/h1"]
    assert await ids(store, DeliveryFilter(ids=("a/h1", "c/h3", "?"))) == ["c/h3", "a/h1"]
    assert await ids(store, DeliveryFilter(ids=())) == []
    assert await ids(store, DeliveryFilter(ended_before_ms=2_050)) == ["a/h2"]
    assert await ids(store, DeliveryFilter(ended_before_ms=2_051)) == ["c/h3", "a/h2"]
    together = DeliveryFilter(
        hook_ids=frozenset({"h1"}),
        statuses=frozenset({PENDING}),
        event="sync.failure",
        since_ms=1_500,
        until_ms=1_501,
    )
    assert await ids(store, together) == ["b/h1"]


async def test_hostile_text_is_only_ever_text(store: Store, given: Any) -> None:
    """Ids, types and errors with quotes, nulls and wildcards match themselves alone."""
    hostile = "x' OR 1=1; --\u0000%\"]"
    await store.accept([given.event("e", hostile, kind=hostile), given.event("f", "h")], serial=0)
    assert await ids(store, DeliveryFilter(hook_ids=frozenset({hostile}))) == [f"e/{hostile}"]
    assert await ids(store, DeliveryFilter(event=hostile)) == [f"e/{hostile}"]
    assert await ids(store, DeliveryFilter(ids=(f"e/{hostile}",))) == [f"e/{hostile}"]


async def test_an_unknown_delivery_is_none(store: Store) -> None:
    """Nothing is made up for an id nobody knows."""
    assert await store.delivery("nothing") is None


async def test_a_redelivery_starts_a_new_round_under_the_same_id(store: Store, given: Any) -> None:
    """A fresh budget, due at once, in the lane of retries; attempts of all rounds stay, in order."""
    await store.accept([given.event("e", "h")], serial=0)
    await given.run(store, "h", PENDING, at=2_000, due=2_000)
    await given.run(store, "h", EXHAUSTED, at=2_100)
    assert await store.redeliver(EVERYTHING, now_ms=3_000, limit=10) == [("e/h", "h")]
    found = await store.delivery("e/h")
    assert found is not None
    assert (found[0].status, found[0].round, found[0].attempts) == (PENDING, 2, 2)
    assert (found[0].next_attempt_ms, found[0].finished_ms) == (3_000, None)
    assert [(one.hook_id, one.first_ms, one.retry_ms) for one in await store.ready()] == [("h", None, 3_000)]
    (claim,) = await given.run(store, "h", DELIVERED, at=3_000)
    assert (claim.attempt, claim.round) == (1, 2)
    found = await store.delivery("e/h")
    assert found is not None
    assert [(one.round, one.number, one.status) for one in found[2]] == [(1, 1, 503), (1, 2, 503), (2, 1, 200)]


async def test_redelivery_takes_what_matches_first_accepted_first(store: Store, given: Any) -> None:
    """Only ended ones; at most `limit`; fewer than that means nothing is left."""
    await store.accept([given.event(f"e{number}", "h") for number in range(3)], serial=0)
    await given.run(store, "h", EXHAUSTED)
    await store.accept([given.event("waiting", "h"), given.event("done", "other")], serial=0)
    await given.run(store, "other", DELIVERED)
    exhausted = DeliveryFilter(statuses=frozenset({EXHAUSTED}))
    assert await store.redeliver(exhausted, now_ms=3_000, limit=2) == [("e0/h", "h"), ("e1/h", "h")]
    assert await store.redeliver(exhausted, now_ms=3_000, limit=2) == [("e2/h", "h")]
    assert await store.redeliver(DeliveryFilter(statuses=frozenset({PENDING})), now_ms=3_000, limit=9) == []
    assert await store.redeliver(EVERYTHING, now_ms=3_000, limit=0) == []
    assert await store.redeliver(EVERYTHING, now_ms=3_000, limit=9) == [("done/other", "other")]


async def test_what_happened_at_a_hook_is_observed(harness: Any, store: Store, given: Any) -> None:
    """Waiting, last attempt, last success and the start of a run of failures, through changes and crashes."""
    await given.commit(store, given.webhook("bot/h", "h"))
    await store.accept([given.event(f"e{number}", "h", at=1_000) for number in range(3)], serial=1)
    assert (await store.observed(now_ms=1_000))["h"] == Observed(hook_id="h", waiting=3, day_count=3)
    await given.run(store, "h", PENDING, at=2_000, due=3_000)
    assert (await store.observed(now_ms=2_000))["h"] == Observed(
        hook_id="h", waiting=3, day_count=3, last_attempt_ms=1_995, failing_since_ms=1_995
    )
    claims = await given.claim(store, "h", at=3_000)
    await store.settle(
        [
            given.settled(claims[0], EXHAUSTED, at=3_010),
            given.settled(claims[1], DELIVERED, at=3_020),
            given.settled(claims[2], PENDING, at=3_030, due=9_000),
        ],
        now_ms=3_040,
    )
    again = await harness.reopen()
    assert (await again.observed(now_ms=3_040))["h"] == Observed(
        hook_id="h",
        waiting=1,
        day_count=3,
        last_attempt_ms=3_025,
        last_delivered_ms=3_040,
        failing_since_ms=3_025,
    )
    await given.run(again, "h", DELIVERED, at=9_000)
    seen = (await again.observed(now_ms=9_000))["h"]
    assert (seen.waiting, seen.failing_since_ms, seen.last_delivered_ms) == (0, None, 9_000)


async def test_a_day_of_traffic_is_counted_by_the_hour(store: Store, given: Any) -> None:
    """The present hour and the 23 before it count, whatever order the events came in."""
    for hour, count in ((100, 1), (102, 2), (101, 4), (123, 8), (124, 16)):
        events = [given.event(f"{hour}-{number}", "h", at=hour * HOUR + number) for number in range(count)]
        await store.accept(events, serial=0)
    await store.accept([given.event("old", "h", at=100 * HOUR), given.event("new", "h", at=125 * HOUR)], serial=0)
    expected = {99: 0, 100: 2, 101: 6, 102: 8, 123: 16, 124: 30, 125: 27, 126: 25, 148: 1, 149: 0}
    for hour, count in expected.items():
        assert (await store.observed(now_ms=hour * HOUR + 5))["h"].day_count == count, hour


async def test_trigger_calls_are_observed(store: Store, given: Any) -> None:
    """Joined or not, every call counts, and the last one is remembered."""
    for number in range(3):
        await store.request_sync(given.sync(f"s{number}", at=1_000 + number), serial=0)
    assert (await store.observed(now_ms=2_000))["t"] == Observed(hook_id="t", last_called_ms=1_002, day_count=3)


async def test_an_empty_store_has_empty_figures(store: Store) -> None:
    """Every status is listed, at nothing."""
    stats = await store.stats()
    assert stats.by_status == dict.fromkeys(DeliveryStatus, 0)
    assert (stats.oldest_due_ms, stats.events, stats.gone) == (None, 0, 0)
    assert await store.observed(now_ms=1) == {}
    assert await store.ready() == []
