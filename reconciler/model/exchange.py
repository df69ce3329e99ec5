"""One outbound HTTP exchange: what is sent, what comes back, and the one-method seam behind which it happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

__all__ = ["Reply", "Request", "Sender"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request, complete to the byte. `timeout_ms` covers DNS, connect, TLS, headers and body together.

    `url` is already encoded and is sent as it stands.
    """

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)
    timeout_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete answer. `body` is its start, at most 16 KiB; redirects come back as they are."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)


class Sender(Protocol):
    """Sends one request once: no redirect, no resend, no proxy, no cookie."""

    async def send(self, request: Request) -> Reply:
        """The answer, or EgressRefused before anything was sent, or SendFailed with its error class.

        Cancellation closes the connection.
        """
        ...
