"""Syncs: one of a data source waits, one runs, and their ends are transactions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import SnapshotMoved
from reconciler.model.delivery import DeliveryFilter, Fence
from reconciler.model.resource import Key, Kind
from reconciler.model.sync import SyncTicket

if TYPE_CHECKING:
    from reconciler.model.sync import SyncClaim
    from reconciler.store.port import Store


async def take(store: Store, *, at: int = 2_000, limit: int = 10, owner: str = "w") -> list[SyncClaim]:
    """Claim syncs for 100 ms."""
    return await store.claim_syncs(limit=limit, owner=owner, now_ms=at, lease_ms=100)


async def test_calls_that_come_while_one_waits_join_it(store: Store, given: Any) -> None:
    """Fifty articles start one sync, with the first one's id and time and the last one's body."""
    tickets = await asyncio.gather(
        *(store.request_sync(given.sync(f"s{n}", at=1_000 + n, body=b"%d" % n), serial=0) for n in range(50))
    )
    assert tickets[0] == SyncTicket("s0", joined=False)
    assert set(tickets[1:]) == {SyncTicket("s0", joined=True)}
    (claim,) = await take(store)
    assert (claim.sync_id, claim.data_source, claim.requested_ms, claim.body) == ("s0", "bot/docs", 1_000, b"49")
    assert (await store.observed(now_ms=2_000))["t"].day_count == 50


async def test_a_call_while_one_runs_starts_one_more_after_it(store: Store, given: Any) -> None:
    """No two syncs of a data source run at once; the next one waits its turn."""
    await store.request_sync(given.sync("s1"), serial=0)
    (first,) = await take(store)
    assert await store.request_sync(given.sync("s2"), serial=0) == SyncTicket("s2", joined=False)
    assert await store.request_sync(given.sync("s3"), serial=0) == SyncTicket("s2", joined=True)
    assert await take(store) == []
    stats = await store.stats()
    assert (stats.syncs_waiting, stats.syncs_running) == (1, 1)
    await store.finish_sync(first, event=None, serial=0, now_ms=2_010)
    assert [claim.sync_id for claim in await take(store)] == ["s2"]


async def test_syncs_are_taken_oldest_first(store: Store, given: Any) -> None:
    """Order of arrival, at most as many as asked for; data sources do not wait for each other."""
    for name in ("b", "a", "c"):
        await store.request_sync(given.sync(f"s-{name}", f"bot/{name}"), serial=0)
    assert [claim.sync_id for claim in await take(store, limit=2)] == ["s-b", "s-a"]
    assert await take(store, limit=0) == []
    assert [claim.sync_id for claim in await take(store)] == ["s-c"]


async def test_a_resting_data_source_is_left_alone(store: Store, given: Any) -> None:
    """Its sync goes on waiting and may still be joined, and takes nobody's place."""
    for name in ("a", "b", "c"):
        await store.request_sync(given.sync(f"s-{name}", f"bot/{name}"), serial=0)
    resting = frozenset({"bot/a", "bot/nobody"})
    claims = await store.claim_syncs(limit=1, owner="w", now_ms=2_000, lease_ms=100, resting=resting)
    assert [claim.sync_id for claim in claims] == ["s-b"]
    assert await store.request_sync(given.sync("x", "bot/a"), serial=0) == SyncTicket("s-a", joined=True)
    assert [claim.sync_id for claim in await take(store)] == ["s-a", "s-c"]


async def test_calls_that_are_stored_together_all_count(store: Store, given: Any) -> None:
    """One statement, as many calls as it stands for."""
    await store.request_sync(replace(given.sync("s1"), calls=7), serial=0)
    await store.request_sync(given.sync("s2"), serial=0)
    assert (await store.observed(now_ms=2_000))["t"].day_count == 8


async def test_a_queued_sync_survives_a_crash(harness: Any, store: Store, given: Any) -> None:
    """Waiting and running syncs are both there afterwards."""
    await store.request_sync(given.sync("s1", body=b"body"), serial=0)
    await take(store)
    await store.request_sync(given.sync("other", "bot/other"), serial=0)
    again = await harness.reopen()
    await again.free_leases()
    assert [(claim.sync_id, claim.body) for claim in await take(again)] == [("s1", b"body"), ("other", b"")]


async def test_ending_a_sync_and_its_event_are_one(store: Store, given: Any) -> None:
    """The result is accepted as any event; the same fence never ends anything twice."""
    await store.request_sync(given.sync("s1"), serial=0)
    (claim,) = await take(store)
    answer = await store.finish_sync(claim, event=given.event("result", "h"), serial=0, now_ms=2_010)
    assert answer is not None
    assert (answer.event_id, answer.deliveries) == ("result", 1)
    assert await store.finish_sync(claim, event=given.event("again", "h"), serial=0, now_ms=2_011) is None
    assert await store.count(DeliveryFilter()) == 1


async def test_a_sync_goes_on_when_its_event_is_refused(store: Store, given: Any) -> None:
    """With a serial that moved nothing happens, and the same claim may end it on the next try."""
    await store.request_sync(given.sync("s1"), serial=0)
    (claim,) = await take(store)
    await given.commit(store, given.webhook("bot/a", "a"))
    with pytest.raises(SnapshotMoved):
        await store.finish_sync(claim, event=given.event("result", "a"), serial=0, now_ms=2_010)
    assert (await store.stats()).syncs_running == 1
    assert await store.finish_sync(claim, event=given.event("result", "a"), serial=1, now_ms=2_020) is not None
    assert (await store.stats()).syncs_running == 0


async def test_a_sync_that_reports_later_ends_without_an_event(store: Store, given: Any) -> None:
    """Without an event the serial does not matter, and the answer is not mistaken for a lost fence."""
    await store.request_sync(given.sync("s1"), serial=0)
    (claim,) = await take(store)
    answer = await store.finish_sync(claim, event=None, serial=99, now_ms=2_010)
    assert answer is not None
    assert answer.deliveries == 0
    assert (await store.stats()).syncs_running == 0


async def test_a_stale_sync_claim_changes_nothing(store: Store, given: Any) -> None:
    """After the lease another worker runs it; the first can neither end nor release it."""
    await store.request_sync(given.sync("s1"), serial=0)
    (first,) = await take(store, at=2_000)
    assert await take(store, at=2_099, owner="heir") == []
    (second,) = await take(store, at=2_100, owner="heir")
    assert second.fence == Fence(2, "heir")
    assert await store.finish_sync(first, event=given.event("e", "h"), serial=0, now_ms=2_101) is None
    await store.release_sync(first)
    assert (await store.stats()).syncs_running == 1
    assert await store.finish_sync(replace(second, fence=Fence(2, "w")), event=None, serial=0, now_ms=1) is None
    assert await store.count(DeliveryFilter()) == 0


async def test_a_released_sync_waits_again(store: Store, given: Any) -> None:
    """It keeps its id and body."""
    await store.request_sync(given.sync("s1", body=b"x"), serial=0)
    (claim,) = await take(store)
    await store.release_sync(claim)
    (again,) = await take(store)
    assert (again.sync_id, again.body, again.fence.claims) == ("s1", b"x", 2)


@pytest.mark.parametrize("how", ["release", "expire", "free"])
async def test_a_waiting_sync_absorbs_one_that_comes_back(store: Store, given: Any, how: str) -> None:
    """There is never more than one waiting; the later call's body counts."""
    await store.request_sync(given.sync("s1", body=b"old"), serial=0)
    (claim,) = await take(store, at=2_000)
    await store.request_sync(given.sync("s2", body=b"new"), serial=0)
    if how == "release":
        await store.release_sync(claim)
    elif how == "free":
        assert await store.free_leases() == 1
    (next_one,) = await take(store, at=2_100, owner="heir")
    assert (next_one.sync_id, next_one.body) == ("s2", b"new")
    stats = await store.stats()
    assert (stats.syncs_waiting, stats.syncs_running) == (0, 1)


async def test_a_call_is_refused_when_the_state_has_moved(store: Store, given: Any) -> None:
    """Neither queued nor counted."""
    with pytest.raises(SnapshotMoved):
        await store.request_sync(given.sync("s1"), serial=4)
    assert (await store.stats()).syncs_waiting == 0
    assert (await store.observed(now_ms=1_000)).get("t") is None


async def test_syncs_follow_their_data_source(store: Store, given: Any) -> None:
    """Deleted with it, waiting or running; renamed with it, also when two names are swapped."""
    names = ("bot/a", "bot/b", "bot/c")
    await given.commit(store, *(given.data_source(name) for name in names))
    for name in names:
        await store.request_sync(given.sync(f"of {name}", name), serial=1)
    (running, *_) = await take(store, limit=1)
    await store.request_sync(given.sync("second of a", "bot/a"), serial=1)

    def key(address: str) -> Key:
        return Key(Kind.DATA_SOURCE, address)

    await given.commit(
        store, deletes=(key("bot/c"),), renames={key("bot/a"): key("bot/b"), key("bot/b"): key("bot/a")}
    )
    assert await store.request_sync(given.sync("x", "bot/a"), serial=2) == SyncTicket("of bot/b", joined=True)
    assert await store.request_sync(given.sync("y", "bot/b"), serial=2) == SyncTicket("second of a", joined=True)
    assert await store.finish_sync(running, event=None, serial=2, now_ms=2_010) is not None
    assert {(c.sync_id, c.data_source) for c in await take(store)} == {
        ("of bot/b", "bot/a"),
        ("second of a", "bot/b"),
    }
