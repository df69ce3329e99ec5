"""Reading request bodies within bounds, and refusing larger ones so that the client sees it.

How long a body may take is the server's business (`web.protocol`): a timer for each request would cost more than the
reading.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from reconciler.web.answers import Answer

__all__ = ["BodyTooLarge", "Disconnected", "declared_length", "header", "read_body", "refuse_body"]

DRAIN_S = 5.0
DRAIN_BYTES = 16 * 1024 * 1024
"""How much of a refused body is still read: closing on a client that is sending can cost it the answer."""


class BodyTooLarge(Exception):
    """The body is larger than the limit; nothing more of it has been read."""


class Disconnected(Exception):
    """The client went away before its body ended; there is nobody to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this lower-case name."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value
    return None


def declared_length(value: bytes | None) -> int:
    """What a Content-Length promises, 0 where it promises nothing that can be read."""
    return int(value) if value is not None and value.isdigit() else 0


async def read_body(receive: Receive, *, limit: int, declared: int) -> bytes:
    """The whole body, at most `limit` bytes; `declared` is what Content-Length promised, 0 if nothing."""
    if declared > limit:
        raise BodyTooLarge
    message = await receive()
    if message["type"] != "http.request":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise BodyTooLarge
        return body
    chunks = [body]
    size = len(body)
    while size <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise Disconnected
        chunk: bytes = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if not message.get("more_body", False):
            break
    if size > limit:
        raise BodyTooLarge
    return b"".join(chunks)


async def refuse_body(receive: Receive, send: Send, answer: Answer) -> None:
    """Answer at once, then read on within bounds before the response ends and the connection may close."""
    await send(answer.start)
    await send({**answer.body, "more_body": True})
    left = DRAIN_BYTES
    try:
        async with asyncio.timeout(DRAIN_S):
            while left > 0:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
                left -= len(message.get("body", b""))
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
