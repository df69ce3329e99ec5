"""The daemon as its HTTP doors see it: each method joins the parts that answer it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler import config
from reconciler.control.reconcile import Allowance, plan_against
from reconciler.control.rotate import rotate
from reconciler.daemon.status import StatusDocument
from reconciler.daemon.usable import StoreCheck
from reconciler.delivery.trial import send_test
from reconciler.errors import UnknownAddress, UsageError
from reconciler.model.hook import OutgoingHook
from reconciler.web.services import Files, Reloaded, Rotated, Services

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.daemon.live import Live
    from reconciler.delivery.dispatcher import Dispatcher
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.breaker import Tripped
    from reconciler.model.delivery import Claim, Taking
    from reconciler.model.exchange import Sender
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.trial import Trial
    from reconciler.plan.plan import Plan
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring
    from reconciler.sync.runner import SyncRunner

__all__ = ["DaemonServices"]


class DaemonServices(Services):
    """What the web floor needs, wired to the running parts."""

    def __init__(
        self,
        *,
        live: Live,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        mint: Mint,
        metrics: Metrics,
        tokens: Mapping[str, str],
        sender: Sender,
        dispatcher: Dispatcher,
        syncs: SyncRunner,
        measure: Callable[[], None],
    ) -> None:
        self._live = live
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._mint = mint
        self._metrics = metrics
        self._tokens = tokens
        self._sender = sender
        self._dispatcher = dispatcher
        self._syncs = syncs
        self._measure = measure
        self._store_check = StoreCheck(store, clock)
        self._status = StatusDocument(
            live=live, store=store, store_check=self._store_check, dispatcher=dispatcher, clock=clock
        )

    @property
    def snapshot(self) -> Snapshot:
        return self._live.snapshot

    @property
    def gone(self) -> Collection[str]:
        return self._live.gone

    @property
    def store(self) -> Store:
        return self._store

    @property
    def clock(self) -> Clock:
        return self._clock

    @property
    def mint(self) -> Mint:
        return self._mint

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    @property
    def tokens(self) -> Mapping[str, str]:
        return self._tokens

    @property
    def breakers(self) -> Mapping[str, Tripped]:
        return self._dispatcher.breakers()

    @property
    def pauses(self) -> Mapping[str, int]:
        return self._dispatcher.pauses()

    async def refresh(self) -> None:
        await self._live.follow_store()

    def measure(self) -> None:
        self._measure()

    def reserve_deliveries(self, hook_ids: Iterable[str]) -> Taking | None:
        return self._dispatcher.reserve(hook_ids)

    def take_deliveries(self, taking: Taking, claims: Sequence[Claim]) -> None:
        self._dispatcher.take(taking, claims)

    def deliveries_waiting(self, hook_ids: Collection[str], *, retries: bool = False) -> None:
        self._dispatcher.wake(hook_ids, retries=retries)

    def syncs_waiting(self) -> None:
        self._syncs.wake()

    async def test(self, address: str, payload: Mapping[str, Any] | None) -> Trial:
        hook = self._hook(address)
        if not isinstance(hook, OutgoingHook):
            raise UsageError(f"{address} is a trigger: call its URL to test it (`reconcile test {address}` does)")
        snapshot = self._live.snapshot
        trial = await send_test(
            hook, snapshot=snapshot, sender=self._sender, clock=self._clock, mint=self._mint, payload=payload
        )
        if trial.is_success:
            self._dispatcher.renew(hook.id)
        if trial.is_success and await self._store.clear_gone(hook.id):
            await self._live.follow_store()  # events that are posted from here on reach it again
            self._dispatcher.wake([hook.id])
        return trial

    async def rotate(self, address: str) -> Rotated:
        rotated = await rotate(
            self._store, address, keyring=self._keyring, mint=self._mint, now_ms=self._clock.now_ms()
        )
        await self._live.follow_store()
        return Rotated(
            address=address,
            fingerprint=rotated.fingerprint,
            serial=rotated.serial,
            previous_until_ms=rotated.previous_until_ms,
        )

    async def plan(self, files: Files) -> Plan:
        desired = await asyncio.to_thread(config.load_texts, files.texts, files.base_dir)
        return await plan_against(
            self._store, desired, now_ms=self._clock.now_ms(), commit=files.commit, breakers=self.breakers
        )

    async def apply(self, files: Files, *, allow_delete: frozenset[str], allow_delete_all: bool) -> tuple[Plan, int]:
        desired = await asyncio.to_thread(config.load_texts, files.texts, files.base_dir)
        return await self._live.apply(desired, Allowance(addresses=allow_delete, all=allow_delete_all))

    async def reload(self) -> Reloaded:
        following = await self._live.reload()
        return Reloaded(
            is_good=following.is_good,
            outcome=following.outcome,
            message=following.message,
            generation=self._live.snapshot.generation,
            serial=self._live.snapshot.serial,
            problems=following.problems,
            plan=following.plan,
        )

    async def status(self) -> Mapping[str, Any]:
        return await self._status.read()

    async def readiness(self) -> tuple[str, ...]:
        reasons = []
        if self._live.snapshot.serial < 0:
            reasons.append("no configuration is loaded yet")
        trouble = await self.store_trouble()
        if trouble is not None:
            reasons.append(trouble)
        return tuple(reasons)

    async def store_trouble(self) -> str | None:
        return await self._store_check.trouble()

    def _hook(self, address: str) -> object:
        hook = self._live.snapshot.addresses.get(address)
        if hook is None:
            raise UnknownAddress(f"no webhook {address}; `reconcile hooks` lists them")
        return hook
