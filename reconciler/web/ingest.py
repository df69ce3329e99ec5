"""`POST /api/v1/events`: events in, 202 only when they and all their deliveries are on disk.

The hot path of the program: one pass over the headers, one parse of the body, one verb of the store, which calls
back, one head for the answer. What comes by ASGI takes the same path, and waits at its end.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.event import EventProblem, check, own_id
from reconciler.model.fanout import fan_out
from reconciler.web.access import Scope as TokenScope
from reconciler.web.answers import INTERNAL, UNAVAILABLE, Answer, problem_answer, resolve, send_answer
from reconciler.web.body import (
    BodyTooLarge,
    Disconnected,
    declared_length,
    read_body,
    refuse_body,
)
from reconciler.web.decode import BATCH_BYTES_MAX, Unprocessable, decoder_for
from reconciler.web.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from reconciler.model.delivery import Accepted, NewEvent, Taking
    from reconciler.model.event import Posted
    from reconciler.model.snapshot import Snapshot
    from reconciler.web.access import Access
    from reconciler.web.decode import Decode, Decoded
    from reconciler.web.direct import DirectRequest
    from reconciler.web.services import Services

__all__ = ["PATH", "Ingest"]

PATH = "/api/v1/events"

PROBLEMS_MAX = 1_000
"""How many problems one answer lists: a mistake in each event of the largest array."""
SNAPSHOT_TRIES = 3
"""How often the state may move between fan-out and storing before the poster is asked to come back."""

METHOD_NOT_ALLOWED = problem_answer(
    HTTPStatus.METHOD_NOT_ALLOWED, "method-not-allowed", "events are posted", headers=[(b"allow", b"POST")]
)
TOO_LARGE = problem_answer(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "too-large",
    "at most 1 MiB an event, 5 MiB and 1,000 events an array",
    headers=[(b"connection", b"close")],
)
UNSUPPORTED = problem_answer(
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "unsupported-media-type",
    "post events as application/json, or as CloudEvents in JSON",
)

log = structlog.get_logger(__name__)


class _Post:
    """A request on its way through: who answers it, what its head says, then what its body says."""

    __slots__ = (
        "decode",
        "events",
        "key",
        "length",
        "places",
        "posted",
        "received_ms",
        "reply",
        "started_s",
        "taking",
        "tries",
    )

    def __init__(self, reply: Callable[[Answer], None], started_s: float) -> None:
        self.reply = reply
        self.started_s = started_s
        self.decode: Decode
        self.length = 0
        self.key: bytes | None = None
        self.received_ms = self.tries = 0
        self.posted: Sequence[Posted]
        self.places: Sequence[str] | None
        self.events: Sequence[NewEvent]
        self.taking: Taking | None


class Ingest:
    """The endpoint."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._metrics = services.metrics
        self._clock = services.clock
        self._catching_up: set[asyncio.Task[None]] = set()
        self._log = log.bind()  # once, for one line a post
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)

    def take(self, request: DirectRequest) -> None:
        """Answer a request that comes past ASGI."""
        post = self._admit(request.method, request.headers, request.respond)
        if post is not None:
            request.received = partial(self._receive, post)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        post = self._admit(scope["method"], scope["headers"], partial(resolve, answered))
        if post is not None:
            try:
                body = await read_body(receive, limit=BATCH_BYTES_MAX, declared=post.length)
            except BodyTooLarge:
                self._metrics.rejected(TOO_LARGE.reason)
                await refuse_body(receive, send, TOO_LARGE)
                return
            except Disconnected:
                self._receive(post, None)
                return
            self._receive(post, body)
        await send_answer(send, await answered)

    # -- a post's way ----------------------------------------------------------------------------------------

    def _admit(
        self, method: str, headers: Sequence[tuple[bytes, bytes]], reply: Callable[[Answer], None]
    ) -> _Post | None:
        """What the head alone decides; None if that is the answer."""
        post = _Post(reply, self._clock.monotonic_s())
        authorization = content_type = None
        ce_headers: dict[bytes, bytes] | None = None
        for name, value in headers:
            if name == b"authorization":
                authorization = value
            elif name == b"content-type":
                content_type = value
            elif name == b"content-length":
                post.length = declared_length(value)
            elif name == b"idempotency-key":
                post.key = value
            elif name[:3] == b"ce-":
                ce_headers = ce_headers or {}
                ce_headers[name] = value if name not in ce_headers else ce_headers[name] + b", " + value
        refusal = self._access.refusal(authorization, TokenScope.INGEST)
        if refusal is None and method != "POST":
            refusal = METHOD_NOT_ALLOWED
        if refusal is None:
            decode = decoder_for(content_type, ce_headers)
            if decode is not None:
                post.decode = decode
                return post
            refusal = UNSUPPORTED
        self._finish(post, refusal)
        return None

    def _receive(self, post: _Post, body: bytes | None) -> None:
        """Check the events, and go on to store them."""
        if body is None:
            self._metrics.rejected("disconnected")
            return
        post.received_ms = self._clock.now_ms()
        try:
            decoded = post.decode(body, post.key)
            post.places = decoded.places
            post.posted = _checked(decoded, iso(post.received_ms))
            self._store(post)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            self._fail(post, error)

    def _store(self, post: _Post) -> None:
        """Fan out on the state as it is now and store, letting the dispatcher have at once what it has room for."""
        services = self._services
        snapshot = services.snapshot
        post.tries += 1
        post.events = events = self._fanned_out(post, snapshot)
        taking = services.reserve_deliveries([hook_id for event in events for _, hook_id in event.deliveries])
        post.taking = taking
        storing = asyncio.ensure_future(services.store.accept(events, serial=snapshot.serial, taking=taking))
        storing.add_done_callback(partial(self._stored, post))

    def _stored(self, post: _Post, storing: asyncio.Future[list[Accepted]]) -> None:
        """Answer for what is on disk; when the state moved in between, try again on the new one."""
        # Raised, the error would refer to this frame, which refers to the future, which refers to the error.
        error = asyncio.CancelledError() if storing.cancelled() else storing.exception()
        accepted = storing.result() if error is None else []
        if post.taking is not None:  # the dispatcher's part, and the room that it had reserved
            self._services.take_deliveries(post.taking, [claim for one in accepted for claim in one.claims])
        if error is None:
            self._confirm(post, accepted)
        elif isinstance(error, SnapshotMoved) and post.tries < SNAPSHOT_TRIES:
            catching_up = asyncio.ensure_future(self._catch_up(post))
            self._catching_up.add(catching_up)
            catching_up.add_done_callback(self._catching_up.discard)
        else:
            self._fail(post, error)

    def _confirm(self, post: _Post, accepted: Sequence[Accepted]) -> None:
        try:
            answer = self._accepted(post.events, accepted)
        except Exception as error:  # noqa: BLE001
            self._fail(post, error)
        else:
            self._finish(post, answer)

    async def _catch_up(self, post: _Post) -> None:
        try:
            await self._services.refresh()
            self._store(post)
        except Exception as error:  # noqa: BLE001
            self._fail(post, error)

    # -- its end ---------------------------------------------------------------------------------------------

    def _fail(self, post: _Post, error: BaseException) -> None:
        match error:
            case Unprocessable():
                answer = _unprocessable(error.problems)
            case BodyTooLarge():
                answer = TOO_LARGE
            case ReconcilerError():
                log.warning("ingest.unavailable", code=error.code, reason=error.message)
                answer = UNAVAILABLE
            case asyncio.CancelledError():
                answer = UNAVAILABLE
            case _:
                log.error("ingest.unexpected", exc_info=error)
                answer = INTERNAL
        self._finish(post, answer)

    def _finish(self, post: _Post, answer: Answer) -> None:
        if answer.status == HTTPStatus.ACCEPTED:
            self._metrics.ingest_seconds.observe(self._clock.monotonic_s() - post.started_s)
        else:
            self._metrics.rejected(answer.reason)
            self._log.debug("events.rejected", status=answer.status, reason=answer.reason)
        post.reply(answer)

    def _fanned_out(self, post: _Post, snapshot: Snapshot) -> list[NewEvent]:
        mint, gone, received_ms = self._services.mint, self._services.gone, post.received_ms

        def new_id() -> str:
            return mint.new_id(received_ms)

        events: list[NewEvent] = []
        problems: list[EventProblem] = []
        for index, one in enumerate(post.posted):
            try:
                made = fan_out(one, snapshot, new_id=new_id, received_ms=received_ms, encode=orjson.dumps, gone=gone)
            except orjson.JSONEncodeError:
                made = [EventProblem("", "too-deep", "values are nested too deeply")]
            if isinstance(made, list):
                problems += _placed(made, post.places, index)
            else:
                events.append(made)
        if problems:
            raise Unprocessable(problems)
        return events

    def _accepted(self, events: Sequence[NewEvent], accepted: Sequence[Accepted]) -> Answer:
        metrics = self._metrics
        hook_ids: set[str] = set()
        entries = []
        duplicates = 0
        for event, one in zip(events, accepted, strict=True):
            entry: dict[str, Any] = {
                "id": own_id(one.event_id),
                "duplicate": one.duplicate,
                "deliveries": one.deliveries,
            }
            if one.unmatched is not None:
                entry["unmatched"] = one.unmatched
            entries.append(entry)
            if self._tells_all:
                self._log.debug(
                    "event.accepted",
                    event_id=one.event_id,
                    type=event.type,
                    deliveries=one.deliveries,
                    duplicate=one.duplicate,
                )
            if one.duplicate:
                duplicates += 1
            else:
                metrics.accepted(event.type)
                if len(one.claims) < len(event.deliveries):
                    hook_ids.update(delivery.hook_id for delivery in event.deliveries)
        if duplicates:
            metrics.duplicate(duplicates)
        if hook_ids:
            self._services.deliveries_waiting(hook_ids)
        answer = {"accepted": len(entries) - duplicates, "duplicates": duplicates, "events": entries}
        return Answer(HTTPStatus.ACCEPTED, orjson.dumps(answer))


def _checked(decoded: Decoded, now_iso: str) -> list[Posted]:
    """Every event checked, or every problem of every event raised."""
    posted: list[Posted] = []
    problems = list(decoded.problems)
    for index, value in enumerate(decoded.values):
        checked = check(value, now_iso=now_iso)
        if isinstance(checked, list):
            problems += _placed(checked, decoded.places, index)
        elif decoded.ids is not None:
            posted.append(checked._replace(id=decoded.ids[index]))
        else:
            posted.append(checked)
    if problems:
        raise Unprocessable(problems)
    return posted


def _placed(problems: Sequence[EventProblem], places: Sequence[str] | None, index: int) -> Sequence[EventProblem]:
    if places is None:
        return problems
    return [EventProblem(places[index] + pointer, code, message) for pointer, code, message in problems]


def _unprocessable(problems: Sequence[EventProblem]) -> Answer:
    listed = [
        {"pointer": problem.pointer, "code": problem.code, "message": problem.message}
        for problem in problems[:PROBLEMS_MAX]
    ]
    count = len(problems)
    detail = f"{count} problem{'' if count == 1 else 's'}; nothing of this post was accepted"
    return problem_answer(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, problems=listed)
