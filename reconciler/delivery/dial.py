"""A new connection: the name looked up, each address judged, the allowed ones tried in turn, TLS on top.

The guard judges the very socket addresses that are then dialled; no name is looked up in between.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from aiohappyeyeballs import start_connection

from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.delivery import AttemptError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.delivery.connection import Connection
    from reconciler.delivery.egress import EgressGuard
    from reconciler.delivery.resolver import AddressInfo, Resolver

__all__ = ["Authority", "Dialler", "tls_context"]

ATTEMPT_DELAY_S = 0.25
"""How long one address has before the next is tried beside it (RFC 8305, section 5)."""


class Authority(NamedTuple):
    """Whom to dial: `host` is a name in ASCII, or an IP address where it `is_numeric`."""

    host: str
    port: int
    is_numeric: bool
    is_tls: bool


def tls_context() -> ssl.SSLContext:
    """Certificates are checked against the system's authorities, and HTTP/1.1 is all we speak."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


class Dialler:
    """Opens connections to addresses that `guard` allows, and to no other."""

    def __init__(self, guard: EgressGuard, resolver: Resolver, tls: ssl.SSLContext | None) -> None:
        self._guard = guard
        self._resolver = resolver
        self._tls = tls

    async def dial(self, to: Authority, make: Callable[[], Connection]) -> Connection:
        """A connection to the first allowed address that answers. Raises EgressRefused, SendFailed."""
        addresses = self._allowed(await self._addresses(to))
        try:
            opened = await start_connection(addresses, happy_eyeballs_delay=ATTEMPT_DELAY_S, interleave=1)
        except (OSError, RuntimeError) as error:  # uvloop has both
            raise SendFailed(AttemptError.CONNECT, f"no connection: {_reason(error)}") from None
        return await self._take_over(opened, to, make())

    async def _addresses(self, to: Authority) -> Sequence[AddressInfo]:
        try:
            if to.is_numeric:
                self._guard.check(to.host)
                return socket.getaddrinfo(to.host, to.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            return await self._resolver.resolve(to.host, to.port)
        except OSError as error:
            raise SendFailed(AttemptError.DNS, f"the host name was not resolved: {_reason(error)}") from None
        except UnicodeError:  # an IPv6 zone that is no name
            raise SendFailed(AttemptError.DNS, "the host name was not resolved: not an address") from None

    def _allowed(self, addresses: Sequence[AddressInfo]) -> Sequence[AddressInfo]:
        """Those that may be dialled; refused with the first one's reason where there is none."""
        allowed, refusal = [], None
        for address in addresses:
            try:
                self._guard.check(str(address[4][0]))
            except EgressRefused as error:
                refusal = refusal or error
            else:
                allowed.append(address)
        if allowed:
            return allowed
        raise refusal or SendFailed(AttemptError.DNS, "the host name has no address")

    async def _take_over(self, opened: socket.socket, to: Authority, connection: Connection) -> Connection:
        """Have the loop carry `connection` over a socket: from then on its transport closes it, and nobody else.

        A socket that is closed under its transport leaves the transport a number that may soon be another socket's.
        """
        is_taken = False
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if to.is_tls and self._tls is None:
                self._tls = tls_context()
            taking = asyncio.get_running_loop().create_connection(
                lambda: connection,
                sock=opened,
                ssl=self._tls if to.is_tls else None,
                # A name's last dot is for resolvers; certificates are made out without it.
                server_hostname=to.host.rstrip(".") if to.is_tls else None,
            )
            is_taken = True
            await taking
        except BaseException as error:
            (connection if is_taken else opened).close()
            if isinstance(error, OSError):
                raise _failed(error) from None
            raise
        return connection


def _failed(error: OSError) -> SendFailed:
    """What it means that a connection was not set up on a socket that was connected."""
    match error:
        case ssl.SSLCertVerificationError():
            return SendFailed(AttemptError.TLS, f"certificate not accepted: {_reason(error)}")
        case ssl.SSLError():
            return SendFailed(AttemptError.TLS, f"TLS failed: {_reason(error)}")
        case _:
            return SendFailed(AttemptError.CONNECT, f"no connection: {_reason(error)}")


def _reason(error: Exception) -> str:
    """What went wrong, in words that hold nothing the receiver sent."""
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
