"""Receivers on loopback, scripted to the byte; and a dispatcher on a clock that a test moves."""

from __future__ import annotations

import asyncio
import base64
import heapq
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any, Self

import pytest

from reconciler.delivery.dispatcher import Dispatcher
from reconciler.delivery.egress import EgressGuard
from reconciler.delivery.sender import HttpSender
from reconciler.errors import SendFailed
from reconciler.metrics import Metrics
from reconciler.model.delivery import DeliveryStatus, NewDelivery, NewEvent
from reconciler.model.exchange import Reply, Request
from reconciler.model.hook import EventType, OutgoingHook, Retry, SigningSecrets
from reconciler.model.snapshot import Snapshot
from reconciler.model.template import Template
from reconciler.store.memory import Contents, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
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
def open_sender() -> Callable[..., HttpSender]:
    """A sender that may reach loopback, and nothing else that the guard refuses."""

    def make(*allow: str, **options: Any) -> HttpSender:
        return HttpSender(EgressGuard([ip_network(text) for text in allow or ("127.0.0.0/8",)]), **options)

    return make


@pytest.fixture
def request_to() -> Callable[..., Request]:
    """A small POST."""

    def make(url: str, **changes: Any) -> Request:
        values = {"method": "POST", "url": url, "headers": (("X-Test", "1"),), "body": b"{}", "timeout_ms": 5000}
        return Request(**{**values, **changes})

    return make


# -- a dispatcher on a clock that stands still -----------------------------------------------------------------


class FakeClock:
    """Time that moves only when it is told to, from one waiter's deadline to the next."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = float(now_ms)
        self._waiters: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now_ms(self) -> int:
        return int(self._now_ms)

    def wall_s(self) -> int:
        return self.now_ms() // 1000

    def monotonic_s(self) -> float:
        return self._now_ms / 1000

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        if event.is_set() or timeout_s is None:
            return await event.wait()
        self._count += 1
        passed = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, (self._now_ms + timeout_s * 1000, self._count, passed))
        happened = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait({happened, passed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            happened.cancel()
            passed.cancel()
        return event.is_set()

    async def run_until_idle(self) -> None:
        """Let everybody run who can, without any time passing."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]
        await _turn()
        while ready:
            await _turn()

    async def advance(self, seconds: float) -> None:
        """Let time pass, stopping at each deadline on the way so that everything happens when it is due."""
        end_ms = self._now_ms + seconds * 1000
        await self.run_until_idle()
        while self._waiters and self._waiters[0][0] <= end_ms:
            deadline_ms, _, passed = heapq.heappop(self._waiters)
            if passed.done():
                continue
            self._now_ms = max(self._now_ms, deadline_ms)
            passed.set_result(None)
            await self.run_until_idle()
        self._now_ms = end_ms
        await self.run_until_idle()


async def _turn() -> None:
    await asyncio.sleep(0)  # noqa: TID251 - no time passes; everybody else has a turn


class FakeMint:
    """Ids in order, and jitter of none."""

    def __init__(self) -> None:
        self._count = 0
        self.chance = 0.5

    def new_id(self, now_ms: int) -> str:
        self._count += 1
        return f"00000000-0000-7000-8000-{self._count:012x}"

    def jitter(self) -> float:
        return self.chance


@dataclass
class Sent:
    """A request and the moment it was sent."""

    at_ms: int
    request: Request

    @property
    def delivery_id(self) -> str:
        return dict(self.request.headers)["X-ChatThing-Delivery-Id"]


@dataclass
class FakeSender:
    """Receivers by rule: `answer(request)` says what comes of it. Counts how many requests are under way."""

    clock: FakeClock
    answer: Callable[[Request], Any] = lambda request: 200
    sent: list[Sent] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0

    async def send(self, request: Request) -> Reply:
        self.sent.append(Sent(self.clock.now_ms(), request))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            answer = self.answer(request)
            if isinstance(answer, tuple) and not isinstance(answer, Reply):
                seconds, answer = answer
                if seconds * 1000 >= request.timeout_ms:
                    await self.clock.wait(asyncio.Event(), request.timeout_ms / 1000)
                    raise SendFailed("timeout", "no complete answer")
                await self.clock.wait(asyncio.Event(), seconds)
            if isinstance(answer, Exception):
                raise answer
            return Reply(status=answer, headers=(), body=b"") if isinstance(answer, int) else answer
        finally:
            self.in_flight -= 1


PAYLOAD = b'{"event":"conversation.started","timestamp":"2026-03-10T12:00:00.000Z","conversation":{"id":"%d"}}'


class World:
    """A dispatcher over the model store, with hooks that are made and changed as a test wants them."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.contents = Contents()
        self.store: Any = MemoryStore(self.contents)
        self.sender = FakeSender(self.clock)
        self.mint = FakeMint()
        self.hooks: dict[str, OutgoingHook] = {}
        self.metrics = Metrics()
        self.options = options
        self._events = 0
        self._generation = 0
        self.snapshot = Snapshot(generation=0, lineage=None, serial=0)
        self.dispatcher: Dispatcher
        self.task: asyncio.Task[None]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.dispatcher.status()["faults"] == 0
        if not self.task.done():
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def start(self, owner: str = "worker-1") -> None:
        """Start a dispatcher, the first one or a further one."""
        self.dispatcher = Dispatcher(
            store=self.store,
            sender=self.sender,
            snapshot=lambda: self.snapshot,
            clock=self.clock,
            mint=self.mint,
            owner=owner,
            metrics=self.metrics,
            **self.options,
        )
        self.task = asyncio.create_task(self.dispatcher.run())
        await self.clock.run_until_idle()

    def hook(self, hook_id: str, **changes: Any) -> OutgoingHook:
        """Make a hook, or change it, and swap the snapshot."""
        hook = self.hooks.get(hook_id) or OutgoingHook(
            id=hook_id,
            address=f"bot/{hook_id}",
            type=EventType.CONVERSATION_STARTED,
            enabled=True,
            bot="bot",
            data_source=None,
            url=Template.parse(f"https://{hook_id}.example/"),
            timeout_ms=10_000,
            retry=Retry(attempts=5, schedule_ms=(30_000, 60_000, 120_000, 240_000, 480_000), jitter=0.0),
            concurrency=8,
            secret_header=True,
            standard_webhooks=True,
            custom=None,
            secrets=SigningSecrets(current=SECRET),
            scrub=(SECRET,),
        )
        self.hooks[hook_id] = replace(hook, **changes)
        self._swap()
        return self.hooks[hook_id]

    def delete(self, hook_id: str) -> None:
        """Take a hook out of state and snapshot."""
        del self.hooks[hook_id]
        self.contents.hooks[hook_id].deleted = True
        self._swap()

    def _swap(self) -> None:
        self._generation += 1
        self.snapshot = Snapshot(generation=self._generation, lineage=None, serial=0, outgoing=dict(self.hooks))

    async def post(self, *hook_ids: str, wake: bool = True) -> list[str]:
        """Accept an event for each of the hooks, in order; the delivery ids."""
        events = []
        for hook_id in hook_ids:
            self._events += 1
            delivery = NewDelivery(self.mint.new_id(0), hook_id)
            payload = PAYLOAD % self._events
            events.append(
                NewEvent(
                    id=f"event-{self._events}",
                    type="conversation.started",
                    payload=payload,
                    received_ms=self.clock.now_ms(),
                    deliveries=(delivery,),
                )
            )
        await self.store.accept(events, serial=0)
        if wake:
            self.dispatcher.wake(list(dict.fromkeys(hook_ids)))
            await self.clock.run_until_idle()
        return [event.deliveries[0].id for event in events]

    def row(self, delivery_id: str) -> Any:
        """The delivery as the store has it."""
        return self.contents.deliveries[delivery_id]

    def times(self, delivery_id: str) -> list[int]:
        """When the delivery was sent, in milliseconds after the first time."""
        times = [sent.at_ms for sent in self.sender.sent if sent.delivery_id == delivery_id]
        return [time - times[0] for time in times]

    def count(self, status: DeliveryStatus) -> int:
        """How many deliveries stand so."""
        return sum(row.status is status for row in self.contents.deliveries.values())


@pytest.fixture
def world() -> Callable[..., World]:
    """What makes a world, used as `async with`."""
    return World
