"""The writer: many operations to a commit, and what happens when the disk says no."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from reconciler.errors import StoreUnavailable
from reconciler.model.delivery import Attempt, DeliveryFilter, DeliveryStatus, Settlement
from reconciler.store.port import Access, Demand

if TYPE_CHECKING:
    from pathlib import Path

    from reconciler.model.delivery import Claim
    from reconciler.store.port import Store

EVERYTHING = DeliveryFilter()


def delivered(claim: Claim) -> Settlement:
    """A 200."""
    attempt = Attempt(number=claim.attempt, round=claim.round, started_ms=2_000, duration_ms=1, status=200)
    return Settlement(
        delivery_id=claim.delivery_id, fence=claim.fence, status=DeliveryStatus.DELIVERED, attempt=attempt
    )


async def whole_way(store: Store, event: Any, count: int, hooks: int) -> None:
    """Accept events one by one all at once, claim what is due, settle one by one all at once."""
    names = [f"h{number}" for number in range(hooks)]
    await asyncio.gather(
        *(store.accept([event(f"e{number}", names[number % hooks])], serial=0) for number in range(count))
    )
    demands = [Demand(name, count, count) for name in names]
    claims = await store.claim(demands, limit=count, owner="w", now_ms=2_000, lease_ms=100)
    held = await asyncio.gather(*(store.settle([delivered(claim)], now_ms=2_001) for claim in claims))
    assert held == [[True]] * count


async def test_few_commits_and_statements_do_many_deliveries(
    opening: Any, event: Any, runner: asyncio.Runner
) -> None:
    """What comes together is written together, and the figures say so."""
    store = await opening(Access.DAEMON)
    await store.write_note("a", "b")
    before = (await store.stats()).engine
    await whole_way(store, event, count=400, hooks=10)
    after = (await store.stats()).engine
    assert after["operations"] - before["operations"] == 801
    assert after["commits"] - before["commits"] <= 400 * 0.05
    assert after["statements"] - before["statements"] <= 400 * 0.2
    assert after["batch_max"] > 100


async def test_statements_are_counted_as_sqlite_counts_them(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """The counter shown in the figures is what SQLite's own trace sees on the writer's connection."""
    traced: Counter[int] = Counter()
    made: list[apsw.Connection] = []

    def watch(connection: apsw.Connection) -> None:
        number = len(made)
        made.append(connection)
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, lambda _: traced.update([number]))

    apsw.connection_hooks.append(watch)
    try:
        store = await opening(Access.DAEMON)
        opened = traced[0]
        await whole_way(store, event, count=50, hooks=3)
        await store.prune(
            ended_before_ms=9_000, parked=frozenset(), parked_before_ms=0, keep=9, limit=20, now_ms=9_000
        )
        counted = (await store.stats()).engine["statements"]
        assert traced[0] - opened == counted
    finally:
        apsw.connection_hooks.remove(watch)


async def test_a_lone_operation_is_committed_at_once(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """Nobody waits for company that does not come: each has its own commit."""
    store = await opening(Access.DAEMON)
    before = (await store.stats()).engine["commits"]
    for number in range(10):
        await store.accept([event(f"e{number}", "h")], serial=0)
    assert (await store.stats()).engine["commits"] - before == 10


async def test_the_observer_is_told_of_every_commit(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """How many operations and how long; one that fails disturbs nobody."""
    seen: list[tuple[int, float]] = []

    def observer(operations: int, seconds: float) -> None:
        seen.append((operations, seconds))
        if len(seen) == 1:
            raise RuntimeError

    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    store = await opening(Access.DAEMON, observer=observer)
    await store.accept([event("e", "h")], serial=0)
    await asyncio.gather(*(store.accept([event(f"e{number}", "h")], serial=0) for number in range(30)))
    await store.stats()
    engine = (await store.stats()).engine
    assert sum(operations for operations, _ in seen) == engine["operations"] == 31
    assert len(seen) == engine["commits"]
    assert all(0 < seconds < 10 for _, seconds in seen)
    assert len(complaints) == 1


async def test_a_caller_that_gives_up_harms_nobody(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """What was asked is done; the others get their answers."""
    store = await opening(Access.DAEMON)
    tasks = [asyncio.ensure_future(store.accept([event(f"e{number}", "h")], serial=0)) for number in range(20)]
    await asyncio.sleep(0)  # noqa: TID251 - lets the tasks ask
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [True, False] * 10
    assert await store.count(EVERYTHING) == 20


async def test_a_full_disk_refuses_and_recovers(opening: Any, event: Any, path: Path, runner: asyncio.Runner) -> None:
    """While no byte can be added nothing is accepted; afterwards all goes on, and nothing is half there."""
    store = await opening(Access.DAEMON)
    await store.accept([event("before", "h")], serial=0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = path.with_name("store.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4_096, limits[1]))
    try:
        answers = await asyncio.gather(
            *(store.accept([event(f"e{number}", "h", payload=b"x" * 3_000)], serial=0) for number in range(40)),
            return_exceptions=True,
        )
        refused = sum(isinstance(answer, StoreUnavailable) for answer in answers)
        assert refused >= 39
        assert await store.count(EVERYTHING) == 1 + 40 - refused
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    await whole_way(store, event, count=20, hooks=1)
    assert (await store.stats()).by_status[DeliveryStatus.DELIVERED] == 20


async def test_no_room_in_the_file_is_told_as_a_full_disk(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """SQLite's own word for it leads to the same error, which says what to do."""
    store = await opening(Access.DAEMON)
    await store.write_note("a", "b")
    connection = store._writer._session.connection
    pages = connection.pragma("page_count")
    connection.pragma("max_page_count", pages)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.accept([event("e", "h", payload=b"x" * 20_000)], serial=0)
    connection.pragma("max_page_count", pages + 1_000)
    assert not (await store.accept([event("e", "h")], serial=0))[0].duplicate


async def test_a_writer_elsewhere_that_never_ends_makes_it_unavailable(
    opening: Any, event: Any, path: Path, runner: asyncio.Runner
) -> None:
    """Another process's transaction is waited for, but not for ever; reads go on."""
    store = await opening(Access.DAEMON)
    await store.write_note("a", "b")
    store._writer._session.connection.set_busy_timeout(50)
    other = apsw.Connection(str(path))
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="another process"):
            await store.accept([event("e", "h")], serial=0)
        assert await store.read_note("a") == "b"
        other.execute("ROLLBACK")
    finally:
        other.close()
    assert (await store.accept([event("e", "h")], serial=0))[0].deliveries == 1


async def test_a_mistake_of_one_caller_is_told_to_that_caller(
    opening: Any, event: Any, runner: asyncio.Runner
) -> None:
    """Rows that cannot be written fail alone, with everything beside them done."""
    store = await opening(Access.DAEMON)
    wrong = event("wrong", "h", payload="text where bytes belong")
    answers = await asyncio.gather(
        store.accept([event("a", "h")], serial=0),
        store.accept([wrong], serial=0),
        store.accept([event("b", "h")], serial=0),
        return_exceptions=True,
    )
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False]
    assert (await store.stats()).events == 2


async def test_the_log_is_folded_in_while_the_store_is_written_to(
    opening: Any, event: Any, path: Path, runner: asyncio.Runner
) -> None:
    """Under steady writing the log starts anew again and again instead of growing with what is stored."""
    store = await opening(Access.DAEMON)
    payload = b"x" * 400_000
    stored = 0
    shrunk = 0
    length = 0
    while shrunk < 2:
        await store.accept([event(f"e{stored}", payload=payload)], serial=0)
        stored += 1
        pages = store._writer._checkpointer._pages
        shrunk += pages < length
        length = pages
        assert stored < 2_000
    assert path.stat().st_size > 16 * 1024 * 1024  # noqa: ASYNC240
    assert store._writer._checkpointer.failures == 0
