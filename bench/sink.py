"""The receiver: the least that an HTTP server can do, so that it is never what is measured.

Answers 200 to every request. Each line on stdin asks for a report: how many requests came, and where `--times`
names a file, when the first request for each event came (CLOCK_MONOTONIC, in ns, one int64 an event).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from array import array
from pathlib import Path

import uvloop
from wire import MARK, tell

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain\r\n\r\nok"


class Counts:
    """What has come so far."""

    def __init__(self, events: int) -> None:
        self.requests = 0
        self.first_ns = array("q", bytes(8 * events))

    def note(self, body: bytes) -> None:
        """Count a request and, if it is the first for its event, keep the time."""
        self.requests += 1
        if self.first_ns:
            start = body.find(MARK) + len(MARK)
            number = int(body[start : start + 8])
            if self.first_ns[number] == 0:
                self.first_ns[number] = time.monotonic_ns()


class Sink(asyncio.Protocol):
    """One connection. Bodies come with a Content-Length, as everything that is measured here sends them."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.buffer = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Keep where the answers go."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        buffer = self.buffer + data if self.buffer else data
        while (head_end := buffer.find(b"\r\n\r\n")) >= 0:
            head = buffer[:head_end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            end = head_end + 4 + length
            if len(buffer) < end:
                break
            self.counts.note(buffer[head_end + 4 : end])
            self.transport.write(ANSWER)
            buffer = buffer[end:]
        self.buffer = buffer


async def main() -> None:
    """Serve until stdin ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=0, help="number of events whose times are kept")
    parser.add_argument("--times", type=Path)
    options = parser.parse_args()
    counts = Counts(options.events)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Sink(counts), "127.0.0.1", 0, backlog=1024)
    tell({"port": server.sockets[0].getsockname()[1]})
    while await loop.run_in_executor(None, sys.stdin.readline):
        if options.times:
            options.times.write_bytes(counts.first_ns.tobytes())
        tell({"requests": counts.requests})


if __name__ == "__main__":
    uvloop.run(main())
