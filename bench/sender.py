"""Where the time of a delivery goes, layer by layer, without HTTP in and without a disk.

A bare aiohttp loop that signs and posts; the sender alone; prepare and send; the whole dispatcher over a queue in
memory. One process each time, the same body, the same sink: `python bench/sender.py [DELIVERIES] [--profile LAYER]`.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import pstats
import time
from collections import deque
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import aiohttp
import structlog
import uvloop
from limit_send import DELIVERY_ID, SECRET, signed
from wire import event, start

from reconciler.clock import SystemClock
from reconciler.delivery.dispatcher import Dispatcher
from reconciler.delivery.egress import EgressGuard
from reconciler.delivery.prepare import prepare
from reconciler.delivery.sender import HttpSender
from reconciler.metrics import Metrics
from reconciler.mint import SystemMint
from reconciler.model.delivery import Claim, Fence
from reconciler.model.exchange import Request
from reconciler.model.hook import EventType, OutgoingHook, Retry, SigningSecrets
from reconciler.model.snapshot import Snapshot
from reconciler.model.template import Template
from reconciler.store.port import HookReadiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from reconciler.model.delivery import Settlement
    from reconciler.store.port import Demand

IN_FLIGHT = 64
HOOKS = 8
KIND = "conversation.started"


def payload(number: int) -> bytes:
    """An event as the store keeps it."""
    head, tail = event(0)
    return head + b"%08d" % number + tail


def hook(number: int, url: str) -> OutgoingHook:
    """A hook with every default, as eight of which get all the deliveries."""
    return OutgoingHook(
        id=f"hook-{number}",
        address=f"bot/hook-{number}",
        type=EventType.CONVERSATION_STARTED,
        enabled=True,
        bot="bot",
        data_source=None,
        url=Template.parse(f"{url}/{number}"),
        timeout_ms=10_000,
        retry=Retry(attempts=5, schedule_ms=(30_000,), jitter=0.1),
        concurrency=IN_FLIGHT // HOOKS,
        secret_header=True,
        standard_webhooks=True,
        custom=None,
        secrets=SigningSecrets(current=SECRET),
        scrub=(SECRET,),
    )


class Queue:
    """As much of a store as the dispatcher's path needs, at no cost worth measuring."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.waiting: dict[str, deque[int]] = {f"hook-{number}": deque() for number in range(HOOKS)}
        for number in range(count):
            self.waiting[f"hook-{number % HOOKS}"].append(number)
        self.done = asyncio.Event()
        self.calls = {"claim": 0, "settle": 0}

    async def ready(self) -> list[HookReadiness]:
        """Who has work."""
        return [HookReadiness(hook_id, 0, None) for hook_id, numbers in self.waiting.items() if numbers]

    async def gone(self) -> dict[str, int]:
        """Nobody."""
        return {}

    async def claim(self, demands: Sequence[Demand], *, limit: int, owner: str, **_: Any) -> list[Claim]:
        """What was asked for."""
        self.calls["claim"] += 1
        claims = []
        for demand in demands:
            numbers = self.waiting[demand.hook_id]
            for _ in range(min(demand.first, len(numbers), limit - len(claims))):
                number = numbers.popleft()
                claims.append(
                    Claim(
                        delivery_id=f"{DELIVERY_ID[:-8]}{number:08d}",
                        hook_id=demand.hook_id,
                        event_id=str(number),
                        event_type=KIND,
                        payload=payload(number),
                        attempt=1,
                        round=1,
                        created_ms=0,
                        fence=Fence(1, owner),
                    )
                )
        return claims

    async def settle(self, settlements: Sequence[Settlement], **_: Any) -> list[bool]:
        """Count."""
        self.calls["settle"] += 1
        assert all(settlement.status == "delivered" for settlement in settlements)
        self.left -= len(settlements)
        if not self.left:
            self.done.set()
        return [True] * len(settlements)

    async def release(self, *_: Any, **__: Any) -> None:
        """Nothing is released here."""


async def many(count: int, one: Callable[[int], Awaitable[Any]]) -> None:
    """Do it so many times, IN_FLIGHT at a time."""
    numbers = iter(range(count))

    async def on() -> None:
        for number in numbers:
            await one(number)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(on())


def loopback() -> HttpSender:
    """The sender, allowed to reach the sink."""
    return HttpSender(EgressGuard([ip_network("127.0.0.0/8")]))


async def bare(url: str, count: int) -> None:
    """The limit: aiohttp's session, signing and posting."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as session:

        async def one(number: int) -> None:
            body = payload(number)
            async with session.post(url, data=body, headers=signed(body), allow_redirects=False) as answer:
                await answer.read()

        await many(count, one)


async def sending(url: str, count: int) -> None:
    """The sender alone, with the same headers."""
    async with loopback() as sender:

        async def one(number: int) -> None:
            body = payload(number)
            headers = tuple(signed(body).items())
            await sender.send(Request(method="POST", url=url, headers=headers, body=body, timeout_ms=10_000))

        await many(count, one)


async def preparing(url: str, count: int) -> None:
    """Rendering and signing from a hook, then sending."""
    clock, of = SystemClock(), hook(0, url)
    async with loopback() as sender:

        async def one(number: int) -> None:
            prepared = prepare(
                of,
                payload=payload(number),
                event_type=KIND,
                delivery_id=DELIVERY_ID,
                now_ms=clock.now_ms(),
                wall_s=clock.wall_s(),
            )
            await sender.send(prepared.request)

        await many(count, one)


async def dispatching(url: str, count: int) -> None:
    """All of it: claims, turns, attempts, records, metrics."""
    queue: Any = Queue(count)
    hooks = {f"hook-{number}": hook(number, url) for number in range(HOOKS)}
    snapshot = Snapshot(generation=1, lineage=None, serial=1, outgoing=hooks)
    async with loopback() as sender:
        dispatcher = Dispatcher(
            store=queue,
            sender=sender,
            snapshot=lambda: snapshot,
            clock=SystemClock(),
            mint=SystemMint(),
            owner="bench",
            metrics=Metrics(),
        )
        running = asyncio.create_task(dispatcher.run())
        await queue.done.wait()
        await dispatcher.stop(1)
        await running
    print(
        f"{'':14}{queue.calls['claim'] / count:.4f} claims and {queue.calls['settle'] / count:.4f} settlements each"
    )


LAYERS = {"bare": bare, "sender": sending, "prepare": preparing, "dispatcher": dispatching}


def main() -> None:
    """Measure each layer in turn, or profile one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("deliveries", type=int, nargs="?", default=20_000)
    parser.add_argument("--profile", choices=LAYERS)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    _, ready = start("sink.py")
    url = f"http://127.0.0.1:{ready['port']}/hooks"
    if options.profile:
        profile = cProfile.Profile()
        profile.runcall(uvloop.run, LAYERS[options.profile](url, options.deliveries))
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
        return
    print(f"{'layer':14}{'deliveries/s':>14}{'CPU each':>12}")
    for name, layer in LAYERS.items():
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        uvloop.run(layer(url, options.deliveries))
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        each_us = cpu_s / options.deliveries * 1e6
        print(f"{name:14}{options.deliveries / wall_s:14,.0f}{each_us:9.1f} µs")


if __name__ == "__main__":
    main()
