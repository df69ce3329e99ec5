"""Notices: told to the configured webhook as deliveries, never about itself, never too many."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook

from reconciler.control.reconcile import apply
from reconciler.control.snapshot import build_snapshot
from reconciler.daemon.notices import TOLD_NOTE, Notices
from reconciler.delivery.attempt import Attempted
from reconciler.errors import StoreUnavailable
from reconciler.metrics import Metrics
from reconciler.model.delivery import Attempt, Claim, DeliveryFilter, DeliveryStatus, Fence, Settlement
from reconciler.model.outcome import Decision
from reconciler.model.resource import Declared, Key, Kind
from reconciler.model.spec import canonical_webhook
from reconciler.problem import Place
from reconciler.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from reconciler.mint import Mint
    from reconciler.model.resource import Desired
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.seal import Keyring

CONVERSATION = {
    "event": "conversation.started",
    "timestamp": "2026-03-10T12:00:00.000Z",
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "channelType": "web",
        "initialMessage": "Hello",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}


# -- with a real daemon and a real receiver ------------------------------------------------------------------------


def hooks_yaml(url: str, notify: Any) -> str:
    """One hook that gives up at once, and where to tell of it."""
    hook = {"type": "conversation.started", "url": url, "enabled": True, "retry": {"attempts": 1}}
    bots = {"support-bot": {"id": "def-456", "webhooks": {"crm": hook}}}
    return json.dumps({"version": 1, "notify": notify, "bots": bots})


def notices(receiver: Any, count: int) -> list[dict[str, Any]]:
    """The notices that have arrived, once there are `count`."""
    found = receiver.wait_for(count, where=lambda request: request.path == "/notices")
    return [request.json for request in found]


def test_an_operator_hears_of_trouble_in_signed_deliveries(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """Given up and failing: each arrives once, signed with the target's own secret, and is in the log."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(f"{receiver.url}/crm", {"url": f"{receiver.url}/notices"}))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.refuse("/crm", 500)

    for _ in range(10):
        daemon.post_event(CONVERSATION)

    heard = notices(receiver, 2)
    by_event = {notice["event"]: notice for notice in heard}
    assert sorted(by_event) == ["delivery.exhausted", "webhook.failing"]
    assert {notice["webhook"]["address"] for notice in heard} == {"support-bot/crm"}
    assert by_event["webhook.failing"]["error"] == "http-500"
    secret = reconcile("secret", "notify").stdout.strip()
    for request in receiver.wait_for(2, where=lambda request: request.path == "/notices"):
        assert request.headers["x-chatthing-event"] == request.json["event"]
        assert request.headers["x-secret-key"] == secret
        Webhook(secret).verify(request.body, request.headers)
    logged = json.loads(reconcile("deliveries", "--hook", "notify", "--json").stdout)["items"]
    assert sorted(item["event"] for item in logged) == sorted(by_event)
    metrics = daemon.get("/metrics").text
    assert 'reconciler_notices_total{notice="webhook.failing",outcome="sent"} 1.0' in metrics
    trial = json.loads(reconcile("test", "notify", "--server", daemon.url, "--json").stdout)
    assert trial["success"], trial
    assert daemon.stop() == 0


def test_what_was_told_is_taken_back_by_the_next_daemon(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A webhook that was reported gone and works again after a restart is reported well, not gone a second time."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(f"{receiver.url}/crm", {"url": f"{receiver.url}/notices"}))
    receiver.refuse("/crm", 410)
    daemon = start_daemon("-f", "hooks.yaml")
    daemon.post_event(CONVERSATION)
    assert "webhook.gone" in {notice["event"] for notice in notices(receiver, 2)}
    assert daemon.stop() == 0
    receiver.refuse("/crm", None)
    daemon = start_daemon("-f", "hooks.yaml")
    with daemon.client as client:
        assert client.post("/api/v1/hooks/support-bot/crm/test").json()["success"]

    daemon.post_event(CONVERSATION)

    assert [notice["event"] for notice in notices(receiver, 3)][-1] == "webhook.recovered"


def test_a_dead_target_of_notices_is_never_told_of_itself(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Its own failures make no notices, which would fail and make more; log and metrics have them."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(f"{receiver.url}/crm", {"url": f"{receiver.url}/notices"}))
    receiver.refuse("/notices", 410)
    receiver.refuse("/crm", 500)
    daemon = start_daemon("-f", "hooks.yaml")

    daemon.post_event(CONVERSATION)

    daemon.wait_for_log("webhook.gone", hook="notify")
    assert len(notices(receiver, 1)) == 1
    assert 'reconciler_notices_total{notice="webhook.gone",outcome="logged"} 1.0' in daemon.get("/metrics").text
    assert daemon.stop() == 0
    assert len(notices(receiver, 1)) == 1


# -- on a fake clock ---------------------------------------------------------------------------------------------


class SteppedClock:
    """Time is what the test says; waiting is real and short."""

    def __init__(self) -> None:
        self.at_ms = 1_000_000_000

    def now_ms(self) -> int:
        return self.at_ms

    def wall_s(self) -> int:
        return self.at_ms // 1000

    def monotonic_s(self) -> float:
        return self.at_ms / 1000

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(None if timeout_s is None else 0.005):
                return await event.wait()
        except TimeoutError:
            return False


class FullStore(MemoryStore):
    """Takes no events while `is_full`."""

    is_full = False

    async def accept(self, *arguments: Any, **options: Any) -> Any:
        if self.is_full:
            raise StoreUnavailable("the disk is full")
        return await super().accept(*arguments, **options)


class Fleet:
    """Hooks `support/0` …, and where notices about them go."""

    def __init__(self, snapshot: Snapshot, store: FullStore, mint: Mint) -> None:
        self.snapshot = snapshot
        self.store = store
        self.clock = SteppedClock()
        self.metrics = Metrics()
        self.woken: list[str] = []
        self.notices = Notices(
            store=store,
            snapshot=lambda: self.snapshot,
            refresh=self.refresh,
            wake=self.woken.extend,
            clock=self.clock,
            mint=mint,
            metrics=self.metrics,
        )
        self.ids = [hook.id for hook in snapshot.outgoing.values() if hook.address != "notify"]

    async def refresh(self) -> None:
        """The store's serial, as following it would bring."""
        _, serial = await self.store.read_serial()
        self.snapshot = replace(self.snapshot, serial=serial)

    def attempt(self, hook: int, status: DeliveryStatus, *, gone: bool = False) -> None:
        """An attempt for a hook has ended so."""
        error = None if status is DeliveryStatus.DELIVERED else "http-410" if gone else "timeout"
        decision = Decision(status=status, outcome="x", error=error, gone=gone)
        claim = Claim(
            delivery_id=f"d-{hook}",
            hook_id=self.ids[hook],
            event_id="e",
            event_type="conversation.started",
            payload=b"{}",
            attempt=1,
            round=1,
            created_ms=0,
            fence=Fence(1, "o"),
        )
        self.notices.attempted(
            Attempted(
                claim=claim,
                decision=decision,
                settlement=Settlement(delivery_id=claim.delivery_id, fence=claim.fence, status=status),
                record=Attempt(number=1, round=1, started_ms=0, duration_ms=1),
            )
        )

    async def told(self, until: Callable[[list[dict[str, Any]]], bool] = bool) -> list[dict[str, Any]]:
        """Every notice in the store, oldest first, once they are as wanted."""
        async with asyncio.timeout(10):
            while True:
                page = await self.store.deliveries(DeliveryFilter(), cursor=None, limit=1_000)
                found = [await self.store.delivery(delivery.id) for delivery in reversed(page.items)]
                payloads = [json.loads(each[1]) for each in found if each is not None]
                if until(payloads):
                    return payloads
                await self.clock.wait(asyncio.Event(), 0)


@pytest.fixture
def with_fleet(declare: Callable[..., Desired], keyring: Keyring, mint: Mint) -> Callable[..., None]:
    """Run a scenario on a fleet of so many hooks while its notices run."""

    def run(scenario: Callable[[Fleet], Awaitable[None]], *, hooks: int = 1) -> None:
        async def main() -> None:
            webhooks = {
                str(number): {"type": "conversation.started", "url": "https://x.example/", "enabled": True}
                for number in range(hooks)
            }
            bots = declare({"support": {"webhooks": webhooks}})
            spec = canonical_webhook({"type": "notify", "url": "https://ops.example/", "enabled": True})
            key = Key(Kind.WEBHOOK, "notify")
            target = Declared(key=key, spec=spec, base_dir="/", locate=lambda _: Place("hooks.yaml", 1))
            desired = replace(bots, resources=dict(sorted({**bots.resources, key: target}.items())))
            store = FullStore()
            await apply(store, desired, keyring=keyring, mint=mint, now_ms=1)
            snapshot = build_snapshot(await store.read_state(), keyring=keyring, environ={}, generation=1)
            fleet = Fleet(snapshot, store, mint)
            running = asyncio.create_task(fleet.notices.run())
            await scenario(fleet)
            await fleet.notices.stop()
            await running

        asyncio.run(main())

    return run


def test_deliveries_that_are_given_up_are_counted_in_one_notice_a_minute(with_fleet: Callable[..., None]) -> None:
    """The first is told of at once, those of the following minute together."""

    async def scenario(fleet: Fleet) -> None:
        for _ in range(500):
            fleet.attempt(0, DeliveryStatus.EXHAUSTED)
        await fleet.told(lambda told: len(told) == 2)
        fleet.clock.at_ms += 60_000
        told = await fleet.told(lambda told: len(told) == 3)
        given_up = [notice["exhausted"] for notice in told if notice["event"] == "delivery.exhausted"]
        assert [notice["count"] for notice in given_up] == [1, 499]
        assert {notice["first"] for notice in given_up} == {"d-0"}

    with_fleet(scenario)


def test_a_mass_failure_does_not_flood(with_fleet: Callable[..., None]) -> None:
    """Of 200 webhooks that go at once, 30 notices are sent; the next one says how many were not."""

    async def scenario(fleet: Fleet) -> None:
        for hook in range(200):
            fleet.attempt(hook, DeliveryStatus.PENDING, gone=True)
        assert len(await fleet.told(lambda told: len(told) >= 30)) == 30
        fleet.clock.at_ms += 10_000
        fleet.attempt(0, DeliveryStatus.DELIVERED)
        (*_, last) = await fleet.told(lambda told: len(told) == 31)
        assert last["event"] == "webhook.recovered"
        assert fleet.metrics.registry.get_sample_value(
            "reconciler_notices_total", {"notice": "webhook.gone", "outcome": "suppressed"}
        ) == pytest.approx(170)

    with_fleet(scenario, hooks=200)


def test_notices_wait_for_a_store_that_is_full_and_for_a_snapshot_that_moved(
    with_fleet: Callable[..., None],
) -> None:
    """What could not be stored is stored later, once; another process's apply in between changes nothing."""

    async def scenario(fleet: Fleet) -> None:
        fleet.store.is_full = True
        fleet.attempt(0, DeliveryStatus.PENDING, gone=True)
        await fleet.clock.wait(asyncio.Event(), 0)
        fleet.snapshot = replace(fleet.snapshot, serial=0)
        assert await fleet.told(lambda _: True) == []
        fleet.store.is_full = False
        (notice,) = await fleet.told()
        assert notice["event"] == "webhook.gone"
        assert fleet.snapshot.notify is not None
        assert fleet.woken == [fleet.snapshot.notify.id]
        assert "webhook.gone" in (await fleet.store.read_note(TOLD_NOTE) or "")

    with_fleet(scenario)


def test_what_is_still_to_be_told_is_stored_before_the_end(with_fleet: Callable[..., None]) -> None:
    """A graceful stop takes nothing with it: neither a notice just made nor a count that still grew."""
    kept: list[Fleet] = []

    async def scenario(fleet: Fleet) -> None:
        kept.append(fleet)
        for _ in range(3):
            fleet.attempt(0, DeliveryStatus.EXHAUSTED)

    with_fleet(scenario)
    told = asyncio.run(kept[0].told())
    assert [notice["exhausted"]["count"] for notice in told] == [1, 2]
