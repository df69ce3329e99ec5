"""uvicorn's HTTP protocol with the bounds it leaves out, and with a way around ASGI.

uvicorn waits for ever for a head or a body to end (slowloris), collects headers without limit, goes on reading the
body of a request that has been answered, drops a client that half-closes before it has its answer, and refuses a bad
request in place of answering the one before it. It also writes an answer's head and body apart, which costs a system
call here and a second read there, and starts a timer for each request on a kept connection. The hot path pays for
none of the bounds: a timer starts only where a read ended in the middle of something, and nothing that arrives later
restarts it; the one that ends an unused connection is moved on only when it fires.

An application that has a method `direct(path)` gets requests past ASGI, too: the method says who takes those with
this path, or None. They are the plainest, with everything about them known once their head is read; nothing is
decided otherwise for them than it is for all others.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reconciler.outbox import Outbox
from reconciler.web.body import declared_length
from reconciler.web.direct import DirectRequest

if TYPE_CHECKING:
    import asyncio
    from asyncio.events import TimerHandle
    from collections.abc import Callable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from reconciler.web.answers import Answer

__all__ = ["BoundedProtocol"]

HEAD_S = 10.0
"""How long a request's head may take to arrive, and a new connection to begin one."""
HEAD_BYTES_MAX = 64 * 1024
BODY_S = 30.0
"""How long a request's body may take to arrive, whether somebody still waits for it or not."""
STOPPING_BODY_S = 2.0
"""The same once the server stops."""
DIRECT_BODY_BYTES_MAX = 64 * 1024
"""A body that fits what a connection may hold unread; no larger one needs less than ASGI's flow control."""

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_OUTBOXES: WeakKeyDictionary[ServerState, Outbox] = WeakKeyDictionary()
"""One for all connections of a server."""


class _GatheringTransport:
    """A transport whose writes of one turn of the loop go out as one."""

    __slots__ = ("_outbox", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, outbox: Outbox) -> None:
        self._transport = transport
        self._outbox = outbox
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._outbox.add(self)
        self._waiting.append(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._waiting:
            gathered = b"".join(self._waiting)
            self._waiting.clear()
            if not self._transport.is_closing():  # uvloop raises where a client has gone in between
                self._transport.write(gathered)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Given to uvicorn as its `http` setting."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._gathering: _GatheringTransport
        self._timer: TimerHandle | None = None
        self._idle_timer: TimerHandle | None = None
        self._idle_since_s = 0.0
        self._in_head = False
        self._head_bytes = 0
        self._is_deaf = False
        self._taker: Callable[[bytes], Callable[[DirectRequest], None] | None] | None
        self._taker = getattr(self.app, "direct", None)
        self._taken: DirectRequest | None = None
        """The one whose body is being read."""
        self._concurrency_max = self.limit_concurrency or sys.maxsize

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        outbox = _OUTBOXES.setdefault(self.server_state, Outbox())
        self._gathering = _GatheringTransport(transport, outbox)
        super().connection_made(self._gathering)  # type: ignore[arg-type] # it has all that is used
        self._start(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)
        request, self._taken = self._taken, None
        if request is not None:
            self._forget(request)
            request.end(None)
        self.cycle = None  # type: ignore[assignment] # the last request refers to this: no cycle is to be left

    def eof_received(self) -> bool:  # type: ignore[override] # True keeps the transport open
        """A client that has said all it wants to say may still wait for its answer."""
        if self._ends_with_answer():
            return True
        self._gathering.flush()
        return False

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        before = self._cycle()
        in_body = before is not None and before.more_body
        super().data_received(data)
        if self._in_head:
            if self._cycle() is before and not in_body:  # otherwise requests before it took most of the data
                self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._in_head = False
                self._end(_HEAD_TOO_LARGE)
            elif self._timer is None:
                self._start(HEAD_S)
        elif self._timer is None:
            cycle = self._cycle()
            if cycle is not None and cycle.more_body:
                self._start(BODY_S)
            elif cycle is before and not in_body and (cycle is None or cycle.response_complete):
                self._start(HEAD_S)  # blank lines between requests

    def on_message_begin(self) -> None:
        self._in_head = True
        self.url, self.headers, self.expect_100_continue = b"", [], False

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop()
        if not self._go_directly():
            read = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()  # it makes the scope
            self.url, self.headers, self.expect_100_continue = read
            self.scope["headers"] = self.headers
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._taken is None:
            super().on_body(body)
        elif self._taken.received is not None:  # nothing is kept of what was refused on its head
            self._taken.content += body

    def on_message_complete(self) -> None:
        self._stop()
        request, self._taken = self._taken, None
        if request is None:
            super().on_message_complete()
            self.cycle.more_body = False  # uvicorn leaves it as it is once the request is answered
        else:
            request.more_body = False
            # The loop lets go of the interpreter after each read, and not between calls like this one: a thread that
            # waits for it would get it, and give it back, after every request.
            self.loop.call_soon(request.end, request.content)
            request.content = b""  # the connection keeps the request until the next one

    # -- the way around ASGI ---------------------------------------------------------------------------------

    def _go_directly(self) -> bool:
        """Give the request to whoever takes such a one, if there is somebody."""
        before = self._cycle()
        if self._taker is None or not self._is_plain() or (before is not None and not before.response_complete):
            return False
        path = self.url.partition(b"?")[0]
        take = self._taker(path)
        if take is None:
            return False
        method = self.parser.get_method().decode("ascii")
        self.cycle = self._taken = request = DirectRequest(method, self.headers, path, self._respond)
        self.tasks.add(request)  # type: ignore[arg-type] # it has what is asked of one
        take(request)
        return True

    def _is_plain(self) -> bool:
        """Whether nothing about the request asks for more than reading it and answering it."""
        parser = self.parser
        if (
            not parser.should_keep_alive()
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
            or parser.get_method() == b"HEAD"
            or self.expect_100_continue
            or self.flow.write_paused
            or max(len(self.connections), len(self.tasks)) >= self._concurrency_max
            or b"#" in self.url
        ):
            return False
        for name, value in self.headers:
            if name == b"transfer-encoding" or (
                name == b"content-length" and declared_length(value) > DIRECT_BODY_BYTES_MAX
            ):
                return False
        return True

    def _respond(self, request: DirectRequest, answer: Answer) -> None:
        self._forget(request)
        if request.disconnected:
            return
        wire, is_last = answer.wire, answer.is_last or not request.keep_alive
        if is_last and not answer.is_last:
            wire = wire.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
        self._gathering.write(wire)
        if is_last:
            self._gathering.close()
        self.on_response_complete()

    def _forget(self, request: DirectRequest) -> None:
        self.tasks.discard(request)

    # -- the ends of things ----------------------------------------------------------------------------------

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        if self._is_deaf:
            self._gathering.close()
            return
        self._idle_since_s = self.loop.time()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._end_idle)

    def _end_idle(self) -> None:
        self._idle_timer = None
        cycle = self._cycle()
        left_s = self._idle_since_s + self.timeout_keep_alive - self.loop.time()
        if self._in_head or (cycle is not None and not cycle.response_complete):
            return  # the end of this request begins anew
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._end_idle)
        else:
            self.timeout_keep_alive_handler()

    def shutdown(self) -> None:
        super().shutdown()
        cycle = self._cycle()
        if cycle is not None and cycle.more_body and not cycle.response_complete:
            self._stop()
            self._start(STOPPING_BODY_S)

    def _cycle(self) -> RequestResponseCycle | None:
        """The last request on this connection, which uvicorn's types claim to be there always."""
        return self.cycle

    def _start(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._give_up)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        cycle = self._cycle()
        is_waited_for = not self._in_head and cycle is not None and cycle.more_body and not cycle.response_started
        self._end(_TOO_SLOW if is_waited_for else b"")

    def _ends_with_answer(self) -> bool:
        """Whether a whole request waits for its answer; then nothing more is read, and its answer is the last."""
        cycle = self._cycle()
        if self._is_deaf or cycle is None or cycle.response_complete:
            return self._is_deaf
        if not cycle.more_body:
            cycle.keep_alive = False
        elif self.pipeline:
            self.pipeline.popleft()  # this one, which is not whole: those before it are
        else:
            return False
        self._is_deaf = True
        return True

    def send_400_response(self, msg: str) -> None:
        """As uvicorn has it, but never in place of the answer to a request before."""
        if not self._ends_with_answer():
            super().send_400_response(msg)

    def _end(self, last_words: bytes) -> None:
        if not self.transport.is_closing() and not self._ends_with_answer():
            self.transport.write(last_words)
            self.transport.close()
