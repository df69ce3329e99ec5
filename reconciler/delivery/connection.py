"""One HTTP/1.1 connection to a receiver: a request out as it stands, one bounded answer in.

llhttp, Node's parser, reads (by `httptools`). What an HTTP client would add (redirects, cookies, decompression, a
resend on a dropped connection) is what a webhook must not do, so there is nothing of it here.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httptools

from reconciler.errors import SendFailed
from reconciler.model.delivery import AttemptError
from reconciler.model.exchange import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.outbox import Outbox

__all__ = ["BODY_BYTES_KEPT", "BODY_BYTES_READ", "INFORMATIONAL_MAX", "Connection"]

BODY_BYTES_READ = 64 * 1024
"""An answer's body is read this far; then its connection is closed."""
BODY_BYTES_KEPT = 16 * 1024
HEAD_BYTES_KEPT = 16 * 1024
HEAD_BYTES_MAX = 64 * 1024
"""What an answer's head may have, informational answers before it included."""
FRAMING_BYTES_MAX = 1024 * 1024
"""What an answer may take on the wire: chunks of one byte that say more about themselves than they hold."""
INFORMATIONAL_MAX = 16

NOT_HTTP = "the answer is not HTTP"
NOT_FRAMED = "the answer's body is not framed as its headers say"

IDLE_S = 4.0
"""How long an unused connection is kept. Below the five seconds after which common servers (Node, uvicorn, Apache)
close theirs: a request on a connection that is just being closed is a failed attempt, since nothing is sent twice."""
_HEADER_EXTRA = len(": \r\n")
_SENT_AT_ONCE = 64 * 1024
"""TLS does not tell how much of a request has not left yet; what is no larger than this has, once it is answered."""
_TICK_S = 0.001
"""A loop's timers are no finer."""

_CONTINUE = 100
_SWITCHING_PROTOCOLS = 101
_OK = 200


class Connection(asyncio.Protocol):
    """Carries one request at a time. `freed` hears when it may carry the next, `lost` when it has ended.

    It has one timer, which is moved on only when it fires: a busy connection starts none for each request.
    """

    def __init__(
        self, outbox: Outbox, freed: Callable[[Connection], None], lost: Callable[[Connection], None]
    ) -> None:
        self._outbox = outbox
        self._freed = freed
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        # Servers that end lines with LF alone, or fold headers, have handled the delivery all the same.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport
        self._is_connected = False
        self._answer: asyncio.Future[Reply] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = self._deadline_s = 0.0
        self._timeout_ms = 0
        self._is_sealed = False
        self._is_large = False
        self._unsent = b""
        self._begin(is_bodiless=False)

    def _begin(self, *, is_bodiless: bool) -> None:
        """Forget the last answer."""
        self._is_bodiless = is_bodiless
        self._status = self._informational = self._body_bytes = self._wire_bytes = 0
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._in_body = self._is_complete = self._is_kept = False

    @property
    def is_usable(self) -> bool:
        """Whether a request may be tried on it."""
        return not self._transport.is_closing()

    def exchange(
        self, request: bytes, *, deadline_s: float, timeout_ms: int, is_bodiless: bool = False
    ) -> asyncio.Future[Reply]:
        """Send `request` and await its answer until `deadline_s` on the loop's clock, `timeout_ms` after it began.

        `is_bodiless` says that an answer has no body, whatever its head promises. Whoever stops waiting closes.
        """
        self._begin(is_bodiless=is_bodiless)
        self._timeout_ms = timeout_ms
        self._is_large = len(request) > _SENT_AT_ONCE
        self._answer = answer = self._loop.create_future()
        if self.is_usable:
            self._wait_until(deadline_s)
            self._unsent = request
            self._outbox.add(self)
        else:
            self._fail(AttemptError.DISCONNECTED, "the connection was closed before the request was sent")
        return answer

    def flush(self) -> None:
        """Write the request, if it still waits to be written."""
        request, self._unsent = self._unsent, b""
        if request and not self._transport.is_closing():
            self._transport.write(request)

    def close(self) -> None:
        """End it at once, with whatever is in it; nothing, if it has not begun."""
        if self._is_connected:
            self._transport.abort()

    # -- what the transport tells ----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # always one of these
        self._transport = transport
        self._is_connected = True
        self._is_sealed = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        if self._answer is None:  # nobody asked: it must not answer the next request
            self.close()
            return
        if self._unsent:
            self.flush()  # its answer came before it; it goes out all the same, or the next one would have to
        self._wire_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_kept = False
        except httptools.HttpParserError:
            if not self._is_complete:
                self._fail(AttemptError.PROTOCOL, NOT_FRAMED if self._in_body else NOT_HTTP)
                return
            self._is_kept = False
        if self._is_complete or self._body_bytes >= BODY_BYTES_READ:
            self._finish()
        elif self._informational > INFORMATIONAL_MAX:
            message = f"more than {INFORMATIONAL_MAX} informational answers and no final one"
            self._fail(AttemptError.PROTOCOL, message)
        elif self._wire_bytes > (FRAMING_BYTES_MAX if self._in_body else HEAD_BYTES_MAX):
            self._fail(AttemptError.PROTOCOL, "the answer has more framing than it may have")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._lost(self)
        if self._answer is None:
            return
        if self._in_body and exc is None and self._ends_with_connection():
            self._finish()
        else:
            what = "within the answer's body" if self._in_body else "before the answer was complete"
            self._fail(AttemptError.DISCONNECTED, f"the connection was closed {what}")

    def _ends_with_connection(self) -> bool:
        """Whether the answer's head has left it to the end of the connection where the body ends."""
        framing = {name.lower(): value.lower() for name, value in self._headers}
        coding = framing.get(b"transfer-encoding")
        return b"content-length" not in framing if coding is None else not coding.rstrip().endswith(b"chunked")

    # -- what the parser tells -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins: the expected one, or one too many."""
        if self._is_complete:
            self._is_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        if not self._in_body:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is over."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        if self._status >= _OK or self._status < _CONTINUE:
            self._in_body = True
            self._is_complete = self._is_bodiless
        elif self._status == _SWITCHING_PROTOCOLS:
            self._is_complete = True

    def on_body(self, chunk: bytes) -> None:
        """A piece of the body."""
        if self._body_bytes < BODY_BYTES_KEPT and not self._is_complete:
            self._body.append(chunk)
        self._body_bytes += len(chunk)

    def on_message_complete(self) -> None:
        """An answer is over; informational ones come before the one that counts."""
        if self._is_complete:
            return
        if self._in_body:
            self._is_complete = True
            self._is_kept = self._parser.should_keep_alive()
        else:
            self._informational += 1
            self._headers.clear()

    # -- how it ends -----------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Answer, and stay for the next request if nothing of this one is left on either side."""
        answer, self._answer = self._answer, None
        headers = _text(self._headers)
        if self._is_kept and self._is_all_sent:
            self._wait_until(self._loop.time() + IDLE_S)
            self._freed(self)
        else:
            self.close()
        if answer is not None and not answer.done():
            body = b"".join(self._body)[:BODY_BYTES_KEPT]
            answer.set_result(Reply(self._status, headers, body))

    @property
    def _is_all_sent(self) -> bool:
        return not (self._transport.get_write_buffer_size() or (self._is_sealed and self._is_large))

    def _fail(self, error: AttemptError, message: str) -> None:
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(SendFailed(error, message))

    def _wait_until(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        if self._timer is None or self._timer_s > deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer_s = self._deadline_s
        self._timer = self._loop.call_at(self._deadline_s, self._look_at_clock)

    def _look_at_clock(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline_s - _TICK_S:
            self._start_timer()
        elif self._answer is None:
            self.close()
        else:
            self._fail(AttemptError.TIMEOUT, f"no complete answer within {self._timeout_ms} ms")


def _text(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """The headers as text, as many as fit the bound."""
    kept = []
    room = HEAD_BYTES_KEPT
    for name, value in headers:
        room -= len(name) + len(value) + _HEADER_EXTRA
        if room < 0:
            break
        kept.append((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return tuple(kept)
