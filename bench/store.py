"""The store alone: events accepted one by one, claimed, settled; what a delivery costs.

`python bench/store.py [--events 40000] [--together 256] [--hooks 4] [--rate 0]`

`--together` callers accept one event at a time, as HTTP requests do; one dispatcher claims what is due and settles
each delivery by itself, with a reply that takes no time. CPU is of the whole process: callers, store and SQLite.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import shutil
import tempfile
import time
from pathlib import Path

import uvloop

from reconciler.mint import SystemMint
from reconciler.model.delivery import Attempt, Claim, DeliveryStatus, NewDelivery, NewEvent, Settlement
from reconciler.store.connect import open_store
from reconciler.store.port import Access, Demand, Store

PAYLOAD = b'{"event":"conversation.started","text":"' + b"x" * 960 + b'"}'
HEADERS = '{"content-type":"application/json","content-length":"2","server":"sink"}'


class Load:
    """Callers and a dispatcher on one store, until every event is settled."""

    def __init__(self, store: Store, arguments: argparse.Namespace) -> None:
        self.store = store
        self.arguments = arguments
        self.mint = SystemMint()
        self.hooks = [self.mint.hook_id() for _ in range(arguments.hooks)]
        self.left = arguments.events
        self.waiting = 0
        self.settled = 0
        self.next_s = 0.0
        self.woken = asyncio.Event()
        self.accept_s: list[float] = []
        self.claim_s: list[float] = []
        self.accepted_s: dict[str, float] = {}
        self.settlements: list[tuple[Settlement, asyncio.Future[None]]] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def caller(self) -> None:
        """Post events one after another."""
        while self.left > 0:
            self.left -= 1
            await self.turn()
            now = time.time_ns() // 1_000_000  # noqa: TID251 - a bench reads the clock
            hook = self.hooks[self.left % len(self.hooks)]
            event = NewEvent(
                id=self.mint.new_id(now),
                type="conversation.started",
                payload=PAYLOAD,
                received_ms=now,
                deliveries=(NewDelivery(self.mint.new_id(now), hook),),
            )
            started = time.perf_counter()
            await self.store.accept([event], serial=0)
            ended = time.perf_counter()
            self.accept_s.append(ended - started)
            self.accepted_s[event.deliveries[0].id] = ended
            self.waiting += 1
            self.woken.set()

    async def turn(self) -> None:
        """Wait until the next event may be posted, at `--rate` a second."""
        if not self.arguments.rate:
            return
        self.next_s = max(self.next_s + 1 / self.arguments.rate, time.perf_counter() - 0.01)
        delay = self.next_s - time.perf_counter()
        if delay > 0:
            await asyncio.sleep(delay)  # noqa: TID251 - a bench waits on the clock

    async def dispatcher(self) -> None:
        """Claim what waits and settle each delivery in a task of its own."""
        owner = self.mint.new_id(0)
        demands = [Demand(hook, 64, 8) for hook in self.hooks]
        while self.settled < self.arguments.events:
            await self.woken.wait()
            self.woken.clear()
            now = time.time_ns() // 1_000_000  # noqa: TID251
            claims = await self.store.claim(demands, limit=512, owner=owner, now_ms=now, lease_ms=30_000)
            claimed = time.perf_counter()
            for claim in claims:
                self.claim_s.append(claimed - self.accepted_s.pop(claim.delivery_id, claimed))
                task = asyncio.ensure_future(self.settle(claim, now))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)
            if claims:
                self.woken.set()
            await asyncio.sleep(0)  # noqa: TID251
        await asyncio.gather(*self.tasks)

    async def settle(self, claim: Claim, now: int) -> None:
        """Record a 200."""
        attempt = Attempt(
            number=claim.attempt,
            round=claim.round,
            started_ms=now,
            duration_ms=2,
            status=200,
            headers=HEADERS,
            body=b"ok",
        )
        settlement = Settlement(
            delivery_id=claim.delivery_id, fence=claim.fence, status=DeliveryStatus.DELIVERED, attempt=attempt
        )
        assert await self.store.settle([settlement], now_ms=now) == [True]
        self.settled += 1
        if self.settled == self.arguments.events:
            self.woken.set()

    async def run(self) -> None:
        """Everything at once."""
        await asyncio.gather(self.dispatcher(), *(self.caller() for _ in range(self.arguments.together)))


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def measure(arguments: argparse.Namespace, folder: Path) -> None:
    """Run the load and print what it came to."""
    async with await open_store(f"sqlite:{folder / 'bench.db'}", Access.DAEMON) as store:
        load = Load(store, arguments)
        before = (await store.stats()).engine
        started, cpu, loop_cpu = time.perf_counter(), cpu_s(), time.thread_time()
        await load.run()
        wall, cpu, loop_cpu = time.perf_counter() - started, cpu_s() - cpu, time.thread_time() - loop_cpu
        after = (await store.stats()).engine
    count = arguments.events
    commits, statements = (int(after[name]) - int(before[name]) for name in ("commits", "statements"))
    latency = sorted(load.accept_s)
    print(f"deliveries/s            {count / wall:12,.0f}")
    print(f"CPU µs per delivery     {cpu / count * 1e6:12.1f}")
    print(f"  of the event loop     {loop_cpu / count * 1e6:12.1f}   (callers, tasks and futures)")
    print(f"  of the writer         {(cpu - loop_cpu) / count * 1e6:12.1f}   (statements, SQLite, fsync)")
    print(f"commits per delivery    {commits / count:12.4f}")
    print(f"statements per delivery {statements / count:12.4f}")
    waits = sorted(load.claim_s)
    for name, values in (("accept", latency), ("claim after accept", waits)):
        print(f"{name:18} p50, p99 ms {values[count // 2] * 1e3:6.2f} {values[count * 99 // 100] * 1e3:8.2f}")


def main() -> None:
    """Parse, measure, clean up."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--together", type=int, default=256)
    parser.add_argument("--hooks", type=int, default=4)
    parser.add_argument("--rate", type=int, default=0, help="events a second; 0: as fast as it goes")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-store-"))
    try:
        uvloop.run(measure(arguments, folder))
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
