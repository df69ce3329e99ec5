"""A request without ASGI: its head and body come in, one answer goes out, and no task waits in between.

The two hot paths answer when a commit is done. For each request a scope, a queue of messages and a task that waits
would cost more than what is done for it. The plainest requests come this way (`web.protocol` says which), all others
to the same endpoints by ASGI.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from reconciler.web.answers import UNAVAILABLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.web.answers import Answer

__all__ = ["DirectRequest"]

log = structlog.get_logger(__name__)


class DirectRequest(RequestResponseCycle):
    """A request with a small body of known length. Who takes it sets `received`, or responds at once.

    To uvicorn it is one of its cycles, and one of its tasks: what a server waits for before it stops, and cuts off
    when it has waited long enough.

    `headers` have lower-case names. `received` gets the body; None if the client has gone before its end.
    """

    message_event = asyncio.Event()  # set by uvicorn, waited for by nobody
    disconnected = response_started = response_complete = False
    more_body = keep_alive = True
    received: Callable[[bytes | None], None] | None = None
    content = b""

    def __init__(
        self,
        method: str,
        headers: list[tuple[bytes, bytes]],
        path: bytes,
        write: Callable[[DirectRequest, Answer], None],
    ) -> None:
        self.method = method
        self.headers = headers
        self.path = path
        self._write = write

    def respond(self, answer: Answer) -> None:
        """Answer, unless that was done already."""
        if not self.response_complete:
            self.response_started = self.response_complete = True
            self._write(self, answer)

    def end(self, content: bytes | None) -> None:
        """The body is over, or has been given up."""
        received, self.received = self.received, None  # what it holds is likely to hold this: no cycle is to be left
        if received is not None:
            received(content)

    def cancel(self, msg: object = None) -> None:  # noqa: ARG002 - as tasks have it
        """The server stops and its patience has ended: whoever waits shall come back. What is stored stays so."""
        asyncio.get_running_loop().call_soon(self._cut_off)

    def _cut_off(self) -> None:
        if not self.response_complete:
            log.warning("request.cut-off")
            self.respond(UNAVAILABLE)
