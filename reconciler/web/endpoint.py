"""One operation over HTTP: token first, then method, then body, then the handler; whatever happens, one answer.

Handlers take a `Call` and return an `Answer`, or raise: errors of `reconciler.errors` become problems here and only
here, anything else a 500 that tells the log and nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
import structlog
from starlette.datastructures import QueryParams

from reconciler.config.report import as_objects
from reconciler.errors import (
    ConfigurationInvalid,
    GuardRefused,
    PlanStale,
    ReconcilerError,
    SnapshotMoved,
    StateUnreadable,
    StoreLocked,
    StoreUnavailable,
    UnknownAddress,
    UsageError,
)
from reconciler.web.answers import (
    INTERNAL,
    UNAVAILABLE,
    Answer,
    problem_answer,
    send_answer,
)
from reconciler.web.body import (
    BodyTooLarge,
    Disconnected,
    declared_length,
    header,
    read_body,
    refuse_body,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from starlette.types import Receive, Scope, Send

    from reconciler.web.access import Access
    from reconciler.web.access import Scope as TokenScope

__all__ = ["Call", "Endpoint", "Handler", "Refused"]

BODY_BYTES_MAX = 1024 * 1024

TOO_LARGE = problem_answer(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-large",
    "the body is larger than this operation takes",
    headers=[(b"connection", b"close")],
)

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A handler's refusal, with the answer that says why."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a handler is asked. `path` holds the path's parameters."""

    path: Mapping[str, str]
    query: QueryParams
    content_type: str
    body: bytes = field(repr=False)

    def parameters(self, known: Collection[str]) -> QueryParams:
        """The query, refused if it has a key that is not known: a filter with a typo would match too much."""
        unknown = sorted(set(self.query) - set(known))
        if unknown:
            raise _invalid([_problem(f"?{name[:40]}", "unknown", _known(known)) for name in unknown])
        return self.query

    def document(self, known: Collection[str] | None = None) -> dict[str, Any]:
        """The body as a JSON object, empty for no body; refused if it has a key that is not known."""
        if not self.body.strip():
            return {}
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise _invalid([_problem("", "malformed-json", "the body is not JSON")]) from None
        if not isinstance(value, dict):
            raise _invalid([_problem("", "wrong-type", "the body is a JSON object")])
        if known is not None and (unknown := sorted(set(value) - set(known))):
            raise _invalid([_problem(f"/{name[:40]}", "unknown", _known(known)) for name in unknown])
        return value


Handler: TypeAlias = "Callable[[Call], Awaitable[Answer]]"


class Endpoint:
    """An ASGI application for one path. `scope` None asks for no token."""

    def __init__(
        self,
        access: Access,
        scope: TokenScope | None,
        method: str,
        handler: Handler,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
    ) -> None:
        self._access = access
        self.scope = scope
        self.method = method
        self._handler = handler
        self._body_bytes_max = body_bytes_max
        methods = "GET, HEAD" if method == "GET" else method
        self._wrong_method = problem_answer(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "method-not-allowed",
            f"this path takes {methods}",
            headers=[(b"allow", methods.encode("ascii"))],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._refusal(scope)
        if answer is None:
            try:
                answer = await self._answer(scope, receive)
            except BodyTooLarge:
                log.debug("request", method=scope["method"], path=scope["path"], status=TOO_LARGE.status)
                await refuse_body(receive, send, TOO_LARGE)
                return
            except Disconnected:
                return
        log.debug("request", method=scope["method"], path=scope["path"], status=answer.status)
        await send_answer(send, answer)

    def _refusal(self, scope: Scope) -> Answer | None:
        if self.scope is not None:
            refusal = self._access.refusal(header(scope, b"authorization"), self.scope)
            if refusal is not None:
                return refusal
        method = scope["method"]
        if method == self.method or (method == "HEAD" and self.method == "GET"):
            return None
        return self._wrong_method

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        try:
            declared = declared_length(header(scope, b"content-length"))
            call = Call(
                path=scope["path_params"],
                query=QueryParams(scope["query_string"]),
                content_type=(header(scope, b"content-type") or b"").decode("latin-1"),
                body=await read_body(receive, limit=self._body_bytes_max, declared=declared),
            )
            return await self._handler(call)
        except (BodyTooLarge, Disconnected):
            raise
        except Refused as error:
            return error.answer
        except ReconcilerError as error:
            return _translated(error)
        except Exception:
            log.exception("web.unexpected", path=scope["path"])
            return INTERNAL


def refused_parameter(pointer: str, message: str, code: str = "invalid") -> Refused:
    """A refusal of one parameter: `?name` of the query, `/name` of the body."""
    return _invalid([_problem(pointer, code, message)])


_STATUS = {
    ConfigurationInvalid: HTTPStatus.UNPROCESSABLE_ENTITY,
    UnknownAddress: HTTPStatus.NOT_FOUND,
    UsageError: HTTPStatus.UNPROCESSABLE_ENTITY,
    PlanStale: HTTPStatus.CONFLICT,
    GuardRefused: HTTPStatus.CONFLICT,
    StateUnreadable: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Errors whose message goes out: it was written for people and holds no secret."""
_PASSING = (StoreUnavailable, SnapshotMoved, StoreLocked)


def _translated(error: ReconcilerError) -> Answer:
    """An error as a problem; `exit` is what a command that met it ends in."""
    if isinstance(error, _PASSING):
        log.warning("web.unavailable", code=error.code, reason=error.message)
        return UNAVAILABLE
    status = _STATUS.get(type(error))
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("web.failed", code=error.code, reason=error.message)
    if status is None:
        return INTERNAL
    problems = as_objects(error.problems) if isinstance(error, ConfigurationInvalid) else ()
    return problem_answer(status, error.code, error.message, problems=problems, extra={"exit": int(error.exit)})


def _invalid(problems: list[dict[str, Any]]) -> Refused:
    count = len(problems)
    detail = problems[0]["message"] if count == 1 else f"{count} problems"
    return Refused(problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, problems=problems))


def _problem(pointer: str, code: str, message: str) -> dict[str, Any]:
    return {"pointer": pointer, "code": code, "message": message}


def _known(known: Collection[str]) -> str:
    return f"this operation knows {', '.join(sorted(known))}" if known else "this operation takes none"
