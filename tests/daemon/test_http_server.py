"""The HTTP server over real sockets: clients that send ahead, and clients that go at the wrong moment."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from reconciler.daemon.listener import bind, http_server
from reconciler.outbox import Outbox
from reconciler.web import protocol
from reconciler.web.answers import Answer, send_answer
from reconciler.web.protocol import _GatheringTransport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reconciler.web.direct import DirectRequest


async def measure(scope: Any, receive: Any, send: Any) -> None:
    """Answers how many bytes the body had."""
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = b"%d" % length
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Any = measure, **settings: int) -> AsyncIterator[tuple[int, Any]]:
    """The port on which an application is served, and the server."""
    listener = bind("127.0.0.1", 0)
    server = http_server(app)
    for name, value in settings.items():
        setattr(server.config, name, value)
    task = asyncio.create_task(server.serve([listener]))
    try:
        yield listener.getsockname()[1], server
    except BaseException:
        for connection in tuple(server.server_state.connections):
            connection.transport.abort()  # a test that has failed closes none, and the loop would wait for them
        raise
    finally:
        server.should_exit = True
        await task


def test_a_head_behind_a_large_body_is_measured_alone() -> None:
    """A client that sends its next request ahead gets both answers, even if a read ends within the second's head."""

    async def go() -> None:
        async with serving() as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n"
            writer.write(head + b"x" * 100_000 + head[:10])
            assert (await reader.readuntil(b"100000")).endswith(b"\r\n\r\n100000")
            writer.write(head[10:] + b"x" * 100_000)
            assert (await reader.readuntil(b"\r\n\r\n100000")).startswith(b"HTTP/1.1 200 OK\r\n")
            writer.close()

    uvloop.run(go())


@pytest.mark.parametrize("said", [[], [(b"connection", b"close")]], ids=["kept", "closed"])
def test_a_connection_ends_with_an_answer_that_says_so_and_with_no_other(said: list[tuple[bytes, bytes]]) -> None:
    """What is made once as bytes goes out as it is; an answer that announces the end is followed by it."""
    answer = Answer(200, b"{}", headers=said)

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send_answer(send, answer)

    async def go() -> None:
        async with serving(app) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
            for _ in range(1 if said else 3):
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n")
                assert await reader.readexactly(2) == b"{}"
            if said:
                async with asyncio.timeout(5):
                    assert await reader.read() == b""
            writer.close()

    uvloop.run(go())


def test_an_answer_to_a_client_that_has_gone_is_dropped_in_silence() -> None:
    """What is written in the turn in which a connection ends is nobody's, and no fault of the daemon's."""

    async def go() -> None:
        loop = asyncio.get_running_loop()
        faults: list[Any] = []
        loop.set_exception_handler(lambda _, fault: faults.append(fault))
        made: asyncio.Future[asyncio.Transport] = loop.create_future()

        class Made(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.set_result(transport)

        server = await loop.create_server(Made, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        transport = await made
        gathering = _GatheringTransport(transport, Outbox())
        transport.abort()
        gathering.write(b"too late")
        assert await asyncio.gather(reader.read(), return_exceptions=True) != [b"too late"]
        assert faults == []
        writer.close()
        server.close()

    uvloop.run(go())


class Silent:
    """An application that takes requests past ASGI and answers none."""

    def __init__(self) -> None:
        self.taken: list[DirectRequest] = []
        self.some = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("it came by ASGI")

    def direct(self, _path: bytes) -> Any:
        """Take everything."""
        return self.take

    def take(self, request: DirectRequest) -> None:
        """And keep it."""
        self.taken.append(request)
        self.some.set()


def test_a_stop_waits_for_direct_requests_and_then_cuts_them_off() -> None:
    """Who waits longer than the server's patience is asked to come back, and hears nothing after that."""

    async def go() -> None:
        app = Silent()
        async with serving(app, timeout_graceful_shutdown=1) as (port, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            await app.some.wait()
            server.should_exit = True
            said = await reader.read()
        assert said.startswith(b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n")
        assert b"\r\nretry-after: " in said
        app.taken[0].respond(Answer(200, b"{}"))
        assert (len(server.server_state.tasks), await reader.read()) == (0, b"")
        writer.close()

    uvloop.run(go())


@pytest.mark.parametrize(
    "after",
    [
        b"garbage\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 600_000,
        b"GET / HTTP/1.1\r\nX",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\ngarbage\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{",
    ],
    ids=["garbage", "large-head", "slow-head", "garbage-in-body", "slow-body"],
)
def test_a_bad_request_costs_the_one_before_no_answer(after: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal in its place would be taken for its answer: the poster would give up what is on disk."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "BODY_S", 0.1)

    async def go() -> None:
        app = Silent()
        async with serving(app) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n" + after)
            await app.some.wait()
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(reader.read(), 0.4) is None, "an answer came too early"
            app.taken[0].respond(Answer(200, b"{}"))
            said = await asyncio.wait_for(reader.read(), 5)
            writer.close()
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"\r\n\r\n{}")
        assert said.count(b"HTTP/1.1") == 1

    uvloop.run(go())


def test_no_timer_runs_on_a_request_that_is_there_whole() -> None:
    """What waits for an answer, or for the next request, has no body that could be late."""

    async def go() -> None:
        app = Silent()
        async with serving(app) as (port, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(3):
                app.some.clear()
                writer.write(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}")
                await app.some.wait()
                (connection,) = server.server_state.connections
                assert connection._timer is None
                app.taken[number].respond(Answer(200, b"{}"))
                await reader.readuntil(b"{}")
                assert connection._timer is None
            writer.close()

    uvloop.run(go())


class Refusing:
    """An application that refuses on the head alone, past ASGI and by it."""

    refusal = Answer(401, b"{}")

    async def __call__(self, _scope: Any, _receive: Any, send: Any) -> None:
        await send_answer(send, self.refusal)

    def direct(self, path: bytes) -> Any:
        """Take what asks for it."""
        return self.take if path == b"/direct" else None

    def take(self, request: DirectRequest) -> None:
        """And refuse it."""
        request.respond(self.refusal)


@pytest.mark.parametrize("path", ["/direct", "/asgi"])
@pytest.mark.parametrize("parts", [[b"{}"], [b"", b"{}"]], ids=["at-once", "body-later"])
def test_a_refusal_on_the_head_leaves_no_timer_behind(
    path: str, parts: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection may be unused for as long as any other once the body is there."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.1)
    monkeypatch.setattr(protocol, "BODY_S", 0.1)

    async def go() -> None:
        async with serving(Refusing()) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n".encode() + parts[0])
            await reader.readuntil(b"{}")
            writer.write(b"".join(parts[1:]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(), 0.4)
            writer.close()

    uvloop.run(go())


class Measuring:
    """An application that answers past ASGI how many bytes the body had, or refuses on the head."""

    def direct(self, path: bytes) -> Any:
        """Take everything."""
        return self.take if path == b"/" else Refusing().take

    def take(self, request: DirectRequest) -> None:
        """And wait for its body."""

        def received(content: bytes | None) -> None:
            if content is not None:
                request.respond(Answer(200, b"%d." % len(content)))

        request.received = received


@pytest.mark.parametrize("target", ["/", "/refused"])
@pytest.mark.parametrize("left_out", [0, 1], ids=["whole", "cut-short"])
def test_a_connection_that_has_ended_is_no_garbage(target: str, left_out: int) -> None:
    """Clients that come with one request each would fill the memory until the collector of cycles looks."""

    async def go() -> None:
        async with serving(Measuring()) as (port, _):
            gc.collect()
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                head = f"POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {2 + left_out}\r\n\r\n"
                writer.write(head.encode() + b"{}")
                if not left_out:
                    await reader.readuntil(b"\r\n\r\n")
                writer.write_eof()
                await reader.read()
                writer.close()
                await writer.wait_closed()
        assert not [one for one in gc.get_objects() if isinstance(one, protocol.BoundedProtocol)]

    gc.disable()
    try:
        uvloop.run(go())
    finally:
        gc.enable()


def test_an_answered_body_is_not_kept_with_its_connection() -> None:
    """Thousands of unused connections hold nothing of what came over them."""

    async def go() -> None:
        async with serving(Measuring()) as (port, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n" + b"x" * 50_000)
            await reader.readuntil(b"50000.")
            (connection,) = server.server_state.connections
            assert connection.cycle.content == b""
            writer.close()

    uvloop.run(go())


def test_a_refused_body_is_not_kept_while_the_rest_of_it_is_awaited() -> None:
    """A stranger without a token has no memory of ours to fill."""

    async def go() -> None:
        async with serving(Measuring()) as (port, server):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /refused HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n" + b"x" * 1000)
            await reader.readuntil(b"{}")
            (connection,) = server.server_state.connections
            assert connection._taken.content == b""
            writer.close()

    uvloop.run(go())


def test_who_comes_beyond_the_limit_is_sent_away() -> None:
    """Requests past ASGI find no more room than others do."""

    async def go() -> None:
        app = Silent()
        async with serving(app, limit_concurrency=1) as (port, _):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 503 ")
            assert app.taken == []
            writer.close()

    uvloop.run(go())
