"""Receivers on loopback: real sockets, scripted to the byte."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.delivery.egress import EgressGuard
from reconciler.delivery.sender import AiohttpSender
from reconciler.model.exchange import Request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@dataclass
class Received:
    """One request as it stood on the wire."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's value, None without it; raises on a repeated one."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} is there {len(values)} times"
        return values[0] if values else None


@dataclass
class Receiver:
    """A server on loopback. `behave(receiver, reader, writer)` owns each connection."""

    behave: Callable[[Receiver, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    port: int = 0
    connections: int = 0
    open: int = 0
    requests: list[Received] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def receive(self, reader: asyncio.StreamReader) -> Received | None:
        """The next request of a connection; None when it has ended."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        line, *lines = head.decode().split("\r\n")[:-2]
        headers = [(name, value) for name, _, value in (text.partition(": ") for text in lines)]
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        received = Received(line, headers, await reader.readexactly(length))
        self.requests.append(received)
        self.changed.set()
        return received

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition holds; it is looked at whenever something happens here."""
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def _answer_ok(receiver: Receiver, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await receiver.receive(reader) is not None:
        writer.write(OK)


@asynccontextmanager
async def _listen(behave: Any = _answer_ok, **options: Any) -> AsyncIterator[Receiver]:
    receiver = Receiver(behave)
    tasks: set[asyncio.Task[Any]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        receiver.connections += 1
        receiver.open += 1
        receiver.changed.set()
        try:
            with suppress(ConnectionError):
                await receiver.behave(receiver, reader, writer)
        except asyncio.CancelledError:
            return
        finally:
            receiver.open -= 1
            receiver.changed.set()
            writer.close()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tuple(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def listen() -> Any:
    """What makes a scripted server, used as `async with`; without a script it answers 200."""
    return _listen


@pytest.fixture
def open_sender() -> Callable[..., AiohttpSender]:
    """A sender that may reach loopback, and nothing else that the guard refuses."""

    def make(*allow: str, **options: Any) -> AiohttpSender:
        return AiohttpSender(EgressGuard([ip_network(text) for text in allow or ("127.0.0.0/8",)]), **options)

    return make


@pytest.fixture
def request_to() -> Callable[..., Request]:
    """A small POST."""

    def make(url: str, **changes: Any) -> Request:
        values = {"method": "POST", "url": url, "headers": (("X-Test", "1"),), "body": b"{}", "timeout_ms": 5000}
        return Request(**{**values, **changes})

    return make
