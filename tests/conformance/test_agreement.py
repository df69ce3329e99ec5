"""The model and SQLite, driven together: whatever is done, they answer alike and end alike."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.errors import ReconcilerError
from reconciler.model.delivery import (
    Attempt,
    AttemptError,
    Claim,
    DeliveryFilter,
    DeliveryStatus,
    NewDelivery,
    NewEvent,
    Settlement,
    Taking,
)
from reconciler.model.resource import Key, Kind, Resource
from reconciler.model.sync import NewSync, SyncClaim
from reconciler.store.connect import open_store
from reconciler.store.memory import MemoryStore
from reconciler.store.port import Access, Commit, Demand

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reconciler.store.port import Store

HOOKS = [f"hook-{number}" for number in range(4)]
SOURCES = ["bot/docs", "bot/wiki"]
TYPES = ["sync.success", "sync.failure"]

hooks = st.sampled_from(HOOKS)
types = st.sampled_from(TYPES)
moves = st.sampled_from([0, 0, 0, 1])
"""How far an operation is off the state's serial."""

some_hooks = st.lists(hooks, unique=True, max_size=3)
filters = st.builds(
    DeliveryFilter,
    hook_ids=st.none() | st.frozensets(hooks, max_size=2),
    statuses=st.none() | st.frozensets(st.sampled_from(DeliveryStatus), max_size=3),
    event=st.none() | st.sampled_from(TYPES),
    error=st.none() | st.sampled_from([AttemptError.TIMEOUT, "other"]),
    since_ms=st.none() | st.integers(0, 5_000),
    until_ms=st.none() | st.integers(0, 5_000),
)
endings = st.sampled_from(
    [
        DeliveryStatus.PENDING,
        DeliveryStatus.DELIVERED,
        DeliveryStatus.EXHAUSTED,
        DeliveryStatus.REFUSED,
    ]
)


class Agreement(RuleBasedStateMachine):
    """Each rule does one thing to both stores and compares the answers; each step ends in comparing everything."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="agreement-"))
        self.url = f"sqlite:{self.folder / 'store.db'}"
        self.now = 1_000
        self.drawn = 0
        self.serial = 0
        self.claims: list[Claim] = []
        self.syncs: list[SyncClaim] = []
        self.model: Store = MemoryStore()
        self.sqlite: Store = self.model

    @initialize()
    def start(self) -> None:
        """Open the file."""
        self.sqlite = self.runner.run(open_store(self.url, Access.DAEMON))

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.runner.run(self.sqlite.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    def both(self, act: Callable[[Store], Awaitable[Any]]) -> Any:
        """Do it to both; the answers, or the kinds of errors, are the same."""

        async def outcome(store: Store) -> Any:
            try:
                return await act(store)
            except (ReconcilerError, ValueError) as error:
                return type(error)

        expected = self.runner.run(outcome(self.model))
        assert self.runner.run(outcome(self.sqlite)) == expected
        return expected

    def next_id(self, prefix: str) -> str:
        """An id that was never used."""
        self.drawn += 1
        return f"{prefix}-{self.drawn:04}"

    def event(self, chosen: list[str], kind: str, event_id: str | None = None) -> NewEvent:
        """An event of now."""
        return NewEvent(
            id=event_id or self.next_id("event"),
            type=kind,
            payload=b"{}",
            received_ms=self.now,
            deliveries=tuple(NewDelivery(self.next_id("delivery"), hook) for hook in chosen),
        )

    @rule(ms=st.sampled_from([1, 50, 500, 3_600_000]))
    def pass_time(self, ms: int) -> None:
        """Time goes on."""
        self.now += ms

    @rule(batch=st.lists(st.tuples(some_hooks, st.sampled_from(TYPES)), max_size=4), off=moves)
    def accept(self, batch: list[tuple[list[str], str]], off: int) -> None:
        """Events come, sometimes decided on a serial that is not the state's."""
        events = [self.event(targets, kind) for targets, kind in batch]
        self.both(lambda store: store.accept(events, serial=self.serial + off))

    @rule(batch=st.lists(some_hooks, max_size=3), rooms=st.dictionaries(hooks, st.integers(0, 3), max_size=2))
    def accept_and_take(self, batch: list[list[str]], rooms: dict[str, int]) -> None:
        """Events come, and a worker that has room takes some of what they bring."""
        events = [self.event(targets, TYPES[0]) for targets in batch]
        events += events[:1]
        taking = Taking(rooms, self.next_id("worker"), self.now + 100)
        for one in self.both(lambda store: store.accept(events, serial=self.serial, taking=taking)):
            self.claims += one.claims

    @rule(number=st.integers(1, 40), chosen=some_hooks)
    def accept_again(self, number: int, chosen: list[str]) -> None:
        """An id is posted that may be known."""
        event = self.event(chosen, TYPES[0], f"event-{number:04}")
        self.both(lambda store: store.accept([event, event], serial=self.serial))

    @rule(chosen=some_hooks, first=st.integers(0, 3), retries=st.integers(0, 3), limit=st.integers(0, 6))
    def claim(self, chosen: list[str], first: int, retries: int, limit: int) -> None:
        """A worker asks for work."""
        demands = [Demand(hook, first, retries) for hook in chosen]
        owner = self.next_id("worker")
        claims = self.both(
            lambda store: store.claim(demands, limit=limit, owner=owner, now_ms=self.now, lease_ms=100)
        )
        self.claims += claims

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), status=endings, gone=st.booleans(), recorded=st.booleans())
    def settle(self, data: st.DataObject, status: DeliveryStatus, *, gone: bool, recorded: bool) -> None:
        """A worker reports on claims that may be stale by now."""
        chosen = data.draw(st.lists(st.sampled_from(self.claims), unique_by=lambda c: c.delivery_id, max_size=3))
        settlements = [self.settlement(claim, status, gone=gone, recorded=recorded) for claim in chosen]
        self.both(lambda store: store.settle(settlements, now_ms=self.now))

    def settlement(self, claim: Claim, status: DeliveryStatus, *, gone: bool, recorded: bool) -> Settlement:
        """What a worker says of a claim."""
        delivered = status is DeliveryStatus.DELIVERED
        attempt = Attempt(
            number=claim.attempt,
            round=claim.round,
            started_ms=self.now - 3,
            duration_ms=3,
            status=200 if delivered else None,
            error=None if delivered else AttemptError.TIMEOUT,
        )
        return Settlement(
            delivery_id=claim.delivery_id,
            fence=claim.fence,
            status=status,
            due_ms=self.now + 200 if status is DeliveryStatus.PENDING else None,
            attempt=attempt if recorded or delivered else None,
            error=None if delivered else "timeout",
            gone=gone and not delivered,
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """A worker gives a claim back."""
        claim = data.draw(st.sampled_from(self.claims))
        given = [(claim.delivery_id, claim.hook_id, claim.fence.claims)]
        self.both(lambda store: store.release(given, owner=claim.fence.owner, due_ms=self.now + 10))

    @rule(present=st.frozensets(hooks), cleared=st.frozensets(hooks, max_size=1), off=moves)
    def apply(self, present: frozenset[str], cleared: frozenset[str], off: int) -> None:
        """The configuration comes to hold exactly these hooks; a deleted one comes back under the same id, even."""
        before = {r.id for r in self.runner.run(self.model.read_state()).resources.values() if r.id}
        gone = before - present
        change = Commit(
            expected_lineage="lineage" if self.serial else None,
            expected_serial=self.serial + off,
            lineage="lineage",
            salt=b"salt",
            upserts=tuple(
                Resource(key=Key(Kind.WEBHOOK, f"bot/{hook}"), spec={"at": self.now}, id=hook)
                for hook in sorted(present)
            ),
            deletes=tuple(Key(Kind.WEBHOOK, f"bot/{hook}") for hook in sorted(gone)),
            cancel_hooks=frozenset(gone),
            clear_gone=cleared,
        )
        self.both(lambda store: store.commit(change, now_ms=self.now, verify=lambda _: None))
        self.serial = self.runner.run(self.model.read_serial())[1]

    @rule(hook=hooks)
    def clear_gone(self, hook: str) -> None:
        """A test was answered with 2xx."""
        self.both(lambda store: store.clear_gone(hook))

    @rule(source=st.sampled_from(SOURCES), hook=hooks)
    def request_sync(self, source: str, hook: str) -> None:
        """A trigger is called."""
        sync_id = self.next_id("sync")
        sync = NewSync(id=sync_id, data_source=source, hook_id=hook, requested_ms=self.now, body=sync_id.encode())
        self.both(lambda store: store.request_sync(sync, serial=self.serial))

    @rule(limit=st.integers(0, 2))
    def claim_syncs(self, limit: int) -> None:
        """A runner asks for work."""
        self.syncs += self.both(
            lambda store: store.claim_syncs(limit=limit, owner="runner", now_ms=self.now, lease_ms=100)
        )

    @precondition(lambda self: self.syncs)
    @rule(data=st.data(), how=st.sampled_from(["event", "nothing", "release"]), off=moves)
    def end_sync(self, data: st.DataObject, how: str, off: int) -> None:
        """A runner reports, or gives back."""
        claim = data.draw(st.sampled_from(self.syncs))
        if how == "release":
            self.both(lambda store: store.release_sync(claim))
            return
        event = self.event(HOOKS[:1], TYPES[0]) if how == "event" else None
        self.both(lambda store: store.finish_sync(claim, event=event, serial=self.serial + off, now_ms=self.now))

    @rule(which=filters, limit=st.integers(0, 3))
    def redeliver(self, which: DeliveryFilter, limit: int) -> None:
        """An operator retries."""
        self.both(lambda store: store.redeliver(which, now_ms=self.now, limit=limit))

    @rule(
        age=st.sampled_from([0, 100, 10_000]),
        parked=st.frozensets(hooks, max_size=2),
        keep=st.sampled_from([0, 2, 100]),
        limit=st.integers(0, 5),
    )
    def prune(self, age: int, parked: frozenset[str], keep: int, limit: int) -> None:
        """Retention does its work."""
        self.both(
            lambda store: store.prune(
                ended_before_ms=self.now - age,
                parked=parked,
                parked_before_ms=self.now - 40,
                keep=keep,
                limit=limit,
                now_ms=self.now,
            )
        )

    @rule(which=filters)
    def search(self, which: DeliveryFilter) -> None:
        """An operator looks."""
        self.both(lambda store: store.count(which))
        self.both(lambda store: store.deliveries(which, cursor=None, limit=2))

    @rule()
    def restart(self) -> None:
        """The daemon stops and starts."""
        self.runner.run(self.sqlite.close())
        self.sqlite = self.runner.run(open_store(self.url, Access.DAEMON))
        self.both(lambda store: store.free_leases())

    @invariant()
    def they_agree(self) -> None:
        """Everything that can be read is the same."""
        self.both(lambda store: store.read_state())
        self.both(lambda store: store.gone())
        self.both(lambda store: store.observed(now_ms=self.now))

        async def figures(store: Store) -> Any:
            return replace(await store.stats(), engine={})

        async def heads(store: Store) -> Any:
            return sorted(await store.ready())

        async def whole_log(store: Store) -> Any:
            items = (await store.deliveries(DeliveryFilter(), cursor=None, limit=500)).items
            # Where deliveries were pruned, numbering may differ; the order and the rest may not.
            return items, [await store.delivery(item.id) for item in items]

        self.both(figures)
        self.both(heads)
        self.both(whole_log)


Agreement.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, phases=[Phase.explicit, Phase.generate]
)
TestAgreement = Agreement.TestCase
