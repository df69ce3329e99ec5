"""The runner: one sync at a time per data source, each with one end, whatever happens in between."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.clock import SystemClock
from reconciler.control.reconcile import apply
from reconciler.control.snapshot import build_snapshot
from reconciler.errors import SnapshotMoved, StoreUnavailable
from reconciler.metrics import Metrics
from reconciler.model.delivery import DeliveryFilter
from reconciler.model.exchange import Reply, Request
from reconciler.model.snapshot import Snapshot
from reconciler.model.sync import NewSync
from reconciler.plan.guards import Allowance
from reconciler.store.memory import MemoryStore
from reconciler.sync import runner as runner_module
from reconciler.sync.runner import SyncRunner

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from reconciler.model.resource import Desired

RESULTS = {
    "totalTokens": 1,
    "modifiedRows": 2,
    "totalDocuments": 3,
    "unmodifiedRows": 4,
    "totalDataSourceRows": 5,
}
GOOD = Reply(status=200, headers=(), body=json.dumps({"results": RESULTS}).encode())


def bots(sync: Any = None) -> dict[str, Any]:
    """A bot with two data sources, and a webhook for every end of a sync."""
    sync = sync or {"http": {"url": "https://cms.example.com/sync"}}
    hook = {"url": "https://ops.example.com/", "enabled": True}
    return {
        "support": {
            "name": "My Bot",
            "data_sources": {
                "docs": {"name": "Data source one", "sync": sync},
                "wiki": {"sync": sync},
                "more": {"sync": sync},
            },
            "webhooks": {
                "published": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
                "edited": {"type": "sync.trigger", "data_source": "wiki", "enabled": True},
                "changed": {"type": "sync.trigger", "data_source": "more", "enabled": True},
                "good": {**hook, "type": "sync.success"},
                "bad": {**hook, "type": "sync.failure"},
                "bad-docs": {**hook, "type": "sync.failure", "data_source": "docs"},
            },
        }
    }


class Gate:
    """A sender that answers when it is let, and remembers how many it has held at once."""

    def __init__(self, reply: Reply = GOOD) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.open = asyncio.Event()
        self.held: dict[str, int] = {}
        self.held_most = 0

    async def send(self, request: Request) -> Reply:
        source = dict(request.headers)["X-Reconciler-Data-Source"]
        self.requests.append(request)
        self.held[source] = self.held.get(source, 0) + 1
        assert self.held[source] == 1, "two syncs of one data source at once"
        self.held_most = max(self.held_most, sum(self.held.values()))
        try:
            await self.open.wait()
        finally:
            self.held[source] -= 1
        return self.reply


class Wrapped:
    """A store with one verb replaced for as long as there are errors to raise."""

    def __init__(self, store: MemoryStore, verb: str, errors: list[Exception]) -> None:
        self._store, self._verb, self._errors = store, verb, errors

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name != self._verb:
            return real

        async def verb(*args: Any, **kwargs: Any) -> Any:
            if self._errors:
                raise self._errors.pop(0)
            return await real(*args, **kwargs)

        return verb


class House:
    """State, store and a runner."""

    def __init__(self, mint: Any, keyring: Any, wait_for: Callable[..., Any]) -> None:
        self.mint, self.keyring = mint, keyring
        self.wait_for = wait_for
        self.store: Any = MemoryStore()
        self.memory: MemoryStore = self.store
        self.clock = SystemClock()
        self.snapshot = Snapshot(generation=0, lineage=None, serial=0)
        self.gate = Gate()
        self.metrics = Metrics()
        self.woken: list[set[str]] = []
        self.refreshes = 0

    async def configure(self, desired: Desired) -> None:
        """Apply and serve."""
        await apply(
            self.memory,
            desired,
            keyring=self.keyring,
            mint=self.mint,
            now_ms=self.clock.now_ms(),
            allow=Allowance(all=True),
        )
        await self.refresh()

    async def refresh(self) -> None:
        self.refreshes += 1
        state = await self.memory.read_state()
        self.snapshot = build_snapshot(
            state, keyring=self.keyring, environ={}, generation=self.snapshot.generation + 1
        )

    def runner(self, **more: Any) -> SyncRunner:
        """A runner on this house."""

        def woken(hook_ids: Collection[str]) -> None:
            self.woken.append(set(hook_ids))

        given: dict[str, Any] = {
            "store": self.store,
            "sender": self.gate,
            "snapshot": lambda: self.snapshot,
            "refresh": self.refresh,
            "on_event": woken,
            "clock": self.clock,
            "mint": self.mint,
            "owner": "w",
            "environ": dict(os.environ),
            "metrics": self.metrics,
        }
        return SyncRunner(**{**given, **more})

    async def trigger(self, hook: str, body: bytes = b"") -> str:
        """Call a trigger; the sync's id."""
        trigger = self.snapshot.addresses[f"support/{hook}"]
        now_ms = self.clock.now_ms()
        ticket = await self.memory.request_sync(
            NewSync(
                id=self.mint.new_id(now_ms),
                data_source=trigger.data_source,  # type: ignore[union-attr] # a trigger
                hook_id=trigger.id,
                requested_ms=now_ms,
                body=body,
            ),
            serial=self.snapshot.serial,
        )
        return ticket.sync_id

    async def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """What has been sent off: (webhook, event, payload), oldest first."""
        page = await self.memory.deliveries(DeliveryFilter(), cursor=None, limit=100)
        found = []
        for delivery in reversed(page.items):
            details = await self.memory.delivery(delivery.id)
            assert details is not None
            found.append((delivery.hook, delivery.event, json.loads(details[1])))
        return sorted(found, key=lambda each: each[0])

    async def idle(self) -> None:
        """Until nothing waits and nothing runs."""

        async def quiet() -> bool:
            stats = await self.memory.stats()
            return stats.syncs_waiting == stats.syncs_running == 0

        async with asyncio.timeout(30):
            while not await quiet():
                await asyncio.to_thread(os.sched_yield)


@pytest.fixture
def house(
    mint: Any, keyring: Any, declare: Callable[..., Desired], wait_for: Callable[..., Any]
) -> Callable[..., None]:
    """Runs an async test body with a `House` over `bots()`."""

    def run(body: Callable[[House], Awaitable[None]], sync: Any = None) -> None:
        async def main() -> None:
            built = House(mint, keyring, wait_for)
            await built.configure(declare(bots(sync)))
            await body(built)

        asyncio.run(main())

    return run


def test_a_success_is_told_to_the_hooks_in_scope(house: Callable[..., None]) -> None:
    """The documented payload with the configured names, in the same transaction as the sync's end."""

    async def body(house: House) -> None:
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            sync_id = await house.trigger("published", b'{"page": 1}')
            runner.wake()
            await house.idle()
            await runner.stop(5)
        ((hook, event, payload),) = await house.events()
        assert (hook, event) == ("support/good", "sync.success")
        assert payload == {"success": True, "results": RESULTS, "bot": "My Bot", "dataSource": "Data source one"}
        (request,) = house.gate.requests
        assert request.body == b'{"page": 1}'
        assert dict(request.headers)["X-Reconciler-Sync-Id"] == sync_id
        page = await house.memory.deliveries(DeliveryFilter(), cursor=None, limit=1)
        assert page.items[0].event_id == sync_id
        assert house.woken == [{house.snapshot.addresses["support/good"].id}]
        assert 'reconciler_syncs_total{outcome="success"} 1.0' in house.metrics.exposition().decode()

    house(body)


def test_calls_that_keep_coming_start_few_syncs(house: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two starts lies a rest, in which calls join the sync that waits; another data source has none."""

    async def body(house: House) -> None:
        monkeypatch.setattr(runner_module, "REST_S", 0.2)
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            started_s = house.clock.monotonic_s()
            await house.trigger("published", b"1")
            runner.wake()
            await house.idle()
            for number in range(2, 6):
                await house.trigger("published", b"%d" % number)
                runner.wake()
            await house.trigger("edited")
            runner.wake()
            await house.idle()
            assert house.clock.monotonic_s() - started_s >= 0.2
            await runner.stop(5)
        assert [request.body for request in house.gate.requests] == [b"1", b"", b"5"]

    house(body)


def test_a_failure_is_told_with_a_clean_reason(house: Callable[..., None]) -> None:
    """Both failure hooks of the source hear of it; the other source's scoped hook would not."""

    async def body(house: House) -> None:
        house.gate.reply = Reply(status=200, headers=(), body=b'{"success": false, "reason": "over\\nthe limit"}')
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            await house.trigger("edited")
            runner.wake()
            await house.idle()
            await runner.stop(5)
        told = [(hook, payload["dataSource"], payload["reason"]) for hook, _, payload in await house.events()]
        assert sorted(told) == [
            ("support/bad", "Data source one", "over the limit"),
            ("support/bad", "wiki", "over the limit"),
            ("support/bad-docs", "Data source one", "over the limit"),
        ]

    house(body)


def test_a_deferred_sync_ends_without_an_event(house: Callable[..., None]) -> None:
    """202: whoever runs it will post its event."""

    async def body(house: House) -> None:
        house.gate.reply = Reply(status=202, headers=(), body=b"")
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            runner.wake()
            await house.idle()
            await runner.stop(5)
        assert await house.events() == []
        assert 'reconciler_syncs_total{outcome="deferred"} 1.0' in house.metrics.exposition().decode()

    house(body)


def test_calls_during_a_sync_start_exactly_one_more(house: Callable[..., None]) -> None:
    """Fifty calls while one runs are one sync after it, with the latest body; other sources run beside."""

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published", b"first")
            await house.trigger("edited", b"beside")
            runner.wake()
            await house.wait_for(lambda: len(house.gate.requests) == 2)
            for number in range(50):
                await house.trigger("published", b"%d" % number)
                runner.wake()
            house.gate.open.set()
            await house.idle()
            await runner.stop(5)
        bodies = [request.body for request in house.gate.requests]
        assert sorted(bodies[:2]) == [b"beside", b"first"]
        assert bodies[2:] == [b"49"]

    house(body)


def test_only_so_many_run_at_once(house: Callable[..., None]) -> None:
    """The rest waits its turn, and gets it without being asked again."""

    async def body(house: House) -> None:
        runner = house.runner(limit=2)
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            for hook in ("published", "edited", "changed"):
                await house.trigger(hook)
            runner.wake()
            await house.wait_for(lambda: len(house.gate.requests) == 2)
            assert runner.running == 2
            house.gate.open.set()
            await house.idle()
            await runner.stop(5)
        assert len(house.gate.requests) == 3
        assert house.gate.held_most == 2

    house(body)


def test_an_end_is_recorded_when_the_store_comes_back(
    house: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished sync waits for a store that cannot write; it is not run again."""
    monkeypatch.setattr(runner_module, "TRY_AGAIN_S", 0.01)

    async def body(house: House) -> None:
        house.store = Wrapped(house.memory, "finish_sync", [StoreUnavailable("full")] * 3 + [SnapshotMoved("moved")])
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            runner.wake()
            await house.idle()
            await runner.stop(5)
        assert len(house.gate.requests) == 1
        assert len(await house.events()) == 1

    house(body)


def test_the_fan_out_is_that_of_the_state_at_the_end(
    house: Callable[..., None], declare: Callable[..., Desired]
) -> None:
    """A webhook that was applied while the sync ran hears of its end, even if nobody told the runner."""

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            runner.wake()
            await house.wait_for(lambda: house.gate.requests)
            behind, changed = house.snapshot, bots()
            changed["support"]["webhooks"]["late"] = changed["support"]["webhooks"]["good"]
            await house.configure(declare(changed))
            house.snapshot = behind
            house.gate.open.set()
            await house.idle()
            await runner.stop(5)
        assert [hook for hook, *_ in await house.events()] == ["support/good", "support/late"]

    house(body)


def test_a_source_deleted_while_it_syncs_tells_nobody(
    house: Callable[..., None], declare: Callable[..., Desired]
) -> None:
    """Its sync ends quietly and the runner goes on with the others."""

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            runner.wake()
            await house.wait_for(lambda: house.gate.requests)
            less = bots()
            for part, names in (("data_sources", ["docs"]), ("webhooks", ["published", "bad-docs"])):
                for name in names:
                    del less["support"][part][name]
            await house.configure(declare(less))
            house.gate.open.set()
            await house.trigger("edited")
            runner.wake()
            await house.wait_for(lambda: runner.running == 0)
            await house.idle()
            await runner.stop(5)
        assert [payload["dataSource"] for *_, payload in await house.events()] == ["wiki"]

    house(body)


def test_a_stop_waits_within_its_grace_and_then_gives_back(house: Callable[..., None]) -> None:
    """What does not end in time is waiting again, and the next runner runs it."""

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published", b"again")
            runner.wake()
            await house.wait_for(lambda: house.gate.requests)
            await runner.stop(0.01)
        stats = await house.memory.stats()
        assert (stats.syncs_waiting, stats.syncs_running) == (1, 0)
        house.gate.open.set()
        second = house.runner(owner="v")
        async with asyncio.TaskGroup() as group:
            group.create_task(second.run())
            await house.idle()
            await second.stop(5)
        assert [request.body for request in house.gate.requests] == [b"again", b"again"]
        assert len(await house.events()) == 1

    house(body)


def test_cancelling_the_runner_gives_back_what_runs(house: Callable[..., None]) -> None:
    """As a second signal does."""

    async def body(house: House) -> None:
        runner = house.runner()
        task = asyncio.create_task(runner.run())
        await house.trigger("published")
        runner.wake()
        await house.wait_for(lambda: house.gate.requests)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await house.memory.stats()).syncs_waiting == 1

    house(body)


def test_a_late_end_changes_nothing_when_the_lease_was_lost(house: Callable[..., None]) -> None:
    """Another worker has it by then; the late one is counted as lost."""

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            runner.wake()
            await house.wait_for(lambda: house.gate.requests)
            await house.memory.free_leases()
            await house.memory.claim_syncs(limit=1, owner="v", now_ms=house.clock.now_ms(), lease_ms=60_000)
            house.gate.open.set()
            await house.wait_for(lambda: runner.running == 0)
            await runner.stop(5)
        assert await house.events() == []
        assert 'reconciler_syncs_total{outcome="lost"} 1.0' in house.metrics.exposition().decode()

    house(body)


def test_a_broken_sync_does_not_stop_the_others(house: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is a failure of that sync, told without its details."""

    async def broken(*_args: Any, **_kwargs: Any) -> Any:
        raise RuntimeError("with a secret")

    monkeypatch.setattr(runner_module, "run_http", broken)

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            await house.trigger("edited")
            runner.wake()
            await house.idle()
            await runner.stop(5)
        reasons = {payload["reason"] for *_, payload in await house.events()}
        assert reasons == {"the sync could not be run; the daemon's log says more"}

    house(body)


def test_a_claim_that_fails_is_made_again(house: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is away does not end the runner."""
    monkeypatch.setattr(runner_module, "POLL_S", 0.01)

    async def body(house: House) -> None:
        house.store = Wrapped(house.memory, "claim_syncs", [StoreUnavailable("away")] * 3)
        house.gate.open.set()
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.trigger("published")
            await house.idle()
            await runner.stop(5)
        assert len(await house.events()) == 1

    house(body)


def test_a_command_is_run_with_the_latest_body(house: Callable[..., None]) -> None:
    """From the YAML's argv to the event, with a real process."""
    script = "import sys, json; print(json.dumps({'results': json.load(sys.stdin)}))"

    async def body(house: House) -> None:
        runner = house.runner()
        async with asyncio.TaskGroup() as group:
            await house.trigger("published", b"{}")
            await house.trigger("published", json.dumps({**RESULTS, "note": "x"}).encode())
            group.create_task(runner.run())
            await house.idle()
            await runner.stop(5)
        ((_, _, payload),) = await house.events()
        assert payload["results"] == {**RESULTS, "note": "x"}

    house(body, {"command": [sys.executable, "-c", script]})


def test_the_lease_outlasts_the_longest_time_out(house: Callable[..., None]) -> None:
    """A sync that is still within its time-out is never claimed a second time."""

    async def body(house: House) -> None:
        asked: list[int] = []

        class Spy:
            def __getattr__(self, name: str) -> Any:
                return getattr(house.memory, name)

            async def claim_syncs(self, **kwargs: Any) -> list[Any]:
                asked.append(kwargs["lease_ms"])
                return []

        runner = house.runner(store=Spy())
        async with asyncio.TaskGroup() as group:
            group.create_task(runner.run())
            await house.wait_for(lambda: asked)
            await runner.stop(5)
        longest_ms = max(source.timeout_ms for source in house.snapshot.data_sources.values())
        assert asked[0] >= longest_ms + 30_000

    house(body)
