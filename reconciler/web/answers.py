"""Answers: prebuilt ASGI messages, JSON bodies and `application/problem+json` (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from reconciler.web.protocol import WIRE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from starlette.types import Message, Send

__all__ = ["Answer", "json_answer", "problem_answer", "send_answer"]

RETRY_AFTER_S = 2
"""What a client is asked to wait when the store cannot be written: a disk rarely recovers sooner."""

_JSON = b"application/json"
_PROBLEM = b"application/problem+json"


class Answer:
    """A complete response as the two messages that ASGI wants, built once and sent any number of times.

    `reason` is the code of a refusal: a closed set, fit for a metric's label. `whole` is the first message with the
    response as it goes over the wire, for a server that takes it from there (`web.protocol`).
    """

    __slots__ = ("body", "reason", "start", "whole")

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        content_type: bytes = _JSON,
        headers: Iterable[tuple[bytes, bytes]] = (),
        reason: str = "",
    ) -> None:
        self.reason = reason
        self.start: Message = {
            "type": "http.response.start",
            "status": int(status),
            "headers": [
                (b"content-type", content_type),
                (b"content-length", str(len(body)).encode("ascii")),
                *headers,
            ],
        }
        self.body: Message = {"type": "http.response.body", "body": body, "more_body": False}
        self.whole: Message = self.start
        if not any(name == b"connection" for name, _ in self.start["headers"]):  # the server has to act on that one
            lines = [
                STATUS_LINE[status],
                *(b"%b: %b\r\n" % header for header in self.start["headers"]),
                b"\r\n",
                body,
            ]
            self.whole = {**self.start, WIRE: b"".join(lines)}

    @property
    def status(self) -> int:
        """The HTTP status."""
        status: int = self.start["status"]
        return status


async def send_answer(send: Send, answer: Answer) -> None:
    """Send all of `answer`."""
    await send(answer.whole)
    await send(answer.body)


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
