"""One world from one seed: `python -m simulation.simulate --help` runs thousands of them."""

from __future__ import annotations

import argparse
import asyncio
import sys
import traceback
from collections import Counter
from dataclasses import dataclass, replace
from random import Random  # noqa: TID251 - the one source of chance of a world, made from its seed
from typing import TYPE_CHECKING

import structlog
from simulation.fleet import World
from simulation.virtual import now_ms, pause, run

from reconciler.model.delivery import DeliveryFilter, DeliveryStatus, NewDelivery, NewEvent
from reconciler.model.hook import Retry
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from simulation.fleet import Worker

PAYLOAD = b'{"event":"conversation.started","timestamp":"2026-03-10T12:00:00.000Z","conversation":{"id":"%d"}}'
SCHEDULES_MS = ((200,), (1_000,), (1_000, 5_000), (5_000, 10_000, 20_000), (0,))
DRAIN_S = 4 * 3600.0
"""Within this time after the last trouble everything must have ended: breakers, schedules, leases and
`Retry-After` together ask for less."""
DRAIN_STEP_S = 5.0
LATER_S = 60.0
"""What was set going has happened by then."""
PRUNE_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How large a world is, and what happens in it; `gap_s` is between two happenings on average.

    With `trouble` workers die and stand still and the store is away at times; without it only receivers misbehave.
    """

    seconds: float = 40.0
    gap_s: float = 0.5
    hooks_max: int = 6
    workers_max: int = 4
    burst_max: int = 6
    schedules_ms: Sequence[tuple[int, ...]] = SCHEDULES_MS
    trouble: bool = True


SHORT = Profile()
CALM = Profile(trouble=False)
DAY = Profile(
    seconds=86_400.0,
    burst_max=12,
    gap_s=40.0,
    workers_max=2,
    schedules_ms=((30_000, 60_000, 120_000, 240_000, 480_000),),
)


class Simulation:
    """A world and what happens in it."""

    def __init__(self, seed: int, profile: Profile) -> None:
        self.chance = Random(seed)
        self.profile = profile
        chance = self.chance
        self.world = World(
            chance=chance,
            slots=chance.choice((4, 16, 64)),
            far=profile is not DAY and chance.random() < 0.7,
            outage=chance.choice((0.0, 0.0, 0.01, 0.05)) if profile.trouble else 0.0,
        )
        self.events = 0
        self.retiring: list[asyncio.Task[None]] = []
        troubles = ((4, self.kill), (2, self.retire), (6, self.stop_and_resume)) if profile.trouble else ()
        self.happenings: tuple[tuple[int, Callable[[], Awaitable[None]]], ...] = (
            *troubles,
            (24, self.post),
            (8, self.change_mood),
            (3, self.configure),
            (1, self.delete),
            (2, self.clear_gone),
            (3, self.redeliver),
            (3, self.prune),
        )

    async def play(self) -> Counter[str]:
        """Let things happen, then let everything come to its end; what was counted."""
        world, chance = self.world, self.chance
        for _ in range(chance.randint(1, self.profile.hooks_max)):
            await self.add_hook()
        for _ in range(chance.randint(1, self.profile.workers_max)):
            world.start()
        weights = [weight for weight, _ in self.happenings]
        end_ms = now_ms() + int(self.profile.seconds * 1000)
        while now_ms() < end_ms:
            await pause(chance.expovariate(1 / self.profile.gap_s))
            ((_, happening),) = chance.choices(self.happenings, weights)
            await happening()
            for worker in world.workers:
                world.check(worker)
        await self.drain()
        return world.ledger.counts

    async def drain(self) -> None:
        """No more trouble: everything ends within the time that the rules ask for, and the books are right."""
        world = self.world
        world.outage = 0.0
        await pause(LATER_S)
        while len(world.workers) > 1:
            await world.retire(world.workers.pop(), 1.0)
        await asyncio.gather(*self.retiring)
        for hook in tuple(world.hooks.values()):
            await world.clear_gone(hook.id)
            world.receivers[hook.id].mood = "well"
            world.change_hook(replace(hook, enabled=True))
        deadline_ms = now_ms() + int(DRAIN_S * 1000)
        while any(row.status.is_live for row in world.contents.deliveries.values()):
            assert now_ms() < deadline_ms, f"not ended: {await world.store.ready()}"
            await pause(DRAIN_STEP_S)
            await self.prune()
            await self.clear_gone()
            world.check(world.workers[0])
        await pause(1.0)
        (worker,) = world.workers
        assert worker.dispatcher.status()["in_flight"] == 0
        world.workers.clear()
        await world.retire(worker, 1.0)
        took: dict[str, int] = {}
        for receiver in world.receivers.values():
            took |= receiver.took
        world.ledger.close(took)

    # -- happenings ------------------------------------------------------------------------------------------

    async def add_hook(self) -> None:
        """A new hook, which may stand in the way of others."""
        chance = self.chance
        await self.world.add_hook(
            timeout_ms=chance.choice((500, 2_000, 10_000, 30_000)),
            concurrency=chance.choice((1, 2, 8, 32)),
            retry=Retry(
                attempts=chance.randint(1, 5),
                schedule_ms=chance.choice(self.profile.schedules_ms),
                jitter=chance.choice((0.0, 0.1, 0.5)),
            ),
        )

    async def post(self) -> None:
        """Events come, each for some of the hooks; sometimes nobody is told."""
        world, chance = self.world, self.chance
        if not world.hooks:
            return
        for _ in range(chance.randint(1, self.profile.burst_max)):
            self.events += 1
            picked = chance.sample(tuple(world.hooks), chance.randint(1, min(3, len(world.hooks))))
            event = NewEvent(
                id=f"event-{self.events}",
                type="conversation.started",
                payload=PAYLOAD % self.events,
                received_ms=now_ms(),
                deliveries=tuple(NewDelivery(world.mint.new_id(0), hook_id) for hook_id in picked),
            )
            await self._accept(event)

    async def _accept(self, event: NewEvent) -> None:
        """By nobody in particular, or by a worker that takes what it has room for.

        In troubled times it finds the disk full, or dies of it.
        """
        world, chance = self.world, self.chance
        hook_ids = [delivery.hook_id for delivery in event.deliveries]
        able = [worker for worker in world.workers if worker.process.is_running]
        worker = chance.choice(able) if able and chance.random() < 0.5 else None
        taking = worker.dispatcher.reserve(hook_ids) if worker is not None else None
        troubled = self.profile.trouble
        if worker is not None and taking is not None and troubled and chance.random() < 0.05:
            worker.dispatcher.take(taking, ())
            return
        _, serial = await world.store.read_serial()
        (answer,) = await world.store.accept([event], serial=serial, taking=taking)
        world.ledger.accepted(event)
        if worker is not None and taking is not None:
            assert Counter(claim.hook_id for claim in answer.claims) <= Counter(taking.rooms)
            world.ledger.claimed(answer.claims, taking.lease_until_ms)
            world.ledger.counts["taken"] += len(answer.claims)
            if troubled and chance.random() < 0.01:
                await world.kill(worker)
                self._replace()
            else:
                worker.dispatcher.take(taking, answer.claims)
        if chance.random() < 0.9:
            world.wake(hook_ids)

    async def change_mood(self) -> None:
        """A receiver falls ill or recovers."""
        self.chance.choice(tuple(self.world.receivers.values())).change_mood()

    async def kill(self) -> None:
        """A worker dies; another comes, sooner or later."""
        await self.world.kill(self._worker())
        self._replace()

    async def retire(self) -> None:
        """A worker is stopped gently; another comes."""
        worker = self._worker()
        worker.process.resume()
        self.world.workers.remove(worker)
        self.retiring.append(asyncio.create_task(self.world.retire(worker, self.chance.choice((0.0, 1.0, 15.0)))))
        self._replace()

    async def stop_and_resume(self) -> None:
        """A worker stands still, for longer than its leases at times, and goes on as if nothing had been."""
        worker = self._worker()
        worker.process.stop()
        self.later(self.chance.choice((0.1, 2.0, 30.0, 60.0)), worker.process.resume)

    async def configure(self) -> None:
        """A hook is changed: disabled, enabled, moved, or given another concurrency."""
        if not self.world.hooks:
            return
        chance = self.chance
        hook = chance.choice(tuple(self.world.hooks.values()))
        change = chance.choice(
            (
                {"enabled": not hook.enabled},
                {"url": Template.parse(f"https://{hook.id}.example/{self.events}")},
                {"concurrency": chance.choice((1, 2, 8, 32))},
            )
        )
        self.world.change_hook(replace(hook, **change))

    async def delete(self) -> None:
        """A hook goes for good, a new one comes."""
        if self.world.hooks:
            await self.world.delete_hook(self.chance.choice(tuple(self.world.hooks.values())))
        await self.add_hook()

    async def clear_gone(self) -> None:
        """Hooks that answered 410 are given another chance."""
        for hook_id in await self.world.store.gone():
            await self.world.clear_gone(hook_id)
        self.world.wake()

    async def redeliver(self) -> None:
        """Somebody asks for what was given up, or for more than that."""
        statuses = self.chance.choice(
            ((DeliveryStatus.EXHAUSTED,), (DeliveryStatus.REFUSED, DeliveryStatus.DELIVERED))
        )
        which = DeliveryFilter(statuses=frozenset(statuses))
        again = await self.world.store.redeliver(which, now_ms=now_ms(), limit=self.chance.randint(1, 20))
        for delivery_id, _ in again:
            self.world.ledger.redelivered(delivery_id)
        self.world.wake([hook_id for _, hook_id in again], retries=True)

    async def prune(self) -> None:
        """Retention removes what ended some time ago."""
        await self.world.store.prune(
            ended_before_ms=now_ms() - PRUNE_AFTER_MS,
            parked=frozenset(),
            parked_before_ms=0,
            keep=self.chance.choice((10, 10_000)),
            limit=1_000,
            now_ms=now_ms(),
        )
        self.world.ledger.pruned()

    def _worker(self) -> Worker:
        return self.chance.choice(self.world.workers)

    def _replace(self) -> None:
        if not self.world.workers:
            self.world.start()
        elif self.chance.random() < 0.8:
            self.later(self.chance.choice((0.0, 0.5, 5.0)), self.world.start)

    def later(self, seconds: float, happening: Callable[[], None]) -> None:
        """Have something happen by itself."""
        asyncio.get_running_loop().call_later(seconds, happening)


def simulate(seed: int, profile: Profile = SHORT) -> Counter[str]:
    """Play the world of this seed; what happened in it, counted. Raises where a law was broken."""

    async def play() -> Counter[str]:
        simulation = Simulation(seed, profile)
        try:
            return await simulation.play()
        finally:
            await simulation.world.abandon()
            await asyncio.gather(*simulation.retiring, return_exceptions=True)

    try:
        counts: Counter[str] = run(play())
    except BaseException as broken:
        broken.add_note(f"seed {seed}: PYTHONPATH=tests python -m simulation.simulate --first {seed} --seeds 1")
        raise
    return counts


def main() -> int:
    """Play many seeds and say which of them broke a law."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--day", action="store_true", help="24 hours each, with few and long retries")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    total: Counter[str] | None = None
    failed = 0
    for seed in range(options.first, options.first + options.seeds):
        try:
            counts = simulate(seed, DAY if options.day else SHORT)
        except BaseException:  # noqa: BLE001 - whatever it is, it is this seed's finding
            failed += 1
            sys.stdout.write(f"{traceback.format_exc()}\n")
            continue
        total = counts if total is None else total + counts
    sys.stdout.write(f"{options.seeds} seeds, {failed} failed; {dict(total or {})}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
