"""`POST /api/v1/events`: events in, 202 only when they and all their deliveries are on disk.

The hot path of the program. A raw ASGI endpoint: one pass over the headers, one read of the body, one parse, one
verb of the store, one head for the answer.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson
import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.event import EventProblem, check, own_id
from reconciler.model.fanout import fan_out
from reconciler.web.access import Scope as TokenScope
from reconciler.web.answers import INTERNAL, UNAVAILABLE, Answer, problem_answer, send_answer
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
    from collections.abc import Sequence

    from starlette.types import Receive, Scope, Send

    from reconciler.model.delivery import Accepted, Claim, NewEvent
    from reconciler.model.event import Posted
    from reconciler.model.snapshot import Snapshot
    from reconciler.web.access import Access
    from reconciler.web.decode import Decoded
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


class _Head(NamedTuple):
    """What the headers say, read in one pass."""

    authorization: bytes | None
    content_type: bytes | None
    length: int
    key: bytes | None
    ce_headers: dict[bytes, bytes] | None


class Ingest:
    """The endpoint."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._metrics = services.metrics
        self._clock = services.clock
        self._log = log.bind()  # once, for one line a post
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_s = self._clock.monotonic_s()
        head = _head(scope)
        refusal = self._access.refusal(head.authorization, TokenScope.INGEST)
        if refusal is None and scope["method"] != "POST":
            refusal = METHOD_NOT_ALLOWED
        if refusal is not None:
            self._metrics.rejected(refusal.reason)
            await send_answer(send, refusal)
            return
        try:
            answer = await self._answer(head, receive)
        except BodyTooLarge:
            self._metrics.rejected(TOO_LARGE.reason)
            await refuse_body(receive, send, TOO_LARGE)
            return
        except Disconnected:
            self._metrics.rejected("disconnected")
            return
        if answer.status == HTTPStatus.ACCEPTED:
            self._metrics.ingest_seconds.observe(self._clock.monotonic_s() - started_s)
        else:
            self._metrics.rejected(answer.reason)
            self._log.debug("events.rejected", status=answer.status, reason=answer.reason)
        await send_answer(send, answer)

    async def _answer(self, head: _Head, receive: Receive) -> Answer:
        decode = decoder_for(head.content_type, head.ce_headers)
        if decode is None:
            return UNSUPPORTED
        try:
            body = await read_body(receive, limit=BATCH_BYTES_MAX, declared=head.length)
            return await self._accept(decode(body, head.key))
        except Unprocessable as error:
            return _unprocessable(error.problems)
        except (BodyTooLarge, Disconnected):
            raise
        except Exception:
            log.exception("ingest.unexpected")
            return INTERNAL

    async def _accept(self, decoded: Decoded) -> Answer:
        """Check, fan out and store; when the state moved in between, fan out again on the new one."""
        services = self._services
        received_ms = self._clock.now_ms()
        posted = _checked(decoded, iso(received_ms))
        for _ in range(SNAPSHOT_TRIES):
            snapshot = services.snapshot
            events = self._fanned_out(posted, snapshot, received_ms, decoded.places)
            try:
                accepted = await self._store(events, snapshot.serial)
            except SnapshotMoved:
                await services.refresh()
            except ReconcilerError as error:
                log.warning("ingest.unavailable", code=error.code, reason=error.message)
                return UNAVAILABLE
            else:
                return self._accepted(events, accepted)
        return UNAVAILABLE

    async def _store(self, events: Sequence[NewEvent], serial: int) -> list[Accepted]:
        """Store, and let the dispatcher have at once what it has room for; it hears of the rest in `_accepted`."""
        services = self._services
        taking = services.reserve_deliveries([hook_id for event in events for _, hook_id in event.deliveries])
        if taking is None:
            return await services.store.accept(events, serial=serial)
        claims: list[Claim] = []
        try:
            accepted = await services.store.accept(events, serial=serial, taking=taking)
            claims = [claim for one in accepted for claim in one.claims]
        finally:
            services.take_deliveries(taking, claims)
        return accepted

    def _fanned_out(
        self, posted: Sequence[Posted], snapshot: Snapshot, received_ms: int, places: Sequence[str] | None
    ) -> list[NewEvent]:
        mint, gone = self._services.mint, self._services.gone

        def new_id() -> str:
            return mint.new_id(received_ms)

        events: list[NewEvent] = []
        problems: list[EventProblem] = []
        for index, one in enumerate(posted):
            try:
                made = fan_out(one, snapshot, new_id=new_id, received_ms=received_ms, encode=orjson.dumps, gone=gone)
            except orjson.JSONEncodeError:
                made = [EventProblem("", "too-deep", "values are nested too deeply")]
            if isinstance(made, list):
                problems += _placed(made, places, index)
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


def _head(scope: Scope) -> _Head:
    authorization = content_type = length = key = None
    ce_headers: dict[bytes, bytes] | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name == b"content-type":
            content_type = value
        elif name == b"content-length":
            length = value
        elif name == b"idempotency-key":
            key = value
        elif name[:3] == b"ce-":
            ce_headers = ce_headers or {}
            ce_headers[name] = value if name not in ce_headers else ce_headers[name] + b", " + value
    return _Head(authorization, content_type, declared_length(length), key, ce_headers)


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
