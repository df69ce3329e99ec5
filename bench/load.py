"""The poster: events one by one over keep-alive connections, as fast as they are answered or at a fixed rate.

With `--get` it calls a path instead, by GET and without a body: the one that is in BENCH_PATH, since a trigger's path
is a password and no argument. Written on bare sockets, so that a request costs it a fraction of what it costs the
server. Without `--rate` each connection posts its next event when the last one was answered. With it, events fall due
at even distances and wait for a free connection when there is none, so that a slow server cannot slow the clock it is
measured by.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from array import array
from collections import Counter
from pathlib import Path

import uvloop
from wire import event, tell

TICK_S = 0.001


class Load:
    """The events still to post, and what became of the others."""

    def __init__(self, options: argparse.Namespace, done: asyncio.Future[None]) -> None:
        self.options = options
        self.done = done
        self.parts = [self._request(bot) for bot in range(options.bots)]
        self.next = options.first
        self.due = options.first
        self.end = options.first + options.events
        self.answered = 0
        self.statuses: Counter[int] = Counter()
        self.started_ns = 0
        self.finished_ns = 0
        self.sent_ns = array("q", bytes(8 * self.end))
        self.answered_ns = array("q", bytes(8 * self.end))
        self.idle: list[Connection] = []

    def _request(self, bot: int) -> tuple[bytes, bytes]:
        """A request before and after its eight digits."""
        if self.options.get:
            return f"GET {os.environ['BENCH_PATH']} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Number: ".encode(), b"\r\n\r\n"
        head, tail = event(bot)
        lines = [
            f"POST {self.options.path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Content-Type: application/json",
            f"Authorization: Bearer {os.environ.get('BENCH_TOKEN', '')}",
            f"Content-Length: {len(head) + 8 + len(tail)}",
        ]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + head, tail

    def start(self, connections: list[Connection]) -> None:
        """Post the first events, or start the clock that makes them fall due."""
        self.started_ns = time.monotonic_ns()
        self.idle = connections
        if self.options.rate:
            self._tick()
        else:
            self.due = self.end
            self.post()

    def _tick(self) -> None:
        elapsed_s = (time.monotonic_ns() - self.started_ns) / 1e9
        self.due = min(self.end, self.options.first + int(elapsed_s * self.options.rate))
        self.post()
        if self.due < self.end:
            asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def post(self) -> None:
        """Give every idle connection an event, while any is due."""
        while self.idle and self.next < self.due:
            number, self.next = self.next, self.next + 1
            head, tail = self.parts[number % len(self.parts)]
            self.sent_ns[number] = time.monotonic_ns()
            self.idle.pop().send(number, head + b"%08d" % number + tail)

    def took(self, connection: Connection, number: int, status: int) -> None:
        """Note an answer and go on."""
        now_ns = time.monotonic_ns()
        self.answered_ns[number] = now_ns
        self.statuses[status] += 1
        self.answered += 1
        self.idle.append(connection)
        if self.answered == self.options.events:
            self.finished_ns = now_ns
            self.done.set_result(None)
        else:
            self.post()


class Connection(asyncio.Protocol):
    """A keep-alive connection with at most one request on its way."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.buffer = b""
        self.number = -1

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep where the requests go."""
        self.transport = transport

    def send(self, number: int, request: bytes) -> None:
        """Post event `number`."""
        self.number = number
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Recognise the end of the answer."""
        self.buffer += data
        head_end = self.buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        head = self.buffer[:head_end].lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
        if len(self.buffer) >= head_end + 4 + length:
            self.buffer = b""
            self.load.took(self, self.number, int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that ends before the last answer spoils the measurement."""
        if not self.load.done.done():
            self.load.done.set_exception(exc or ConnectionError("the server closed a connection"))


async def main() -> None:
    """Connect, post, report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/api/v1/events")
    parser.add_argument("--get", action="store_true", help="call BENCH_PATH instead of posting events")
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--first", type=int, default=0, help="number of the first event")
    parser.add_argument("--bots", type=int, default=1)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument(
        "--rate", type=float, default=0, help="events a second; default: as fast as they are answered"
    )
    parser.add_argument("--times", type=Path, help="file for the times of the answers")
    options = parser.parse_args()
    loop = asyncio.get_running_loop()
    load = Load(options, loop.create_future())
    connections = [
        (await loop.create_connection(lambda: Connection(load), "127.0.0.1", options.port))[1]
        for _ in range(options.connections)
    ]
    load.start(connections)
    await load.done
    if options.times:
        options.times.write_bytes(load.answered_ns.tobytes())
    numbers = range(options.first, load.end)
    took_ms = sorted((load.answered_ns[number] - load.sent_ns[number]) / 1e6 for number in numbers)
    tell(
        {
            "statuses": dict(load.statuses),
            "seconds": (load.finished_ns - load.started_ns) / 1e9,
            "started_ns": load.started_ns,
            "p50_ms": took_ms[len(took_ms) // 2],
            "p99_ms": took_ms[len(took_ms) * 99 // 100],
        }
    )


if __name__ == "__main__":
    uvloop.run(main())
