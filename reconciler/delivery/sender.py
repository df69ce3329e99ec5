"""Requests out, over aiohttp's connections.

aiohttp's connector gives what is hard: pooled connections, TLS, name look-ups, racing of addresses, a parser in C.
Its `ClientSession` is left aside. What it adds (redirects, cookies, proxies, decompression, resending idempotent
methods on a dropped connection) is all unwanted here, and takes more than half of the time of a request. So this
module writes the request itself, every byte of it decided by the caller, and reads one answer.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

import aiohttp
from aiohttp.http_exceptions import ContentLengthError, HttpProcessingError, TransferEncodingError
from yarl import URL

from reconciler.delivery.resolver import ThreadResolver
from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.delivery import AttemptError
from reconciler.model.exchange import Reply

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import AddrInfoType, Connection
    from aiohttp.http import RawResponseMessage

    from reconciler.delivery.egress import EgressGuard
    from reconciler.model.exchange import Request

__all__ = ["BODY_BYTES_KEPT", "BODY_BYTES_READ", "AiohttpSender"]

BODY_BYTES_READ = 64 * 1024
"""An answer's body is read this far; then its connection is closed."""
BODY_BYTES_KEPT = 16 * 1024
HEAD_BYTES_KEPT = 16 * 1024
LINE_BYTES_MAX = 8190
HEADERS_MAX = 128
INFORMATIONAL_MAX = 16
"""Bounds on what a receiver may make us read before its final answer."""

CONNECTIONS_MAX = 4096
IDLE_S = 4.0
"""How long an unused connection is kept. Below the five seconds after which common servers (Node, uvicorn, Apache)
close theirs: a request on a connection that is just being closed is a failed attempt, since nothing is sent twice."""
DNS_TTL_S = 10
ORIGINS_KEPT = 4096

_URL = re.compile(r"(https?://[^/?#]*)([^#]*)", re.IGNORECASE)
_UNSAFE = re.compile(r"[^!-~]")
_ALL_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
_SWITCHING_PROTOCOLS = 101
_FINAL = 200
_CUT_SHORT = (ContentLengthError, TransferEncodingError, OSError)


class _DialRefused(OSError):
    """The guard's refusal inside the connector, which understands nothing but OSError."""


@dataclass(slots=True)
class _Dials:
    """What became of the addresses of one request: the first refusal, and whether any was dialled."""

    dialled: bool = False
    refusal: str | None = None


_dials: ContextVar[_Dials] = ContextVar("dials")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """Where requests with this scheme and authority go, prepared once.

    `target` is what the connector asks about a connection; it is never sent. `host` is the Host header line.
    """

    target: aiohttp.ClientRequest = field(repr=False)
    host: str
    authorization: str | None = field(repr=False)


class AiohttpSender:
    """The one way out: each request once, to an address that `guard` allows, within its time-out.

    A name's addresses are tried in turn; the refused ones among them are passed over, and the request is refused
    when there is no other. Use as `async with`, or call `close`.
    """

    def __init__(
        self, guard: EgressGuard, *, resolver: AbstractResolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._guard = guard
        self._resolver = resolver
        self._tls = tls
        self._origins: dict[str, _Origin] = {}
        self._connector: aiohttp.TCPConnector | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Calling it again does nothing."""
        if self._connector is not None:
            await self._connector.close()

    async def send(self, request: Request) -> Reply:
        connector = self._connector or self._open_connector()
        origin, head = self._head(request)
        dials = _Dials()
        _dials.set(dials)
        try:
            async with asyncio.timeout(request.timeout_ms / 1000):
                connection = await self._connect(connector, origin, dials)
                try:
                    return await _exchange(connection, head + request.body)
                except BaseException:
                    connection.close()
                    raise
        except TimeoutError:
            raise SendFailed(AttemptError.TIMEOUT, f"no complete answer within {request.timeout_ms} ms") from None
        except aiohttp.ClientConnectorError as error:
            if dials.refusal is not None and not dials.dialled:
                raise EgressRefused(dials.refusal) from None
            raise _failed(error) from None
        except aiohttp.InvalidURL as error:
            raise EgressRefused("the host is a number that is not written as an IP address") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError) as error:
            raise _failed(error) from None

    # -- connecting ------------------------------------------------------------------------------------------

    def _open_connector(self) -> aiohttp.TCPConnector:
        """Made with the first request, because it belongs to the loop that runs then."""
        self._connector = aiohttp.TCPConnector(
            resolver=self._resolver or ThreadResolver(),
            socket_factory=self._open_socket,
            ssl=self._tls or True,
            limit=CONNECTIONS_MAX,
            keepalive_timeout=IDLE_S,
            ttl_dns_cache=DNS_TTL_S,
        )
        return self._connector

    async def _connect(self, connector: aiohttp.TCPConnector, origin: _Origin, dials: _Dials) -> Connection:
        while True:
            connection = await connector.connect(origin.target, traces=[], timeout=_NO_TIMEOUT)
            protocol = connection.protocol
            # A kept connection on which something came while nobody had asked must not answer the next question.
            if dials.dialled or (protocol is not None and not protocol.should_close):
                return connection
            connection.close()

    def _open_socket(self, info: AddrInfoType) -> socket.socket:
        dials = _dials.get()
        try:
            self._guard.check(str(info[4][0]))
        except EgressRefused as error:
            dials.refusal = dials.refusal or error.message
            raise _DialRefused(error.message) from None
        dials.dialled = True
        opened = socket.socket(info[0], info[1], info[2])
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened

    # -- the request's head ----------------------------------------------------------------------------------

    def _head(self, request: Request) -> tuple[_Origin, bytes]:
        match = _URL.match(request.url)
        if match is None:
            raise EgressRefused("only http:// and https:// URLs are sent to")
        origin = self._origins.get(match[1]) or self._new_origin(match[1])
        target = match[2]
        if _UNSAFE.search(target):
            target = quote(target, safe=_ALL_PRINTABLE)
        if not target.startswith("/"):
            target = "/" + target
        lines = [
            f"{request.method} {target} HTTP/1.1",
            origin.host,
            f"Content-Length: {len(request.body)}",
            *[f"{name}: {value}" for name, value in request.headers],
        ]
        if origin.authorization and not any(name.lower() == "authorization" for name, _ in request.headers):
            lines.append(origin.authorization)
        head = "\n".join(lines)
        if head.count("\n") >= len(lines) or "\r" in head or "\0" in head:
            raise SendFailed(AttemptError.UNRENDERABLE, "the request's head holds a control character")
        return origin, head.replace("\n", "\r\n").encode() + b"\r\n\r\n"

    def _new_origin(self, text: str) -> _Origin:
        try:
            url = URL(text)
            host = url.host_port_subcomponent
            target = aiohttp.ClientRequest("POST", url.with_user(None), loop=asyncio.get_running_loop())
        except (ValueError, aiohttp.InvalidURL):
            raise EgressRefused("the URL's host or port cannot be understood") from None
        authorization = None
        if url.user is not None or url.password is not None:
            credentials = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode("ascii")
            authorization = f"Authorization: Basic {credentials}"
        origin = _Origin(target=target, host=f"Host: {host}", authorization=authorization)
        if len(self._origins) >= ORIGINS_KEPT:
            del self._origins[next(iter(self._origins))]
        self._origins[text] = origin
        return origin


async def _exchange(connection: Connection, request: bytes) -> Reply:
    protocol, transport = connection.protocol, connection.transport
    if protocol is None or transport is None or transport.is_closing():
        raise SendFailed(AttemptError.DISCONNECTED, "the connection was closed before the request was sent")
    protocol.set_response_params(
        timer=None,
        read_until_eof=True,
        auto_decompress=False,
        read_bufsize=BODY_BYTES_READ,
        max_line_size=LINE_BYTES_MAX,
        max_field_size=LINE_BYTES_MAX,
        max_headers=HEADERS_MAX,
    )
    transport.write(request)
    message, payload = await _final_answer(protocol)
    body = b""
    read = 0
    while not payload.at_eof() and read < BODY_BYTES_READ:
        chunk = await payload.readany()
        read += len(chunk)
        if len(body) < BODY_BYTES_KEPT:
            body += chunk[: BODY_BYTES_KEPT - len(body)]
    if payload.at_eof() and message.code != _SWITCHING_PROTOCOLS and not transport.get_write_buffer_size():
        connection.release()
    else:
        connection.close()
    return Reply(status=message.code, headers=_kept(message.raw_headers), body=body)


async def _final_answer(protocol: ResponseHandler) -> tuple[RawResponseMessage, aiohttp.StreamReader]:
    for _ in range(INFORMATIONAL_MAX):
        message, payload = await protocol.read()
        if message.code >= _FINAL or message.code == _SWITCHING_PROTOCOLS:
            return message, payload
    raise SendFailed(AttemptError.PROTOCOL, f"more than {INFORMATIONAL_MAX} informational answers and no final one")


def _kept(headers: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[str, str], ...]:
    """The headers as text, as many as fit the bound."""
    kept = []
    room = HEAD_BYTES_KEPT
    for name, value in headers:
        room -= len(name) + len(value)
        if room < 0:
            break
        kept.append((name.decode("utf-8", "replace"), value.decode("utf-8", "replace")))
    return tuple(kept)


def _failed(error: Exception) -> SendFailed:
    """What went wrong, by class, in words that hold neither the URL's path nor anything the receiver sent."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            kind, what = AttemptError.DNS, f"the host name was not resolved: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorCertificateError():
            kind, what = AttemptError.TLS, f"certificate not accepted: {_reason(error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError():
            kind, what = AttemptError.TLS, f"TLS failed: {_reason(error.os_error)}"
        case aiohttp.ClientConnectorError():
            kind, what = AttemptError.CONNECT, f"no connection: {_reason(error.os_error)}"
        case HttpProcessingError():
            kind, what = AttemptError.PROTOCOL, "the answer is not HTTP"
        case aiohttp.ClientPayloadError() if isinstance(error.__cause__, _CUT_SHORT):
            kind, what = AttemptError.DISCONNECTED, "the connection was closed within the answer's body"
        case aiohttp.ClientPayloadError():
            kind, what = AttemptError.PROTOCOL, "the answer's body is not framed as its headers say"
        case ssl.SSLError():
            kind, what = AttemptError.TLS, f"TLS failed: {_reason(error)}"
        case OSError():
            kind, what = AttemptError.DISCONNECTED, f"the connection broke: {_reason(error)}"
        case _:
            kind, what = AttemptError.DISCONNECTED, "the connection was closed before the answer was complete"
    return SendFailed(kind, what)


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return error.verify_message
        case ssl.SSLError():
            return error.reason or "handshake failed"
        case socket.gaierror():
            return error.strerror or "no such name"
        case OSError() if error.errno:
            return os.strerror(error.errno)
        case _:
            return str(error) or error.__class__.__name__
