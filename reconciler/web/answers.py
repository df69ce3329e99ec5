"""Answers: JSON bodies and `application/problem+json` (RFC 9457), to be sent in either of two ways."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Message, Send

__all__ = ["Answer", "json_answer", "problem_answer", "resolve", "send_answer"]

RETRY_AFTER_S = 2
"""What a client is asked to wait when the store cannot be written: a disk rarely recovers sooner."""

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"


class Answer:
    """A complete response: as ASGI messages for one way to answer, as bytes for the other.

    `reason` is the code of a refusal: a closed set, fit for a metric's label. `is_last` says that the connection ends
    with it.
    """

    __slots__ = ("_headers", "_wire", "content", "is_last", "reason", "status")

    def __init__(
        self,
        status: int,
        content: bytes,
        *,
        content_type: bytes = _JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
        reason: str = "",
    ) -> None:
        self.status = int(status)
        self.content = content
        self.reason = reason
        self._headers = ((b"content-type", content_type), (b"content-length", b"%d" % len(content)), *headers)
        self.is_last = (b"connection", b"close") in self._headers
        self._wire: bytes | None = None

    @property
    def start(self) -> Message:
        """The first message."""
        return {"type": "http.response.start", "status": self.status, "headers": [*self._headers]}

    @property
    def body(self) -> Message:
        """The second and last message."""
        return {"type": "http.response.body", "body": self.content, "more_body": False}

    @property
    def wire(self) -> bytes:
        """What goes over an HTTP/1.1 connection, made once."""
        if self._wire is None:
            fields = b"".join([b"%b: %b\r\n" % field for field in self._headers])
            self._wire = b"%b%b\r\n%b" % (STATUS_LINE[self.status], fields, self.content)
        return self._wire


async def send_answer(send: Send, answer: Answer) -> None:
    """Send all of `answer`."""
    await send(answer.start)
    await send(answer.body)


def resolve(waiting: asyncio.Future[Answer], answer: Answer) -> None:
    """Answer to who waits for one, if it still does."""
    if not waiting.done():
        waiting.set_result(answer)


def json_answer(value: object, status: int = HTTPStatus.OK) -> Answer:
    """`value` as compact JSON."""
    return Answer(status, orjson.dumps(value))


def problem_answer(
    status: int,
    code: str,
    detail: str,
    *,
    problems: Sequence[Mapping[str, Any]] = (),
    headers: Iterable[tuple[bytes, bytes]] = (),
    extra: Mapping[str, Any] | None = None,
) -> Answer:
    """A refusal: `code` for programs, `detail` for people, `problems` where there are several causes."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
    }
    if problems:
        body["problems"] = list(problems)
    if extra:
        body.update(extra)
    return Answer(status, orjson.dumps(body), content_type=_PROBLEM, headers=headers, reason=code)


UNAVAILABLE = problem_answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "store-unavailable",
    "nothing was stored; try again",
    headers=[(b"retry-after", str(RETRY_AFTER_S).encode("ascii"))],
)
INTERNAL = problem_answer(
    HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "an unexpected error; the daemon's log says more"
)
NOT_FOUND = problem_answer(HTTPStatus.NOT_FOUND, "not-found", "there is nothing at this path")
