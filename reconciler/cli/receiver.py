"""A small HTTP/1.1 server for `reconcile listen`: hands every complete request on and answers as told."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools

from reconciler.cli.verify import Received
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.clock import Clock

__all__ = ["BODY_BYTES_MAX", "Behaviour", "Receiver"]

BODY_BYTES_MAX = 16 * 1024 * 1024
_HEADER_BYTES_MAX = 256 * 1024
_READ_BYTES = 64 * 1024
_GRACE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """How requests are answered: `status` after `delay_ms`, or `first_status` to the first `fail_first` of them."""

    status: int = 200
    delay_ms: int = 0
    fail_first: int = 0
    first_status: int = 503

    def status_of(self, number: int) -> int:
        """The answer to the `number`-th request, from 1."""
        return self.first_status if number <= self.fail_first else self.status


class Receiver:
    """Counts requests over all connections and shows each to `received(number, request, status)` before answering.

    Once `enough` requests have been answered (None: never) it sets `stop`.
    """

    def __init__(
        self,
        *,
        behaviour: Behaviour,
        clock: Clock,
        stop: asyncio.Event,
        received: Callable[[int, Received, int], None],
        enough: int | None = None,
    ) -> None:
        self._behaviour = behaviour
        self._clock = clock
        self._stop = stop
        self._received = received
        self._enough = enough
        self._count = 0
        self._answered = 0
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def run(self, host: str, port: int, ready: Callable[[str], None]) -> None:
        """Serve until `stop` is set; `ready` is told the URL."""
        try:
            server = await asyncio.start_server(self._connected, host, port, limit=_READ_BYTES)
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else "no such address"
            raise UsageError(f"cannot listen on {host}:{port}: {reason}; choose another --host or --port") from error
        bound_host, bound_port = server.sockets[0].getsockname()[:2]
        ready(f"http://{f'[{bound_host}]' if ':' in bound_host else bound_host}:{bound_port}")
        try:
            await self._stop.wait()
        finally:
            server.close()
            await self._close_connections()

    async def _close_connections(self) -> None:
        """Let what was answered get out, then end every connection and wait for its task."""
        for writer in self._open.values():
            writer.close()
        if self._open:
            await asyncio.wait(self._open, timeout=_GRACE_S)
        for writer in self._open.values():
            writer.transport.abort()
        if self._open:
            await asyncio.wait(self._open)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Known before its first step: a connection that comes in at the very end must be ended, too.
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._open[task] = writer
        task.add_done_callback(self._open.pop)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parser = _Parser(writer)
        try:
            while data := await reader.read(_READ_BYTES):
                for request in parser.feed(data):
                    await self._answer(request, writer, keep_alive=parser.keep_alive)
                if parser.refused is not None:
                    await _write(writer, parser.refused, keep_alive=False)
                if parser.refused is not None or not parser.keep_alive:
                    return
        except ConnectionError:
            return
        finally:
            writer.close()

    async def _answer(self, request: Received, writer: asyncio.StreamWriter, *, keep_alive: bool) -> None:
        self._count += 1
        status = self._behaviour.status_of(self._count)
        self._received(self._count, request, status)
        if self._behaviour.delay_ms:
            await self._clock.wait(self._stop, self._behaviour.delay_ms / 1000)
        try:
            await _write(writer, status, keep_alive=keep_alive, head=request.method == "HEAD")
        finally:
            self._answered += 1
            if self._enough is not None and self._answered >= self._enough:
                self._stop.set()


@dataclass(slots=True)
class _Draft:
    """A request that is still arriving."""

    target: bytearray = field(default_factory=bytearray)
    headers: list[tuple[str, str]] = field(default_factory=list)
    header_bytes: int = 0
    body: bytearray = field(default_factory=bytearray)


class _Parser:
    """Bytes to requests. `refused` is the status that ends the connection, once something was wrong."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._parser = httptools.HttpRequestParser(self)
        self._draft = _Draft()
        self._complete: list[Received] = []
        self.keep_alive = True
        self.refused: int | None = None

    def feed(self, data: bytes) -> list[Received]:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.refused = HTTPStatus.BAD_REQUEST
        except httptools.HttpParserError:
            self.refused = self.refused or HTTPStatus.BAD_REQUEST
        complete, self._complete = self._complete, []
        return complete

    # -- called by the parser --------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._draft = _Draft()

    def on_url(self, url: bytes) -> None:
        self._draft.target += url
        self._bound_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._draft.headers.append((name.decode("latin-1"), (value or b"").decode("utf-8", "replace")))
        self._bound_head(len(name) + len(value or b""))

    def on_headers_complete(self) -> None:
        if any(name.lower() == "expect" for name, _ in self._draft.headers):
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._draft.body += body
        if len(self._draft.body) > BODY_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def on_message_complete(self) -> None:
        self.keep_alive = self._parser.should_keep_alive()
        self._complete.append(
            Received(
                method=self._parser.get_method().decode("ascii"),
                target=self._draft.target.decode("utf-8", "replace"),
                headers=tuple(self._draft.headers),
                body=bytes(self._draft.body),
            )
        )

    def _bound_head(self, count: int) -> None:
        self._draft.header_bytes += count
        if self._draft.header_bytes > _HEADER_BYTES_MAX:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _refuse(self, status: int) -> None:
        self.refused = status
        raise ValueError(f"refused with {status}")  # ends the feed; httptools wraps it in a parser error


async def _write(writer: asyncio.StreamWriter, status: int, *, keep_alive: bool, head: bool = False) -> None:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Status"
    bodiless = status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
    body = b"" if bodiless else b'{"received":true}'
    lines = [f"HTTP/1.1 {status} {phrase}", f"connection: {'keep-alive' if keep_alive else 'close'}"]
    if not bodiless:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + (b"" if head else body))
    await writer.drain()
