"""One outbound HTTP exchange: what is sent, what comes back, and the one-method seam behind which it happens."""

from __future__ import annotations

from typing import NamedTuple, Protocol

__all__ = ["Reply", "Request", "Sender"]


class Request(NamedTuple):
    """A request, complete to the byte. `timeout_ms` covers DNS, connect, TLS, headers and body together.

    `url` is already encoded and is sent as it stands.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    timeout_ms: int

    def __repr__(self) -> str:
        """Nothing that a customer or a secret has a part in."""
        return f"Request(method={self.method!r}, timeout_ms={self.timeout_ms})"


class Reply(NamedTuple):
    """A complete answer. `body` is its start, at most 16 KiB; redirects come back as they are."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __repr__(self) -> str:
        """The status alone: receivers echo what they were sent."""
        return f"Reply(status={self.status})"


class Sender(Protocol):
    """Sends one request once: no redirect, no resend, no proxy, no cookie."""

    async def send(self, request: Request) -> Reply:
        """The answer, or EgressRefused before anything was sent, or SendFailed with its error class.

        Cancellation closes the connection.
        """
        ...
