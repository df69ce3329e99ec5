"""Connections at their edges: what is left of one that ends, whatever its end was, and answers of old servers."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from reconciler.delivery.connection import HEAD_BYTES_KEPT, Connection
from reconciler.delivery.resolver import Resolver
from reconciler.errors import SendFailed
from reconciler.model.delivery import AttemptError
from reconciler.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.delivery.sender import HttpSender
    from reconciler.model.exchange import Request

    OpenSender = Callable[..., HttpSender]
    RequestTo = Callable[..., Request]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(answer: bytes, *, close: bool = True) -> Any:
    """A script: read a request, write the answer, close (or wait for the other side to do so)."""

    async def behave(receiver: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await receiver.receive(reader)
        writer.write(answer)
        if not close:
            await reader.read()

    return behave


async def pause(seconds: float) -> None:
    """Let real time pass."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), seconds)


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"], autouse=True)
def _loop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every scene on both loops."""
    monkeypatch.setattr(asyncio, "run", request.param)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx", b"HTTP/1.1 200 OK\r\n\r\nx", b"?", OK],
    ids=["nothing", "half-a-head", "half-a-body", "until-the-end", "garbage", "all"],
)
def test_nothing_is_kept_of_a_connection_that_has_ended(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, answer: bytes
) -> None:
    """A receiver that hangs up each time costs no memory that outlives its requests."""

    async def go() -> None:
        async with listen(answering(answer)) as receiver, open_sender() as sender:
            for _ in range(3):
                await asyncio.gather(sender.send(request_to(receiver.url)), return_exceptions=True)
                await pause(0.02)
            assert (len(sender._open), sender._idle) == (0, 0)

    asyncio.run(go())


def test_a_request_on_a_connection_that_has_ended_fails_at_once(listen: Any) -> None:
    """A receiver that hangs up before it is asked is not waited for until the time-out."""

    async def hang_up(receiver: Any, reader: Any, writer: Any) -> None:
        return

    async def go() -> None:
        async with listen(hang_up) as receiver:
            loop = asyncio.get_running_loop()
            lost = asyncio.Event()
            _, connection = await loop.create_connection(
                lambda: Connection(Outbox(), lambda _: None, lambda _: lost.set()), "127.0.0.1", receiver.port
            )
            await lost.wait()
            answer = connection.exchange(b"GET / HTTP/1.1\r\n\r\n", deadline_s=loop.time() + 60, timeout_ms=60_000)
            assert answer.done()
            error = answer.exception()
            assert isinstance(error, SendFailed)
            assert error.error == AttemptError.DISCONNECTED

    asyncio.run(go())


def test_an_answer_that_comes_before_its_request_leaves_no_request_behind() -> None:
    """What the receiver says first is taken as ever; the request has gone out once, before the connection is free."""

    class Line(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.written: list[bytes] = []

        def write(self, data: Any) -> None:
            self.written.append(data)

        def is_closing(self) -> bool:
            return False

        def get_write_buffer_size(self) -> int:
            return 0

    async def go() -> None:
        loop, line, freed = asyncio.get_running_loop(), Line(), []
        connection = Connection(Outbox(), lambda one: freed.append((one, list(line.written))), lambda _: None)
        connection.connection_made(line)
        answer = connection.exchange(b"request", deadline_s=loop.time() + 60, timeout_ms=60_000)
        connection.data_received(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert (await answer).status == 204
        assert freed == [(connection, [b"request"])]
        await asyncio.sleep(0)  # noqa: TID251 - a turn, at the end of which nothing more is written
        assert line.written == [b"request"]
        connection.connection_lost(None)

    asyncio.run(go())


def test_cancelling_after_the_answer_leaves_the_connection_to_the_next_request(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """Who is cancelled when the answer has come no longer owns the connection, and must not close it."""

    async def go() -> None:
        async with listen() as receiver, open_sender() as sender:
            task = asyncio.create_task(sender.send(request_to(receiver.url)))
            freed = sender._freed

            def free_and_cancel(connection: Connection) -> None:
                freed(connection)
                asyncio.get_running_loop().call_soon(task.cancel)

            sender._freed = free_and_cancel  # type: ignore[method-assign]
            with pytest.raises(asyncio.CancelledError):
                await task
            sender._freed = freed  # type: ignore[method-assign]
            await sender.send(request_to(receiver.url))
            assert receiver.connections == 1

    asyncio.run(go())


def test_a_closed_sender_keeps_no_connection(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """What was being dialled while the sender closed ends with its answer."""

    async def go() -> None:
        async with listen() as receiver:
            sender = open_sender()
            await sender.close()
            assert (await sender.send(request_to(receiver.url))).status == 200
            assert sender._idle == 0
            await receiver.until(lambda: receiver.open == 0)

    asyncio.run(go())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nX-Long: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX-Old: \xe9\x01\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nok\r\n0\r\n\r\n",
    ],
    ids=["bare-lf", "folded", "bytes", "padded-chunk"],
)
def test_an_answer_of_an_old_server_counts(
    listen: Any, open_sender: OpenSender, request_to: RequestTo, answer: bytes
) -> None:
    """A delivery that was handled is not sent again because the answer's form is out of date."""

    async def go() -> None:
        async with listen(answering(answer)) as receiver, open_sender() as sender:
            reply = await sender.send(request_to(receiver.url))
            assert (reply.status, reply.body) == (200, b"ok")

    asyncio.run(go())


def test_a_status_below_all_others_is_an_answer(listen: Any, open_sender: OpenSender, request_to: RequestTo) -> None:
    """It is a failed attempt, and not an informational answer after which another is waited for."""

    async def go() -> None:
        answer = b"HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nok"
        async with listen(answering(answer, close=False)) as receiver, open_sender() as sender:
            assert (await sender.send(request_to(receiver.url))).status == 99

    asyncio.run(go())


def test_many_short_headers_take_no_more_room_than_few_long_ones(
    listen: Any, open_sender: OpenSender, request_to: RequestTo
) -> None:
    """What is recorded of a head has about the size that the bound names."""

    async def go() -> None:
        answer = b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 16_000 + b"Content-Length: 0\r\n\r\n"
        async with listen(answering(answer)) as receiver, open_sender() as sender:
            reply = await sender.send(request_to(receiver.url))
            assert len(json.dumps(reply.headers, separators=(",", ":"))) < 2 * HEAD_BYTES_KEPT

    asyncio.run(go())


def test_a_zone_that_is_no_name_is_a_failed_look_up(open_sender: OpenSender, request_to: RequestTo) -> None:
    """An address that the system cannot read fails as a name that it does not know."""

    async def go() -> None:
        async with open_sender("fe80::/10") as sender:
            with pytest.raises(SendFailed) as caught:
                await sender.send(request_to(f"http://[fe80::1%25{'z' * 70}]:9/"))
            assert caught.value.error == AttemptError.DNS

    asyncio.run(go())


def test_a_look_up_that_finds_no_thread_fails_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without threads costs the attempts of that moment, and no name for good."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def go() -> None:
        resolver = Resolver(lambda *_: [])
        with monkeypatch.context() as without:
            without.setattr(threading.Thread, "start", refuse)
            for _ in range(100):
                with pytest.raises(OSError, match="no thread"):
                    await asyncio.wait_for(resolver.resolve("a.example", 80), 5)
        assert await resolver.resolve("a.example", 80) == []

    asyncio.run(go())
