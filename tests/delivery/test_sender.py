"""The sender on real sockets: what goes over the wire, what comes back, and every way a receiver can misbehave."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from reconciler.delivery.connection import BODY_BYTES_KEPT, BODY_BYTES_READ, INFORMATIONAL_MAX
from reconciler.delivery.resolver import LOOKUPS_MAX, Resolver
from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.delivery import AttemptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from reconciler.delivery.sender import HttpSender
    from reconciler.model.exchange import Reply, Request

    OpenSender = Callable[..., HttpSender]
    RequestTo = Callable[..., Request]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(*parts: bytes, close: bool = True) -> Any:
    """A script: read a request, write the parts, close (or wait for ever)."""

    async def behave(receiver: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.receive(reader)
        for part in parts:
            writer.write(part)
            await writer.drain()
        if not close:
            await reader.read()

    return behave


def endlessly(first: bytes, piece: bytes) -> Any:
    """A script: read a request, write `first`, then `piece` until the other side has had enough."""

    async def behave(receiver: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.receive(reader)
        writer.write(first)
        much = piece * (65536 // len(piece))
        while not writer.is_closing():
            writer.write(much)
            await writer.drain()

    return behave


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"], autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scene on both loops: the daemon runs on uvloop, the command line on asyncio's own."""
    monkeypatch.setattr(asyncio, "run", request.param)


@pytest.fixture
def exchange(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> Callable[..., tuple[Reply, Any]]:
    """Send one request to a scripted receiver; the reply and the receiver."""

    def run(behave: Any = None, **changes: Any) -> tuple[Reply, Any]:
        async def go() -> tuple[Reply, Any]:
            async with listen(*[behave] if behave else []) as receiver, open_sender() as sender:
                reply = await sender.send(request_to(receiver.url, **changes))
                return reply, receiver

        return asyncio.run(go())

    return run


# -- what goes out ---------------------------------------------------------------------------------------------


def test_a_request_goes_out_as_it_stands(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """Method, target, headers and body reach the receiver byte for byte; Host and Content-Length are all we add."""

    async def go() -> None:
        async with listen() as receiver, open_sender() as sender:
            headers = (("X-Bot", "Zoë 🤖"), ("Content-Type", "text/plain"), ("x-empty", ""))
            url = f"http://127.0.0.1:{receiver.port}/a%2Fb/%2E%2E/./c?q=%20+&&x=%C3%A9"
            await sender.send(request_to(url, method="PATCH", headers=headers, body="é{}".encode()))
            received = receiver.requests[0]
            assert received.line == "PATCH /a%2Fb/%2E%2E/./c?q=%20+&&x=%C3%A9 HTTP/1.1"
            assert received.headers == [
                ("Host", f"127.0.0.1:{receiver.port}"),
                ("Content-Length", "4"),
                *headers,
            ]
            assert received.body == "é{}".encode()

    asyncio.run(go())


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
def test_a_body_goes_out_with_every_method(exchange: Any, method: str) -> None:
    """A body is sent with GET and DELETE too: what was signed is what was sent."""
    _, receiver = exchange(method=method, body=b"signed")
    assert receiver.requests[0].line.startswith(f"{method} ")
    assert receiver.requests[0].body == b"signed"


@pytest.mark.parametrize(
    ("tail", "target"),
    [("", "/"), ("?x=1", "/?x=1"), ("/#top", "/"), ("/a b/ü", "/a%20b/%C3%BC"), ("/x\r\ny", "/x%0D%0Ay")],
)
def test_a_target_is_made_sendable_when_the_url_leaves_something_out(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, tail: str, target: str
) -> None:
    """A missing path is `/`, a fragment stays here, and what may not stand in a request line is percent-encoded."""

    async def go() -> None:
        async with listen() as receiver, open_sender() as sender:
            await sender.send(request_to(f"http://127.0.0.1:{receiver.port}{tail}"))
            assert receiver.requests[0].line == f"POST {target} HTTP/1.1"

    asyncio.run(go())


def test_userinfo_becomes_a_header_unless_there_is_one(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """Credentials in a URL are sent as Basic authorization; a header of the hook's own wins."""

    async def go() -> None:
        async with listen() as receiver, open_sender() as sender:
            url = f"http://user:p%40ss@127.0.0.1:{receiver.port}/"
            await sender.send(request_to(url))
            await sender.send(request_to(url, headers=(("authorization", "Bearer x"),)))
            assert receiver.requests[0].header("Authorization") == "Basic dXNlcjpwQHNz"
            assert receiver.requests[0].header("Host") == f"127.0.0.1:{receiver.port}"
            assert receiver.requests[1].header("Authorization") == "Bearer x"

    asyncio.run(go())


@pytest.mark.parametrize("headers", [(("X-A", "b\r\nX-C: d"),), (("X-A\nX-B", "c"),), (("X-A", "b\0c"),)])
def test_a_header_that_would_split_the_request_is_not_sent(exchange: Any, headers: Any) -> None:
    """Whatever came before, no control character that ends a line leaves this machine."""
    with pytest.raises(SendFailed) as caught:
        exchange(headers=headers)
    assert caught.value.error == AttemptError.UNRENDERABLE


def test_proxies_of_the_environment_are_ignored(exchange: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy variable would let requests past the guard."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    reply, _ = exchange()
    assert reply.status == 200


# -- what comes back -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 204, 301, 302, 303, 307, 308, 400, 404, 410, 429, 500, 503, 999])
def test_an_answer_comes_back_whatever_its_status(exchange: Any, status: int) -> None:
    """Statuses are for the caller to judge; redirects are not followed."""
    head = f"HTTP/1.1 {status} Some Reason\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    reply, receiver = exchange(answering(head.encode()))
    assert reply.status == status
    assert ("Location", "http://127.0.0.1:9/") in reply.headers
    assert receiver.connections == 1


@pytest.mark.parametrize(
    "parts",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"he", b"llo"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\nhello"],
        [b"HTTP/1.0 200 OK\r\n\r\nhello"],
        [
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nhello",
        ],
    ],
)
def test_a_body_comes_back_however_it_is_framed(exchange: Any, parts: list[bytes]) -> None:
    """Length, chunks, or the end of the connection; after informational answers too."""
    reply, _ = exchange(answering(*parts))
    assert (reply.status, reply.body) == (200, b"hello")


def test_a_compressed_body_is_left_as_it_is(exchange: Any) -> None:
    """Nothing is decompressed, so nothing can explode."""
    packed = b"\x1f\x8b\x08\x00" + bytes(20)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 24\r\n\r\n"
    reply, _ = exchange(answering(head + packed))
    assert reply.body == packed


def test_a_long_body_is_kept_in_part_and_read_to_its_end_when_that_is_near(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """A body below the reading bound keeps the connection usable; only its start is kept."""
    size = BODY_BYTES_READ - 1

    async def go() -> None:
        async def behave(receiver: Any, reader: Any, writer: Any) -> None:
            while await receiver.receive(reader):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size)

        async with listen(behave) as receiver, open_sender() as sender:
            for _ in range(3):
                reply = await sender.send(request_to(receiver.url))
                assert reply.body == b"x" * BODY_BYTES_KEPT
            assert receiver.connections == 1

    asyncio.run(go())


# -- receivers that misbehave ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "framing",
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 4096),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"x" * 4096),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n"),
    ],
)
def test_an_endless_body_ends_with_the_reading_bound(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, framing: tuple[bytes, bytes]
) -> None:
    """The status decides once 64 KiB are read, and the connection is closed rather than drained."""

    async def go() -> None:
        async with listen(endlessly(*framing)) as receiver, open_sender() as sender:
            reply = await sender.send(request_to(receiver.url))
            assert reply.status == 200
            assert len(reply.body) == BODY_BYTES_KEPT
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("framing", "errors"),
    [
        ((b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n"), {AttemptError.PROTOCOL}),
        ((b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 4096), {AttemptError.PROTOCOL}),
        ((b"HTTP/1.1 200 " + b"x" * 100, b"x" * 4096), {AttemptError.PROTOCOL}),
        ((b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50), {AttemptError.PROTOCOL}),
        ((b"", b"\r\n" * 2048), {AttemptError.PROTOCOL, AttemptError.TIMEOUT}),
        (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;", b"x" * 4096),
            {AttemptError.PROTOCOL, AttemptError.TIMEOUT},
        ),
    ],
    ids=["headers", "header", "reason", "informational", "blank-lines", "chunk-extension"],
)
def test_an_endless_head_fails_within_bounds(
    listen: Any,
    open_sender: OpenSender,
    request_to: RequestTo,
    framing: tuple[bytes, bytes],
    errors: set[AttemptError],
) -> None:
    """A receiver that never comes to the point is cut off by size or by time, and loses its connection."""

    async def go() -> None:
        async with listen(endlessly(*framing)) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(receiver.url, timeout_ms=500))
            assert caught.value.error in errors
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([], AttemptError.DISCONNECTED),
        ([b"HTTP/1.1 200"], AttemptError.DISCONNECTED),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort"], AttemptError.DISCONNECTED),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe"], AttemptError.DISCONNECTED),
        ([b"SSH-2.0-OpenSSH_9.2\r\n"], AttemptError.PROTOCOL),
        ([b"\x00\x01\x02\x03\xff\xfe" * 10], AttemptError.PROTOCOL),
        ([b"HTTP/1.1 abc\r\n\r\n"], AttemptError.PROTOCOL),
        ([b"HTTP/9.9 200 OK\r\n\r\n"], AttemptError.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nNo colon here\r\n\r\n"], AttemptError.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"], AttemptError.PROTOCOL),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"], AttemptError.PROTOCOL),
    ],
)
def test_an_answer_that_is_not_one_fails_with_its_class(
    exchange: Any, parts: list[bytes], error: AttemptError
) -> None:
    """Garbage is `protocol`; a connection that ends before its answer does is `disconnected`."""
    with pytest.raises(SendFailed) as caught:
        exchange(answering(*parts))
    assert caught.value.error == error


def test_a_failed_request_is_no_garbage(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """Receivers that fail would fill the memory with errors, and with the requests that they refer to."""

    async def go() -> None:
        async with listen(answering(b"")) as receiver, open_sender() as sender:
            try:
                await sender.send(request_to(receiver.url))
            except SendFailed as error:
                known = weakref.ref(error)
            await asyncio.sleep(0)  # noqa: TID251 - a turn, in which what woke this lets go
            assert known() is None

    gc.disable()
    try:
        asyncio.run(go())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "first",
    [None, b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"],
    ids=["never-accepted-nothing", "no-answer", "half-a-head", "no-body"],
)
def test_the_time_out_covers_the_whole_exchange(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, first: bytes | None
) -> None:
    """However far a receiver got, it fails when its time is up, and its connection is closed."""

    async def hang(receiver: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if first is not None:
            await receiver.receive(reader)
            writer.write(first)
        await reader.read()

    async def go() -> None:
        async with listen(hang) as receiver, open_sender() as sender:
            started = time.monotonic()
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(receiver.url, timeout_ms=300))
            assert caught.value.error == AttemptError.TIMEOUT
            assert 0.29 <= time.monotonic() - started < 2
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


def test_a_drip_of_bytes_does_not_extend_the_time_out(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """One byte now and then keeps nothing alive: the time is counted from the start."""

    async def drip(receiver: Any, reader: Any, writer: Any) -> None:
        await receiver.receive(reader)
        for byte in OK:
            writer.write(bytes([byte]))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.05)

    async def go() -> None:
        async with listen(drip) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(receiver.url, timeout_ms=400))
            assert caught.value.error == AttemptError.TIMEOUT

    asyncio.run(go())


def test_a_receiver_that_does_not_read_fails_in_time(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """A large body that nobody takes is bounded by the time-out as well."""

    async def deaf(receiver: Any, reader: Any, writer: Any) -> None:
        writer.transport.pause_reading()
        await asyncio.Event().wait()

    async def go() -> None:
        async with listen(deaf, limit=1024) as receiver, open_sender() as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(receiver.url, body=bytes(8_000_000), timeout_ms=300))
            assert caught.value.error == AttemptError.TIMEOUT

    asyncio.run(go())


def test_an_early_answer_to_a_large_body_counts_and_its_connection_does_not_stay(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """A connection with half a request still in it must not carry the next one."""

    async def refuse(receiver: Any, reader: Any, writer: Any) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.Event().wait()

    async def go() -> None:
        async with listen(refuse, limit=1024) as receiver, open_sender() as sender:
            for _ in range(2):
                reply = await sender.send(request_to(receiver.url, body=bytes(8_000_000)))
                assert reply.status == 413
            assert receiver.connections == 2

    asyncio.run(go())


# -- connections -----------------------------------------------------------------------------------------------


def test_a_connection_is_kept_and_used_again(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """Requests in a row share one connection."""

    async def go() -> None:
        async with listen() as receiver, open_sender() as sender:
            for _ in range(5):
                await sender.send(request_to(receiver.url))
            assert (receiver.connections, len(receiver.requests)) == (1, 5)

    asyncio.run(go())


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
def test_nothing_is_sent_twice_when_a_kept_connection_drops(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, method: str
) -> None:
    """A receiver may have acted before it dropped the connection: the attempt fails, and is not repeated here."""

    async def drop_the_second(receiver: Any, reader: Any, writer: Any) -> None:
        await receiver.receive(reader)
        writer.write(OK)
        await receiver.receive(reader)

    async def go() -> None:
        async with listen(drop_the_second) as receiver, open_sender() as sender:
            await sender.send(request_to(receiver.url, method=method))
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(receiver.url, method=method))
            assert caught.value.error == AttemptError.DISCONNECTED
            assert (receiver.connections, len(receiver.requests)) == (1, 2)

    asyncio.run(go())


def test_an_answer_nobody_asked_for_is_not_taken_for_the_next_one(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """Two answers to one request: the second must not answer the next delivery."""

    async def answer_twice(receiver: Any, reader: Any, writer: Any) -> None:
        while await receiver.receive(reader):
            writer.write(OK)
            await writer.drain()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.02)
            writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            receiver.changed.set()

    async def go() -> None:
        async with listen(answer_twice) as receiver, open_sender() as sender:
            assert (await sender.send(request_to(receiver.url))).status == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)
            assert (await sender.send(request_to(receiver.url))).status == 200
            assert receiver.connections == 2

    asyncio.run(go())


def test_an_upgrade_that_nobody_asked_for_ends_the_connection(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """101 comes back as a status like any other; its connection speaks something else from there on."""

    async def go() -> None:
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        async with listen(endlessly(upgrade, b"\x81\x05hello")) as receiver, open_sender() as sender:
            assert (await sender.send(request_to(receiver.url))).status == 101
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


def test_cancelling_closes_the_connection(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """A stop in the middle of an exchange leaves nothing behind."""

    async def go() -> None:
        async with listen(answering(close=False)) as receiver, open_sender() as sender:
            task = asyncio.create_task(sender.send(request_to(receiver.url)))
            await receiver.until(lambda: receiver.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


def test_many_requests_at_once_each_get_their_own_answer(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """Concurrent requests over reused connections never swap answers."""

    async def echo(receiver: Any, reader: Any, writer: Any) -> None:
        while (received := await receiver.receive(reader)) is not None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(received.body) + received.body)

    async def go() -> None:
        async with listen(echo) as receiver, open_sender() as sender:
            bodies = [b"%d" % number for number in range(500)]
            replies = await asyncio.gather(*(sender.send(request_to(receiver.url, body=body)) for body in bodies))
            assert [reply.body for reply in replies] == bodies

    asyncio.run(go())


# -- the way there ---------------------------------------------------------------------------------------------


def resolving(addresses: Iterable[str]) -> Resolver:
    """A resolver for which every name has these addresses."""

    def lookup(host: str, port: int, *_: object) -> list[Any]:
        families = {False: socket.AF_INET, True: socket.AF_INET6}
        return [(families[":" in text], socket.SOCK_STREAM, 6, "", (text, port)) for text in addresses]

    return Resolver(lookup)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://127.1:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f000001:{port}/",
        "http://0x7f.0.0.1:{port}/",
        "http://0177.0.0.1:{port}/",
        "http://017700000001:{port}/",
        "http://0:{port}/",
        "http://0.0.0.0:{port}/",
        "http://127.0.0.1.:{port}/",
        "http://localhost:{port}/",
        "HTTP://LOCALHOST:{port}/",
        "http://user:pass@127.0.0.1:{port}/",
        "http://1.1.1.1@127.0.0.1:{port}/",
        "http://127.0.0.1:{port}#@1.1.1.1/",
        "http://127.0.0.1:{port}\\@1.1.1.1/",
        "http://①②⑦.⓪.⓪.①:{port}/",
        "http://127。0。0。1:{port}/",
        "http://[::1]:{port}/",
        "http://[::1%25lo]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://[::ffff:7f00:1]:{port}/",
        "http://[::127.0.0.1]:{port}/",
        "http://[64:ff9b::127.0.0.1]:{port}/",
        "http://[2002:7f00:1::]:{port}/",
        "http://[fe80::1%25lo]:{port}/",
        "https://127.0.0.1:{port}/",
        "unix:///var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "file:///etc/passwd",
        "ws://127.0.0.1:{port}/",
        "tcp://127.0.0.1:{port}/",
        "//127.0.0.1:{port}/",
        "http:///127.0.0.1:{port}/",
        "",
    ],
)
def test_loopback_is_refused_in_every_spelling(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, url: str
) -> None:
    """No spelling of the host and no other scheme reaches a listener on this machine."""

    async def go() -> None:
        async with listen() as receiver, open_sender("192.0.2.0/24") as sender:
            with pytest.raises(EgressRefused):
                await sender.send(request_to(url.format(port=receiver.port)))
            assert receiver.connections == 0

    asyncio.run(go())


def test_a_name_that_changes_its_address_is_judged_when_it_is_dialled(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """What a name had at any earlier look-up does not matter: rebinding finds the guard at the dial."""
    answers = iter(["127.0.0.2", "127.0.0.1"])

    async def go() -> None:
        resolver = resolving(())
        resolver._lookup = lambda host, port, *_: [(socket.AF_INET, 0, 0, "", (next(answers), port))]
        async with listen() as receiver, open_sender("127.0.0.2/32", resolver=resolver) as sender:
            with pytest.raises(SendFailed):
                await sender.send(request_to(f"http://rebind.example:{receiver.port}/"))

            resolver.forget()
            with pytest.raises(EgressRefused, match=r"127\.0\.0\.1 is a loopback address"):
                await sender.send(request_to(f"http://rebind.example:{receiver.port}/"))
            assert receiver.connections == 0

    asyncio.run(go())


@pytest.mark.parametrize("addresses", [["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], ["::1", "127.0.0.1"]])
def test_only_the_allowed_address_of_a_name_is_dialled(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, addresses: list[str]
) -> None:
    """A name with one allowed and one refused address is reached at the allowed one."""

    async def go() -> None:
        async with listen() as receiver, open_sender("127.0.0.1/32", resolver=resolving(addresses)) as sender:
            reply = await sender.send(request_to(f"http://both.example:{receiver.port}/"))
            assert reply.status == 200
            assert receiver.requests[0].header("Host") == f"both.example:{receiver.port}"

    asyncio.run(go())


@pytest.mark.parametrize("addresses", [["127.0.0.2", "10.0.0.1"], ["10.0.0.1", "127.0.0.2"]])
def test_a_name_fails_rather_than_being_refused_when_its_allowed_address_does_not_answer(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, addresses: list[str]
) -> None:
    """A receiver that is down is tried again later, whatever other addresses its name has."""

    async def go() -> None:
        async with listen() as receiver, open_sender("127.0.0.2/32", resolver=resolving(addresses)) as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"http://both.example:{receiver.port}/"))
            assert caught.value.error == AttemptError.CONNECT

    asyncio.run(go())


def test_a_name_is_refused_when_all_its_addresses_are(open_sender: OpenSender, request_to: RequestTo) -> None:
    """Several refusals are one refusal, with the first one's reason."""

    async def go() -> None:
        resolver = resolving(["10.0.0.1", "::1", "169.254.169.254"])
        async with open_sender(resolver=resolver) as sender:
            with pytest.raises(EgressRefused, match=r"10\.0\.0\.1 is a private address"):
                await sender.send(request_to("http://inner.example/"))

    asyncio.run(go())


def test_a_closed_port_is_a_failed_connection(open_sender: OpenSender, request_to: RequestTo) -> None:
    """Nobody listening is `connect`."""

    async def go() -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            async with open_sender() as sender:
                with pytest.raises(SendFailed, match="Connection refused") as caught:
                    await sender.send(request_to(f"http://127.0.0.1:{free.getsockname()[1]}/"))
        assert caught.value.error == AttemptError.CONNECT

    asyncio.run(go())


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 64 + ".example"])
def test_a_name_that_does_not_exist_is_a_failed_look_up(
    open_sender: OpenSender, request_to: RequestTo, host: str
) -> None:
    """A name without an address is `dns`."""

    def lookup(name: str, *_: object) -> list[Any]:
        name.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def go() -> None:
        async with open_sender(resolver=Resolver(lookup)) as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"http://{host}/"))
            assert caught.value.error == AttemptError.DNS

    asyncio.run(go())


def test_a_hanging_look_up_delays_neither_others_nor_the_end(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """A name server that does not answer costs its own requests their time-out, and nobody else anything."""
    hanging = asyncio.Event()

    async def go() -> None:
        loop = asyncio.get_running_loop()

        def lookup(host: str, port: int, *_: object) -> list[Any]:
            if host == "fast.example":
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
            loop.call_soon_threadsafe(hanging.set)
            time.sleep(3600)
            return []

        async with listen() as receiver, open_sender(resolver=Resolver(lookup)) as sender:
            slow = [
                asyncio.create_task(sender.send(request_to(f"http://slow{number}.example/", timeout_ms=400)))
                for number in range(20)
            ]
            await hanging.wait()
            assert (await sender.send(request_to(f"http://fast.example:{receiver.port}/"))).status == 200
            assert not any(task.done() for task in slow)
            outcomes = await asyncio.gather(*slow, return_exceptions=True)
            assert {getattr(outcome, "error", outcome) for outcome in outcomes} == {AttemptError.TIMEOUT}

    asyncio.run(go())


def test_names_that_hang_leave_room_for_those_that_answer(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """More names hang than are looked up at a time, for longer than their attempts: others are found all the same."""

    async def go() -> None:
        ended = threading.Event()

        def lookup(host: str, port: int, *_: object) -> list[Any]:
            if host == "fast.example":
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
            ended.wait(60)
            return []

        async with listen() as receiver, open_sender(resolver=Resolver(lookup)) as sender:
            slow = [
                asyncio.create_task(sender.send(request_to(f"http://slow{number}.example/", timeout_ms=100)))
                for number in range(2 * LOOKUPS_MAX)
            ]
            await asyncio.gather(*slow, return_exceptions=True)
            answer = await sender.send(request_to(f"http://fast.example:{receiver.port}/", timeout_ms=5_000))
            ended.set()
            assert answer.status == 200

    asyncio.run(go())


def test_informational_answers_have_a_bound() -> None:
    """The bound is small enough to be no work and large enough for any honest receiver."""
    assert 2 <= INFORMATIONAL_MAX <= 64
