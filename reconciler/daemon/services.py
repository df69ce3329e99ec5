"""The daemon as its HTTP doors see it: each method joins the parts that answer it."""

from __future__ import annotations

import asyncio
from shlex import join
from typing import TYPE_CHECKING, Any

from reconciler import config
from reconciler.control.reconcile import Allowance, plan_against
from reconciler.control.rotate import rotate
from reconciler.daemon.live import Outcome
from reconciler.delivery.trial import send_test
from reconciler.errors import StoreUnavailable, UnknownAddress, UsageError
from reconciler.model.hook import OutgoingHook
from reconciler.plan.guards import flags_of
from reconciler.plan.render_json import plan_value
from reconciler.web.services import Files, Reloaded, Rotated, Services
from reconciler.web.times import iso
from reconciler.web.waiting import oldest_due_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.daemon.live import Following, Live
    from reconciler.delivery.dispatcher import Dispatcher
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.breaker import Tripped
    from reconciler.model.exchange import Sender
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.trial import Trial
    from reconciler.plan.plan import Plan
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring
    from reconciler.sync.runner import SyncRunner

__all__ = ["DaemonServices"]

_WAITING_CHANGES_MAX = 100
"""Changes that the status lists while they wait for approval; all of them stand in the summary."""


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

    async def refresh(self) -> None:
        await self._live.follow_store()

    def measure(self) -> None:
        self._measure()

    def deliveries_waiting(self, hook_ids: Collection[str]) -> None:
        self._dispatcher.wake(hook_ids)

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
        snapshot = self._live.snapshot
        stats = await self._store.stats()
        now_ms = self._clock.now_ms()
        due_ms = oldest_due_ms(await self._store.ready(), snapshot, self._live.gone)
        problem = self._live.store_problem
        return {
            "generation": snapshot.generation,
            "lineage": snapshot.lineage,
            "serial": snapshot.serial,
            "queue": {
                **{status.value: count for status, count in sorted(stats.by_status.items())},
                "oldest_waiting_ms": 0 if due_ms is None else max(0, now_ms - due_ms),
            },
            "workers": self._dispatcher.status(),
            "syncs": {"waiting": stats.syncs_waiting, "running": stats.syncs_running},
            "hooks": {
                "outgoing": len(snapshot.outgoing),
                "triggers": len(snapshot.triggers),
                "gone": stats.gone,
            },
            "files": _following(self._live.following),
            "waiting_for_approval": _waiting(self._live.following, self._live.files),
            "problem": None if problem is None else problem.message,
            "store": dict(stats.engine),
        }

    async def readiness(self) -> tuple[str, ...]:
        reasons = []
        if self._live.snapshot.serial < 0:
            reasons.append("no configuration is loaded yet")
        try:
            await self._store.read_serial()
        except StoreUnavailable:
            reasons.append("the store does not answer")
        return tuple(reasons)

    def _hook(self, address: str) -> object:
        hook = self._live.snapshot.addresses.get(address)
        if hook is None:
            raise UnknownAddress(f"no webhook {address}; `reconcile hooks` lists them")
        return hook


def _following(following: Following) -> dict[str, Any]:
    return {
        "outcome": following.outcome.value,
        "at": iso(following.at_ms),
        "message": following.message,
        "problems": [
            {
                "file": problem.place.file,
                "line": problem.place.line,
                "column": problem.place.column,
                "severity": problem.severity.value,
                "code": problem.code,
                "message": problem.message,
            }
            for problem in following.problems
        ],
    }


def _waiting(following: Following, files: Sequence[str]) -> dict[str, Any] | None:
    """What somebody must decide on before the files take effect, and the command that approves it."""
    if following.outcome is not Outcome.WAITING or following.plan is None:
        return None
    plan = plan_value(following.plan)
    named = [word for path in files for word in ("-f", path)]
    return {
        **{key: plan[key] for key in ("summary", "guards", "config_digest")},
        "changes": [
            {"action": change.action.value, "kind": change.kind.value, "address": change.address}
            for change in following.plan.changes[:_WAITING_CHANGES_MAX]
        ],
        "command": " ".join((join(["reconcile", *named]), *flags_of(following.plan.guards))),
    }
