"""Workers that can be killed, stopped in their tracks and cut off from the store, and the world they work in."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from simulation.ledger import Ledger
from simulation.network import Receiver, asked_ms
from simulation.virtual import now_ms, pause

from reconciler.delivery.dispatcher import Dispatcher
from reconciler.errors import EgressRefused, SendFailed, StoreUnavailable
from reconciler.model.hook import EventType, OutgoingHook, Retry, SigningSecrets
from reconciler.model.resource import Key, Kind, Resource
from reconciler.model.snapshot import Snapshot
from reconciler.model.template import Template
from reconciler.store.memory import Contents, MemoryStore
from reconciler.store.port import Commit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random  # noqa: TID251 - made from the world's seed

    from reconciler.model.exchange import Reply, Request
    from reconciler.model.resource import State

SECRET = "whsec_" + "A" * 43 + "="


class Mint:
    """Ids in order; jitter from the seed."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance
        self._count = 0

    def new_id(self, _: int) -> str:
        self._count += 1
        return f"00000000-0000-7000-8000-{self._count:012x}"

    def jitter(self) -> float:
        return self._chance.random()


class Process:
    """What makes a worker's code run: nothing of it goes on while the process is stopped."""

    def __init__(self) -> None:
        self._running = asyncio.Event()
        self._running.set()
        self.calm_ms = 0

    async def passage(self) -> None:
        """Go on when the process does."""
        while not self._running.is_set():
            await self._running.wait()

    @property
    def is_running(self) -> bool:
        """Whether it is not stopped."""
        return self._running.is_set()

    def stop(self) -> None:
        """As by SIGSTOP."""
        self._running.clear()

    def resume(self) -> None:
        """As by SIGCONT."""
        self._running.set()
        self.calm_ms = now_ms()

    def disturbed(self) -> None:
        """Something did not work as it should: what this process knows may be old."""
        self.calm_ms = now_ms()


class WorkersClock:
    """The world's time as a process sees it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def now_ms(self) -> int:
        return now_ms()

    def wall_s(self) -> int:
        return now_ms() // 1000

    def monotonic_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await event.wait()
        except TimeoutError:
            pass
        await self._process.passage()
        return event.is_set()


class WorkersStore:
    """The shared store from a process: far away, now and then unreachable, and every verb in the books."""

    def __init__(self, world: World, process: Process) -> None:
        self._world = world
        self._process = process

    async def _reach(self) -> None:
        world = self._world
        if world.far:
            await pause(world.chance.choice((0.0, 0.0, 0.001, 0.02, 0.3)))
        await self._process.passage()
        if world.chance.random() < world.outage:
            self._process.disturbed()
            raise StoreUnavailable("disk full")

    async def _return(self) -> None:
        if self._world.far:
            await pause(self._world.chance.choice((0.0, 0.0, 0.001, 0.05)))
        await self._process.passage()

    async def gone(self) -> dict[str, int]:
        await self._reach()
        found = await self._world.store.gone()
        await self._return()
        return found

    async def ready(self) -> Any:
        await self._reach()
        found = await self._world.store.ready()
        await self._return()
        return found

    async def claim(self, demands: Any, *, limit: int, owner: str, now_ms: int, lease_ms: int) -> Any:
        await self._reach()
        claims = await self._world.store.claim(demands, limit=limit, owner=owner, now_ms=now_ms, lease_ms=lease_ms)
        assert len(claims) <= limit, f"{demands}, {limit}, {claims}"
        self._world.ledger.claimed(claims, now_ms + lease_ms)
        await self._return()
        return claims

    async def settle(self, settlements: Any, *, now_ms: int) -> list[bool]:
        await self._reach()
        ledger = self._world.ledger
        before = ledger.looks_like([settlement.delivery_id for settlement in settlements])
        kept: list[bool] = await self._world.store.settle(settlements, now_ms=now_ms)
        ledger.settled(settlements, kept, before, self._world.hooks)
        await self._return()
        return kept

    async def release(self, claims: Any, *, owner: str, due_ms: int) -> None:
        await self._reach()
        await self._world.store.release(claims, owner=owner, due_ms=due_ms)
        self._world.ledger.released(claims, owner)
        await self._return()


class WorkersSender:
    """The network from a process. An answer waits for a process that is stopped."""

    def __init__(self, world: World, process: Process, owner: str) -> None:
        self._world = world
        self._process = process
        self._owner = owner

    async def send(self, request: Request) -> Reply:
        world = self._world
        hook = world.hooks_by_host[request.url.split("/")[2]]
        try:
            sending = world.ledger.sending(self._owner, hook, request, calm_ms=self._process.calm_ms)
        except Exception as broken:
            world.broken.append(broken)  # an attempt takes it for one more way to fail
            raise
        cut_off = True
        try:
            await self._process.passage()
            reply, error = None, None
            try:
                reply = await world.receivers[hook.id].answer(request, sending.delivery_id)
            except (SendFailed, EgressRefused) as failure:
                error = failure
            await self._process.passage()
            cut_off = False
        finally:
            world.ledger.over(sending, cut_off=cut_off)
        code = "egress" if isinstance(error, EgressRefused) else None
        world.ledger.answered(sending, reply, code, asked_ms(reply) if reply is not None else None)
        if error is not None:
            raise error
        assert reply is not None
        return reply


@dataclass
class Worker:
    """A dispatcher in a process of its own."""

    owner: str
    process: Process
    dispatcher: Dispatcher
    task: asyncio.Task[None]


@dataclass
class World:
    """Everything there is: a store, receivers, hooks, workers. `outage` is how often the store cannot be used."""

    chance: Random
    slots: int = 64
    far: bool = True
    outage: float = 0.0
    contents: Contents = field(default_factory=Contents)
    hooks: dict[str, OutgoingHook] = field(default_factory=dict)
    hooks_by_host: dict[str, OutgoingHook] = field(default_factory=dict)
    receivers: dict[str, Receiver] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    started: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)
    broken: list[Exception] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.contents)
        self.ledger = Ledger(self.contents)
        self.mint = Mint(self.chance)
        self.snapshot = Snapshot(generation=0, lineage=None, serial=0)

    # -- workers ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start a worker with a name of its own."""
        self.started += 1
        owner, process = f"worker-{self.started}", Process()
        store: Any = WorkersStore(self, process)
        mint: Any = self.mint
        dispatcher = Dispatcher(
            store=store,
            sender=WorkersSender(self, process, owner),
            snapshot=lambda: self.snapshot,
            clock=WorkersClock(process),
            mint=mint,
            owner=owner,
            slots=self.slots,
        )
        process.disturbed()
        task = asyncio.create_task(dispatcher.run(), name=owner)
        self.workers.append(Worker(owner, process, dispatcher, task))
        self.tasks.append(task)

    async def kill(self, worker: Worker) -> None:
        """As by SIGKILL: what it held is held until its leases end."""
        self.workers.remove(worker)
        worker.task.cancel()
        worker.process.resume()
        (ended,) = await asyncio.gather(worker.task, return_exceptions=True)
        assert isinstance(ended, asyncio.CancelledError), ended
        self.check(worker)

    async def retire(self, worker: Worker, grace_s: float) -> None:
        """Stop it as an operator would; it is no longer one of `workers`."""
        await worker.dispatcher.stop(grace_s)
        await worker.task
        self.check(worker)

    async def abandon(self) -> None:
        """Leave no task behind, and none whose error nobody has heard: it would be told of in another test."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def check(self, worker: Worker) -> None:
        """Nothing went wrong inside."""
        for broken in self.broken:
            raise broken
        status = worker.dispatcher.status()
        assert status["faults"] == 0, f"{worker.owner} met errors of its own: {worker.dispatcher._faults}"
        assert 0 <= status["in_flight"] <= status["slots"] == 2 * self.slots
        if worker.task.done() and not worker.task.cancelled():
            worker.task.result()

    def wake(self, hook_ids: Sequence[str] | None = None, *, retries: bool = False) -> None:
        """Tell every worker that is not stopped."""
        for worker in self.workers:
            worker.dispatcher.wake(hook_ids, retries=retries)

    # -- configuration ---------------------------------------------------------------------------------------

    async def add_hook(self, **changes: Any) -> OutgoingHook:
        """Make a hook with a receiver."""
        hook_id = f"hook-{len(self.receivers)}"
        hook = OutgoingHook(
            id=hook_id,
            address=f"bot/{hook_id}",
            type=EventType.CONVERSATION_STARTED,
            enabled=True,
            bot="bot",
            data_source=None,
            url=Template.parse(f"https://{hook_id}.example/"),
            timeout_ms=10_000,
            retry=Retry(attempts=5, schedule_ms=(1_000,), jitter=0.1),
            concurrency=8,
            secret_header=True,
            standard_webhooks=True,
            custom=None,
            secrets=SigningSecrets(current=SECRET),
            scrub=(SECRET,),
        )
        self.receivers[hook_id] = Receiver(chance=self.chance)
        await self.commit(upserts=(Resource(key=Key(Kind.WEBHOOK, hook.address), spec={}, id=hook_id),))
        return self.change_hook(replace(hook, **changes))

    def change_hook(self, hook: OutgoingHook) -> OutgoingHook:
        """Swap the snapshot for one with this hook in it."""
        before = self.hooks.get(hook.id)
        taken_up = before is not None and hook.enabled and not before.enabled
        moved = before is not None and hook.url != before.url
        self.hooks[hook.id] = hook
        self.hooks_by_host[f"{hook.id}.example"] = hook
        self._swap()
        self.ledger.configured(hook, renewed=taken_up or moved)
        return hook

    async def delete_hook(self, hook: OutgoingHook) -> None:
        """Delete it for good."""
        await self.commit(deletes=(Key(Kind.WEBHOOK, hook.address),), cancel_hooks=frozenset({hook.id}))
        del self.hooks[hook.id]
        self.ledger.deleted(hook.id)
        self._swap()

    async def commit(self, **change: Any) -> None:
        """Change the store's state."""
        lineage, serial = await self.store.read_serial()
        made = Commit(expected_lineage=lineage, expected_serial=serial, lineage="lineage", salt=b"salt", **change)
        await self.store.commit(made, now_ms=now_ms(), verify=_agree)

    async def clear_gone(self, hook_id: str) -> None:
        """Somebody has tested the hook, and the receiver answered well."""
        await self.store.clear_gone(hook_id)

    def _swap(self) -> None:
        self.snapshot = Snapshot(
            generation=self.snapshot.generation + 1, lineage=None, serial=0, outgoing=dict(self.hooks)
        )
        self.wake()


def _agree(_: State) -> None:
    return
