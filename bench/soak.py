"""Kill the daemon with -9 under load, again and again, and account for every event that was answered 202.

A poster posts numbered events, each once, over keep-alive connections; a receiver notes which numbers arrive. The
daemon is killed at a random moment, started again on the same store, and so on. At the end everything that was
acknowledged must have arrived. What was posted and never answered may have arrived or not; what arrived twice is
counted (at least once is the promise, and both carry the same delivery id).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random  # noqa: TID251 - a measurement may draw its own chance
import shutil
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop
from end_to_end import HOOKS, ROOT, TOKEN, Sink, end, reconcile, wait_until
from wire import event, hooks_yaml

from reconciler.model.delivery import DeliveryStatus
from reconciler.store.connect import open_store
from reconciler.store.port import Access

if TYPE_CHECKING:
    from collections.abc import Callable

CONNECTIONS = 32
READY_S = 30.0
DRAIN_S = 180.0
EVENTS_A_SECOND = 30_000
"""More than one daemon takes in here: for so many there are numbers."""


@dataclass(slots=True)
class Ledger:
    """What was posted and what was answered, over all lives of the daemon."""

    limit: int
    next: int = 0
    acknowledged: bytearray = field(default_factory=bytearray)
    refused: int = 0

    def __post_init__(self) -> None:
        self.acknowledged = bytearray(self.limit)

    def take(self) -> int | None:
        """The number of the next event to post, None when there are enough."""
        if self.next >= self.limit:
            return None
        self.next += 1
        return self.next - 1


class Poster(asyncio.Protocol):
    """One connection that posts until it breaks. An answer counts only when all of it has come."""

    def __init__(self, ledger: Ledger, parts: list[tuple[bytes, bytes]], ended: asyncio.Event) -> None:
        self.ledger = ledger
        self.parts = parts
        self.ended = ended
        self.number = -1
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Post the first event."""
        self.transport = transport
        self.post()

    def post(self) -> None:
        """Post the next event, if there is one."""
        number = self.ledger.take()
        if number is None:
            self.transport.close()
            return
        self.number = number
        head, tail = self.parts[number % len(self.parts)]
        self.transport.write(head + b"%08d" % number + tail)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        """Note a complete answer and go on."""
        self.buffer += data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self.buffer[:head_end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self.buffer) < head_end + 4 + length:
            return
        self.buffer = b""
        if head[9:12] == b"202":
            self.ledger.acknowledged[self.number] = 1
        else:
            self.ledger.refused += 1
        self.post()

    def connection_lost(self, _exc: Exception | None) -> None:
        """The daemon was killed, or everything is posted."""
        self.ended.set()


class Fleet:
    """The daemon's lives on one store."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port

    async def start(self) -> asyncio.subprocess.Process:
        """A daemon that listens."""
        with (self.folder / "log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                str(reconcile()),
                *("serve", "-f", "hooks.yaml", "--port", str(self.port), "--allow-target", "127.0.0.0/8"),
                cwd=self.folder,
                env=os.environ | {"RECONCILER_ADMIN_TOKEN": TOKEN},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=log,
            )
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise SystemExit(f"the daemon ended with {process.returncode}; see {self.folder}/log")
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return process
            await asyncio.sleep(0.01)  # noqa: TID251 - a poll of another process
        raise SystemExit(f"the daemon did not start; see {self.folder}/log")


def requests(port: int) -> list[tuple[bytes, bytes]]:
    """The request for each bot, before and after the event's eight digits."""
    made = []
    for bot in range(HOOKS):
        head, tail = event(bot)
        lines = [
            "POST /api/v1/events HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Content-Type: application/json",
            f"Authorization: Bearer {TOKEN}",
            f"Content-Length: {len(head) + 8 + len(tail)}",
        ]
        made.append(("\r\n".join(lines).encode() + b"\r\n\r\n" + head, tail))
    return made


async def soak(options: argparse.Namespace, fleet: Fleet, ledger: Ledger, say: Callable[[str], None]) -> int:
    """Lives and deaths until enough events are acknowledged and enough kills are done; how many kills."""
    chance = random.Random(options.seed)
    parts = requests(fleet.port)
    loop = asyncio.get_running_loop()
    kills = 0
    while kills < options.kills or sum(ledger.acknowledged) < options.events:
        process = await fleet.start()
        ends = []
        for _ in range(CONNECTIONS):
            ended = asyncio.Event()
            ends.append(ended)
            await loop.create_connection(lambda e=ended: Poster(ledger, parts, e), "127.0.0.1", fleet.port)
        await asyncio.sleep(chance.uniform(options.life_min, options.life_max))  # noqa: TID251 - a life's length
        process.send_signal(signal.SIGKILL)
        await process.wait()
        for ended in ends:
            await ended.wait()
        kills += 1
        if kills % 20 == 0:
            say(f"{kills} kills, {sum(ledger.acknowledged):,} events acknowledged")
        if ledger.next >= ledger.limit:
            raise SystemExit(f"{ledger.limit:,} events were posted within {kills} kills: there are no more numbers")
    return kills


def account(ledger: Ledger, sink: Sink) -> dict[str, int]:
    """Acknowledged against arrived."""
    first = sink.first_ns()
    acknowledged = sum(ledger.acknowledged)
    arrived = sum(1 for at in first if at)
    lost = sum(1 for number in range(ledger.limit) if ledger.acknowledged[number] and not first[number])
    return {
        "posted": ledger.next,
        "acknowledged": acknowledged,
        "refused": ledger.refused,
        "arrived": arrived,
        "requests": sink.requests(),
        "duplicates": sink.requests() - arrived,
        "lost": lost,
    }


def main() -> None:
    """Run the soak and print its account; exit 1 if anything acknowledged was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=40, help="how often the daemon is killed, at least")
    parser.add_argument("--events", type=int, default=40_000, help="acknowledged events, at least")
    parser.add_argument("--full", action="store_true", help="200 kills and 200,000 events, at least")
    parser.add_argument("--life-min", type=float, default=0.05, help="shortest life under load, in seconds")
    parser.add_argument("--life-max", type=float, default=1.0, help="longest life under load, in seconds")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.full:
        options.kills, options.events = max(options.kills, 200), max(options.events, 200_000)
    options.seed = random.SystemRandom().randrange(2**32) if options.seed is None else options.seed
    say: Callable[[str], None] = (lambda _: None) if options.json else lambda text: print(text, flush=True)
    say(f"seed {options.seed}")
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="soak-", dir=ROOT / "build"))
    posted_most = int(options.kills * options.life_max * EVENTS_A_SECOND)
    ledger = Ledger(limit=max(options.events * 3, posted_most))
    sink = Sink(ledger.limit, folder)
    (folder / "hooks.yaml").write_text(hooks_yaml(hooks=HOOKS, sink_port=sink.port), encoding="utf-8")
    fleet = Fleet(folder, _free_port())
    started_s = time.monotonic()
    kills = uvloop.run(soak(options, fleet, ledger, say))
    lost = uvloop.run(_drain(fleet, ledger, sink))
    figures = {"seed": options.seed, "kills": kills, "seconds": round(time.monotonic() - started_s), **lost}
    figures |= uvloop.run(kept(folder))
    end(sink.process)
    print(
        json.dumps(figures)
        if options.json
        else "\n".join(f"{name:>13} {value:>12,}" for name, value in figures.items())
    )
    if figures["lost"]:
        sys.exit(f"{figures['lost']} acknowledged events never arrived; store and log are kept in {folder}")
    if not _is_done(figures):
        sys.exit(f"not every stored delivery is recorded as delivered; store and log are kept in {folder}")
    shutil.rmtree(folder)


async def kept(folder: Path) -> dict[str, int]:
    """What the store says at the end: how many deliveries it holds, and how many of them as delivered."""
    async with await open_store(f"sqlite:{folder / 'state' / 'reconciler.db'}", Access.READ) as store:
        stats = await store.stats()
    return {"stored": sum(stats.by_status.values()), "delivered": stats.by_status[DeliveryStatus.DELIVERED]}


def _is_done(figures: dict[str, int]) -> bool:
    return figures["stored"] == figures["delivered"]


async def _drain(fleet: Fleet, ledger: Ledger, sink: Sink) -> dict[str, int]:
    """One last life, which ends when everything acknowledged has arrived or patience has run out."""
    process = await fleet.start()
    with contextlib.suppress(SystemExit):
        wait_until(lambda: account(ledger, sink)["lost"] == 0, DRAIN_S, "not everything arrived")
    deadline = time.monotonic() + DRAIN_S
    while not _is_done(await kept(fleet.folder)) and time.monotonic() < deadline:  # noqa: ASYNC110 - no event tells
        await asyncio.sleep(0.1)  # noqa: TID251 - a poll of another process
    process.send_signal(signal.SIGTERM)
    await process.wait()
    return account(ledger, sink)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
