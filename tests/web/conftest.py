"""A whole process behind the HTTP doors, without the daemon: real state, store, snapshot, plans and rotations."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
import uvloop

from reconciler.control.reconcile import apply, plan_against
from reconciler.control.reveal import secret_of
from reconciler.control.rotate import rotate
from reconciler.control.snapshot import build_snapshot
from reconciler.daemon.listener import bind, http_server
from reconciler.delivery.trial import send_test
from reconciler.errors import ConfigurationInvalid, UnknownAddress
from reconciler.metrics import Metrics
from reconciler.model.exchange import Reply, Request
from reconciler.model.hook import OutgoingHook
from reconciler.model.resource import Desired, Key, Kind
from reconciler.model.snapshot import Snapshot
from reconciler.plan.guards import Allowance
from reconciler.problem import Place, Problem
from reconciler.store.memory import MemoryStore
from reconciler.web.app import build_app
from reconciler.web.body import declared_length
from reconciler.web.direct import DirectRequest
from reconciler.web.protocol import DIRECT_BODY_BYTES_MAX
from reconciler.web.services import Files, Reloaded, Rotated, Services

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping

    from starlette.types import ASGIApp, Message

    from reconciler.model.breaker import Tripped
    from reconciler.model.trial import Trial
    from reconciler.plan.plan import Plan
    from reconciler.web.answers import Answer

TOKENS = {"admin": "admin-token-1", "ingest": "ingest-token-2", "read": "read-token-3"}
START_MS = 1_790_000_000_000

BOTS: dict[str, Any] = {
    "support": {
        "id": "def-456",
        "name": "My Bot",
        "data_sources": {
            "docs": {"name": "Data source one", "sync": {"command": ["true"]}},
            "wiki": {"sync": {"command": ["true"]}},
        },
        "webhooks": {
            "published": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
            "asleep": {"type": "sync.trigger", "data_source": "wiki", "enabled": False},
            "new-chat": {"type": "conversation.started", "url": "https://crm.example.com/a", "enabled": True},
            "new-chat-too": {"type": "conversation.started", "url": "https://crm.example.com/b", "enabled": True},
            "silent": {"type": "conversation.started", "url": "https://crm.example.com/c", "enabled": False},
            "docs-failed": {
                "type": "sync.failure",
                "data_source": "docs",
                "url": "https://ops.example.com/alerts",
                "enabled": True,
            },
            "any-failed": {"type": "sync.failure", "url": "https://ops.example.com/any", "enabled": True},
        },
    },
}


class FakeClock:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.ms = START_MS

    def now_ms(self) -> int:
        return self.ms

    def wall_s(self) -> int:
        return self.ms // 1000

    def monotonic_s(self) -> float:
        return self.ms / 1000

    async def wait(self, event: asyncio.Event, timeout_s: float | None) -> bool:
        raise AssertionError("nothing on this floor waits")


@dataclass
class FakeSender:
    """Answers every request with `reply`."""

    reply: Reply = field(default_factory=lambda: Reply(status=200, headers=(("X-A", "b"),), body=b"thanks"))
    requests: list[Request] = field(default_factory=list)

    async def send(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.reply


class RealServices(Services):
    """The process, as the daemon would wire it."""

    def __init__(self, mint: Any, keyring: Any, declare: Callable[..., Desired]) -> None:
        self._snapshot = Snapshot(generation=0, lineage=None, serial=0)
        self._store = MemoryStore()
        self._clock = FakeClock()
        self._mint = mint
        self._keyring = keyring
        self._declare = declare
        self._metrics = Metrics()
        self.gone_hooks: set[str] = set()
        self.tripped: dict[str, Tripped] = {}
        self.paused: dict[str, int] = {}
        self.deliveries_woken: list[set[str]] = []
        self.syncs_woken = 0
        self.sender = FakeSender()
        self.refreshes = 0
        self.reloaded: Reloaded | None = None
        self.unready: tuple[str, ...] = ()
        self.trouble: str | None = None

    @property
    def snapshot(self) -> Snapshot:
        return self._snapshot

    @property
    def store(self) -> Any:
        return self._store

    @store.setter
    def store(self, store: Any) -> None:
        self._store = store

    @property
    def clock(self) -> FakeClock:
        return self._clock

    @property
    def mint(self) -> Any:
        return self._mint

    @property
    def metrics(self) -> Metrics:
        return self._metrics

    @property
    def tokens(self) -> Mapping[str, str]:
        return TOKENS

    @property
    def gone(self) -> Collection[str]:
        return self.gone_hooks

    @property
    def breakers(self) -> Mapping[str, Tripped]:
        return self.tripped

    @property
    def pauses(self) -> Mapping[str, int]:
        return self.paused

    async def refresh(self) -> None:
        self.refreshes += 1
        state = await self._store.read_state()
        self._snapshot = build_snapshot(
            state, keyring=self._keyring, environ={}, generation=self._snapshot.generation + 1
        )

    def reserve_deliveries(self, hook_ids: Iterable[str]) -> None:
        """Nobody has room."""

    def take_deliveries(self, taking: Any, claims: Any) -> None:
        raise AssertionError("nothing was reserved")

    def deliveries_waiting(self, hook_ids: Collection[str], *, retries: bool = False) -> None:
        self.deliveries_woken.append(set(hook_ids))

    def syncs_waiting(self) -> None:
        self.syncs_woken += 1

    async def test(self, address: str, payload: Mapping[str, Any] | None) -> Trial:
        hook = self._snapshot.addresses.get(address)
        if hook is None:
            raise UnknownAddress(f"no webhook {address}")
        assert isinstance(hook, OutgoingHook)
        return await send_test(
            hook,
            snapshot=self._snapshot,
            sender=self.sender,
            clock=self._clock,
            mint=self._mint,
            payload=payload,
        )

    async def rotate(self, address: str) -> Rotated:
        done = await rotate(self._store, address, keyring=self._keyring, mint=self._mint, now_ms=self._clock.now_ms())
        await self.refresh()
        return Rotated(
            address=address,
            fingerprint=done.fingerprint,
            serial=done.serial,
            previous_until_ms=done.previous_until_ms,
        )

    async def plan(self, files: Files) -> Plan:
        return await plan_against(
            self._store,
            self._read(files),
            now_ms=self._clock.now_ms(),
            commit=files.commit,
            breakers=self.breakers,
        )

    async def apply(self, files: Files, *, allow_delete: frozenset[str], allow_delete_all: bool) -> tuple[Plan, int]:
        allow = Allowance(addresses=allow_delete, all=allow_delete_all)
        return await self.configure(self._read(files), allow)

    async def reload(self) -> Reloaded:
        assert self.reloaded is not None
        return self.reloaded

    async def status(self) -> Mapping[str, Any]:
        return {"generation": self._snapshot.generation, "serial": self._snapshot.serial}

    async def readiness(self) -> tuple[str, ...]:
        return self.unready

    async def store_trouble(self) -> str | None:
        return self.trouble

    # -- for tests -------------------------------------------------------------------------------------------

    async def configure(self, desired: Desired, allow: Allowance) -> tuple[Plan, int]:
        """Apply and serve."""
        done = await apply(
            self._store,
            desired,
            keyring=self._keyring,
            mint=self._mint,
            now_ms=self._clock.now_ms(),
            allow=allow,
        )
        await self.refresh()
        return done.plan, done.serial

    async def declare(self, bots: Mapping[str, Any]) -> None:
        """Apply these bots."""
        await self.configure(self._declare(bots), Allowance(all=True))

    async def hook_id(self, address: str) -> str:
        """The id of a webhook."""
        state = await self._store.read_state()
        hook_id = state.resources[Key(Kind.WEBHOOK, address)].id
        assert hook_id is not None
        return hook_id

    async def secret(self, address: str) -> str:
        """The secret of a webhook."""
        return secret_of(await self._store.read_state(), address, keyring=self._keyring)

    async def trigger_path(self, address: str) -> str:
        """The path of a trigger's URL."""
        return f"/api/public/hooks/{await self.hook_id(address)}/{await self.secret(address)}"

    def _read(self, files: Files) -> Desired:
        """Files here are JSON of bots: reading YAML is another floor's business."""
        (name, text), *_ = files.texts.items()
        try:
            return self._declare(json.loads(text), file=name)
        except ValueError:
            place = Place(name, 3, 5)
            raise ConfigurationInvalid(
                [Problem(place=place, code="syntax", message="not what it should be")]
            ) from None


@dataclass(frozen=True)
class Response:
    """What an ASGI application sent."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        """The first header of this name."""
        return next((value.decode() for key, value in self.headers if key == name.lower().encode()), None)


@dataclass
class Caller:
    """Calls the application without a server: by ASGI, or past it what the server would (`way`).

    `chunks_read` counts the body's chunks that the last call asked for.
    """

    app: ASGIApp
    way: str = "asgi"
    chunks_read: int = 0

    async def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] = b"",
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        disconnect: bool = False,
    ) -> Response:
        raw, _, query = path.partition("?")
        given = {name.lower(): value for name, value in (headers or {}).items()}
        if token is not None:
            given["authorization"] = f"Bearer {token}"
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(raw),
            "raw_path": raw.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        chunks = [body] if isinstance(body, bytes) else list(body)
        sent: list[Message] = []
        self.chunks_read = 0
        size = max(sum(map(len, chunks)), declared_length(given.get("content-length", "").encode()))
        if self.way == "direct" and method != "HEAD" and size <= DIRECT_BODY_BYTES_MAX:
            take = self.app.direct(scope["raw_path"])  # type: ignore[attr-defined] # it is ours
            if take is not None:
                request = DirectRequest(method, scope["headers"], scope["raw_path"], writing := Writing())
                take(request)
                if not request.response_complete:
                    self.chunks_read = len(chunks)
                    request.end(None if disconnect else b"".join(chunks))
                return Response(0, [], b"") if disconnect else await writing.response

        async def receive() -> Message:
            index, self.chunks_read = self.chunks_read, self.chunks_read + 1
            if index >= len(chunks) or (disconnect and index == len(chunks) - 1):
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunks[index], "more_body": index + 1 < len(chunks)}

        async def send(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        if not sent:
            return Response(0, [], b"")
        assert sent[0]["type"] == "http.response.start"
        assert not sent[-1].get("more_body", False)
        return Response(
            sent[0]["status"], list(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])
        )


class Writing:
    """Takes what a direct request is answered, once."""

    def __init__(self) -> None:
        self.response: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def __call__(self, request: DirectRequest, answer: Answer) -> None:
        head, _, body = answer.wire.partition(b"\r\n\r\n")
        fields = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
        headers = [(name, value) for name, _, value in fields]
        self.response.set_result(Response(int(head.split()[1]), headers, body))


@dataclass
class Web:
    """The application and what is behind it."""

    services: RealServices
    call: Caller

    async def post(self, path: str, value: Any = None, *, token: str | None = TOKENS["admin"]) -> Response:
        """POST JSON (nothing for None), as an admin unless told otherwise."""
        body = b"" if value is None else json.dumps(value).encode()
        return await self.call("POST", path, body, token=token)

    async def get(self, path: str, *, token: str | None = TOKENS["read"]) -> Response:
        """GET, as a reader unless told otherwise."""
        return await self.call("GET", path, token=token)


@pytest.fixture(params=["direct", "asgi"])
def way(request: pytest.FixtureRequest) -> str:
    """How requests come in: past ASGI where the server would have them do so, or by it."""
    return str(request.param)


@pytest.fixture
def web(way: str, mint: Any, keyring: Any, declare: Callable[..., Desired]) -> Callable[..., None]:
    """Runs an async test body with a `Web` over `BOTS`: `web(body)`."""

    def run(body: Callable[[Web], Awaitable[None]], bots: Mapping[str, Any] = BOTS) -> None:
        async def main() -> None:
            services = RealServices(mint, keyring, declare)
            await services.declare(bots)
            await body(Web(services, Caller(build_app(services), way)))

        asyncio.run(main())

    return run


@pytest.fixture
def doors(
    way: str, mint: Any, keyring: Any, declare: Callable[..., Desired]
) -> Iterator[tuple[Web, Callable[..., Any]]]:
    """A `Web` over `BOTS`, and how ordinary code awaits it: for tests that call it example after example."""
    with asyncio.Runner() as runner:
        services = RealServices(mint, keyring, declare)
        runner.run(services.declare(BOTS))
        yield Web(services, Caller(build_app(services), way)), runner.run


@dataclass(frozen=True)
class Server:
    """A real server on a loopback port."""

    host: str
    port: int
    services: RealServices
    trigger: str

    def connect(self) -> socket.socket:
        """A connection to it."""
        return socket.create_connection((self.host, self.port), timeout=20)


@pytest.fixture
def server(
    mint: Any, keyring: Any, declare: Callable[..., Desired], caplog: pytest.LogCaptureFixture
) -> Iterator[Server]:
    """The server as the daemon runs it; its log must stay empty."""
    services = RealServices(mint, keyring, declare)

    async def prepare() -> str:
        await services.declare(BOTS)
        return await services.trigger_path("support/published")

    trigger = asyncio.run(prepare())
    running = http_server(build_app(services))
    listener = bind("127.0.0.1", 0)
    thread = threading.Thread(target=lambda: uvloop.run(running.serve([listener])))
    thread.start()
    try:
        host, port = listener.getsockname()
        yield Server(host, port, services, trigger)
    finally:
        running.should_exit = True
        thread.join()
        listener.close()
    assert [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []
