"""uvicorn's HTTP protocol with the bounds it leaves out, and with one write an answer.

uvicorn waits for ever for a head or a body to end (slowloris), collects headers without limit, goes on reading the
body of a request that has been answered, and drops a client that half-closes before it has its answer. It also
writes an answer's head and body apart, which costs a system call here and a second read there, and starts a timer
for each request on a kept connection. The hot path pays for none of the bounds: a timer starts only where a read
ended in the middle of something, and nothing that arrives later restarts it; the one that ends an unused connection
is moved on only when it fires.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

if TYPE_CHECKING:
    import asyncio
    from asyncio.events import TimerHandle


__all__ = ["WIRE", "BoundedProtocol"]

WIRE = "reconciler.wire"
"""Under this key a first message may hold its whole response as bytes, body included, made once for all times."""

HEAD_S = 10.0
"""How long a request's head may take to arrive, and a new connection to begin one."""
HEAD_BYTES_MAX = 64 * 1024
BODY_S = 30.0
"""How long a request's body may take to arrive, whether somebody still waits for it or not."""
STOPPING_BODY_S = 2.0
"""The same once the server stops."""

_HEAD_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _GatheringTransport:
    """A transport whose writes of one turn of the loop go out together."""

    __slots__ = ("_call_soon", "_transport", "_waiting")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._waiting:
            self._call_soon(self.flush)
        self._waiting.append(data)

    def write_at_once(self, data: bytes) -> None:
        """Write what nothing follows."""
        self.flush()
        if not self._transport.is_closing():
            self._transport.write(data)

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


class _Cycle(RequestResponseCycle):
    """uvicorn's, with a short way for responses that are bytes already."""

    is_whole = False

    async def send(self, message: Any) -> None:
        if self.is_whole:  # its body went with it
            return
        wire = message.get(WIRE)
        if wire is None or not self.keep_alive or self.flow.write_paused or self.scope["method"] == "HEAD":
            await super().send(message)
            return
        self.is_whole = True
        if not self.disconnected:
            self.response_started = self.response_complete = True
            self.waiting_for_100_continue = False
            self.message_event.set()
            self.transport.write_at_once(wire)  # type: ignore[attr-defined] # it is a _GatheringTransport
            self.on_response()


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

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        self._gathering = _GatheringTransport(transport, self.loop)
        super().connection_made(self._gathering)  # type: ignore[arg-type] # it has all that is used
        self._start(HEAD_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # True keeps the transport open
        """A client that has said all it wants to say may still wait for its answer."""
        cycle = self._cycle()
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            cycle.keep_alive = False
            return True
        self._gathering.flush()
        return False

    def data_received(self, data: bytes) -> None:
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
            elif cycle is None or cycle.response_complete:  # blank lines between requests
                self._start(HEAD_S)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        cycle.__class__ = _Cycle  # uvicorn does not ask which to make
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """As uvicorn has it, but for the timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
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

    def _end(self, last_words: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(last_words)
            self.transport.close()
