"""Requests out: each once, to an address that the egress guard allows, over connections that are kept.

Every byte of a request is decided by its caller; a Host and a Content-Length are all that is added here.
"""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from yarl import URL

from reconciler.delivery.connection import Connection
from reconciler.delivery.dial import Authority, Dialler
from reconciler.delivery.resolver import Resolver
from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.delivery import AttemptError
from reconciler.outbox import Outbox

if TYPE_CHECKING:
    import ssl

    from reconciler.delivery.egress import EgressGuard
    from reconciler.model.exchange import Reply, Request

__all__ = ["HttpSender"]

IDLE_MAX = 2048
"""Unused connections, over all receivers."""
ORIGINS_KEPT = 4096

_URL = re.compile(r"(https?://[^/?#]*)([^#]*)", re.IGNORECASE)
_UNSAFE = re.compile(r"[^!-~]")
_ALL_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_IPV4 = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!$)|$)){4}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Origin:
    """Where requests with this scheme and authority go, prepared once, and the connections there that are unused.

    `host` and `authorization` are header lines.
    """

    authority: Authority
    host: str
    authorization: str | None = field(repr=False)
    idle: list[Connection] = field(default_factory=list)


class HttpSender:
    """The one way out. Use as `async with`, or call `close`.

    A name's addresses are tried in turn; the refused ones among them are passed over, and the request is refused
    when there is no other.
    """

    def __init__(
        self, guard: EgressGuard, *, resolver: Resolver | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._dialler = Dialler(guard, resolver or Resolver(), tls)
        self._origins: dict[str, _Origin] = {}
        self._open: dict[Connection, _Origin] = {}
        self._outbox = Outbox()
        self._idle = 0
        self._is_closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection, and keep none from now on. Calling it again does nothing."""
        self._is_closed = True
        for connection in tuple(self._open):
            connection.close()
        await asyncio.sleep(0)  # noqa: TID251 - no time passes; the transports have a turn to let go of their sockets

    async def send(self, request: Request) -> Reply:
        origin, head = self._head(request)
        deadline_s = asyncio.get_running_loop().time() + request.timeout_ms / 1000
        connection = self._take_idle(origin) or await self._dial(origin, deadline_s, request.timeout_ms)
        answer = connection.exchange(
            head + request.body,
            deadline_s=deadline_s,
            timeout_ms=request.timeout_ms,
            is_bodiless=request.method == "HEAD",
        )
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.cancelled():  # otherwise it had come, and the connection may carry somebody else's request
                connection.close()
            raise
        finally:
            del answer  # its error refers to this frame: no cycle is to be left

    # -- connections -----------------------------------------------------------------------------------------

    def _take_idle(self, origin: _Origin) -> Connection | None:
        """The unused connection that was used last."""
        while origin.idle:
            connection = origin.idle.pop()
            self._idle -= 1
            if connection.is_usable:
                return connection
        return None

    async def _dial(self, origin: _Origin, deadline_s: float, timeout_ms: int) -> Connection:
        try:
            async with asyncio.timeout_at(deadline_s):
                connection = await self._dialler.dial(origin.authority, self._new_connection)
        except TimeoutError:
            message = f"no connection, and so no answer, within {timeout_ms} ms"
            raise SendFailed(AttemptError.TIMEOUT, message) from None
        if connection.is_usable:  # nobody will tell of one that ended before this
            self._open[connection] = origin
        return connection

    def _new_connection(self) -> Connection:
        return Connection(self._outbox, self._freed, self._lost)

    def _freed(self, connection: Connection) -> None:
        if self._is_closed or self._idle >= IDLE_MAX:
            connection.close()
            return
        self._idle += 1
        self._open[connection].idle.append(connection)

    def _lost(self, connection: Connection) -> None:
        origin = self._open.pop(connection, None)
        if origin is not None and connection in origin.idle:
            origin.idle.remove(connection)
            self._idle -= 1

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
        lines += ("", "")
        head = "\r\n".join(lines)
        breaks = len(lines) - 1
        if head.count("\n") != breaks or head.count("\r") != breaks or "\0" in head:
            raise SendFailed(AttemptError.UNRENDERABLE, "the request's head holds a control character")
        return origin, head.encode()

    def _new_origin(self, text: str) -> _Origin:
        origin = _origin(text)
        if len(self._origins) >= ORIGINS_KEPT:
            del self._origins[next(iter(self._origins))]
        self._origins[text] = origin
        return origin


def _origin(text: str) -> _Origin:
    """What scheme and authority say, as yarl understands them."""
    try:
        url = URL(text)
        host, port = url.raw_host or "", url.port or 0
    except ValueError:
        url, host, port = URL(), "", 0
    if not (host and port):
        raise EgressRefused("the URL's host or port cannot be understood")
    host = host.replace("%25", "%")  # what stands before an IPv6 zone in a URL (RFC 6874)
    is_numeric = ":" in host or _IPV4.fullmatch(host) is not None
    # What ends in a number is an IPv4 address to browsers and to the system, however it is written.
    if not is_numeric and _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
        raise EgressRefused("the host is a number that is not written as an IP address")
    authorization = None
    if url.user is not None or url.password is not None:
        credentials = base64.b64encode(f"{url.user or ''}:{url.password or ''}".encode()).decode("ascii")
        authorization = f"Authorization: Basic {credentials}"
    return _Origin(
        authority=Authority(host, port, is_numeric, url.scheme == "https"),
        host=f"Host: {url.host_port_subcomponent}",
        authorization=authorization,
    )
