"""`/api/public/hooks/{hookId}/{secret}`: a password in a path, which starts a data source's sync. Any method will do.

What an outsider can learn is one bit: the right URL answers, and
everything else below the prefix gives the same bytes after the same work.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.sync import NewSync
from reconciler.web.answers import RETRY_AFTER_S, Answer, resolve, send_answer
from reconciler.web.body import (
    BodyTooLarge,
    Disconnected,
    declared_length,
    header,
    read_body,
    refuse_body,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.types import Receive, Scope, Send

    from reconciler.model.hook import TriggerHook
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.sync import SyncTicket
    from reconciler.web.direct import DirectRequest
    from reconciler.web.services import Services

__all__ = ["PREFIX", "Trigger", "queue_sync"]

PREFIX = "/api/public/"
"""Everything below it is the public's and answers in the trigger's voice."""
BODY_BYTES_MAX = 1024 * 1024
SNAPSHOT_TRIES = 3
"""How often the state may move between looking and storing before the caller is asked to come back."""

_PATH = PREFIX.encode("ascii") + b"hooks/"
_DECOY = (bytes(32), 0)
"""Stands in for digests that a webhook does not have; it ended long ago, so that nothing can match it."""
_DIGESTS = 2
"""Digests compared for every call, known webhook or not: the current secret's and a previous one's."""

QUEUED = Answer(HTTPStatus.OK, b'{"success": true}')
NOT_FOUND = Answer(HTTPStatus.NOT_FOUND, b'{"success": false, "error": "not found"}')
DISABLED = Answer(HTTPStatus.FORBIDDEN, b'{"success": false, "error": "webhook is disabled"}')
TOO_LARGE = Answer(
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    b'{"success": false, "error": "body is larger than 1 MiB"}',
    headers=[(b"connection", b"close")],
)
UNAVAILABLE = Answer(
    HTTPStatus.SERVICE_UNAVAILABLE,
    b'{"success": false, "error": "unavailable"}',
    headers=[(b"retry-after", str(RETRY_AFTER_S).encode("ascii"))],
)

log = structlog.get_logger(__name__)


class _Call:
    """A call of a trigger: which one, and who answers."""

    __slots__ = ("body", "hook", "reply", "secret", "snapshot", "tries")

    def __init__(self, hook: TriggerHook, snapshot: Snapshot, secret: bytes, reply: Callable[[Answer], None]) -> None:
        self.hook = hook
        self.snapshot = snapshot
        self.secret = secret
        self.reply = reply
        self.body = b""
        self.tries = 0


class Trigger:
    """The endpoint, for every path below `PREFIX`.

    Calls of one trigger that come while the store is writing are stored as one. Nobody is answered before what it
    called for is on disk; a hundred calls at once cost the store little more than one. The body of the last one
    counts, as it does when they come one by one.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._count = services.metrics.triggered
        self._lines: dict[tuple[str, int], list[_Call]] = {}
        self._storing: set[asyncio.Task[None]] = set()
        self._log = log.bind()  # once, for one line a call
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)

    def take(self, request: DirectRequest) -> None:
        """Answer a request that comes past ASGI."""
        call = self._admit(request.path, request.respond)
        if call is not None:
            request.received = partial(self._receive, call)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
        call = self._admit(path, partial(resolve, answered))
        if call is not None:
            try:
                declared = declared_length(header(scope, b"content-length"))
                body = await read_body(receive, limit=BODY_BYTES_MAX, declared=declared)
            except BodyTooLarge:
                self._count("too_large")
                await refuse_body(receive, send, TOO_LARGE)
                return
            except Disconnected:
                self._receive(call, None)
                return
            self._receive(call, body)
        await send_answer(send, await answered)

    # -- a call's way ----------------------------------------------------------------------------------------

    def _admit(self, path: bytes, reply: Callable[[Answer], None]) -> _Call | None:
        """The call, if its path is a URL in force; otherwise the answer is given."""
        hook_id, secret = _credentials(path)
        snapshot = self._services.snapshot
        hook = self._authorized(snapshot, hook_id, secret)
        if hook is None:
            self._finish(reply, NOT_FOUND, "not_found")
            return None
        call = _Call(hook, snapshot, secret, reply)
        return call if self._is_enabled(call) else None

    def _is_enabled(self, call: _Call) -> bool:
        if not call.hook.enabled:
            self._finish(call.reply, DISABLED, "disabled", call.hook)
        return call.hook.enabled

    def _receive(self, call: _Call, body: bytes | None) -> None:
        if body is None:
            self._count("disconnected")
            return
        call.body = body
        self._queue(call)

    def _queue(self, call: _Call) -> None:
        """Get in line. When the state has moved since, see first whether the URL is still good."""
        if call.snapshot is not self._services.snapshot:
            call.snapshot = self._services.snapshot
            current = self._authorized(call.snapshot, call.hook.id, call.secret)
            if current is None:
                self._finish(call.reply, NOT_FOUND, "not_found")
                return
            call.hook = current
            if not self._is_enabled(call):
                return
        call.tries += 1
        key = call.hook.id, call.snapshot.serial
        line = self._lines.get(key)
        if line is not None:
            line.append(call)
            return
        self._lines[key] = [call]
        storing = asyncio.ensure_future(self._store(key))
        self._storing.add(storing)
        storing.add_done_callback(self._storing.discard)

    async def _store(self, key: tuple[str, int]) -> None:
        """Store for those who came, and then for those who came meanwhile, until nobody has."""
        calls: list[_Call] = []
        try:
            while self._lines[key]:
                calls, self._lines[key] = self._lines[key], []
                await self._store_together(calls)
        except asyncio.CancelledError:
            for call in (*calls, *self._lines[key]):  # nobody is left to store for them
                call.reply(UNAVAILABLE)
            raise
        finally:
            del self._lines[key]

    async def _store_together(self, calls: Sequence[_Call]) -> None:
        """Store calls of one trigger as one, and answer them."""
        last = calls[-1]
        try:
            ticket = await queue_sync(self._services, last.snapshot, last.hook, last.body, calls=len(calls))
        except SnapshotMoved:
            await self._queue_again(calls)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            self._fail(calls, error)
        else:
            for call in calls:  # only the first of them can have started the sync
                outcome = "joined" if ticket.joined or call is not calls[0] else "queued"
                self._finish(call.reply, QUEUED, outcome, call.hook, ticket.sync_id)

    async def _queue_again(self, calls: Sequence[_Call]) -> None:
        """The state has moved on: look at it, and get in line once more."""
        try:
            await self._services.refresh()
        except Exception as error:  # noqa: BLE001
            self._fail(calls, error)
            return
        for call in calls:
            if call.tries < SNAPSHOT_TRIES:
                self._queue(call)
            else:
                self._finish(call.reply, UNAVAILABLE, "unavailable", call.hook)

    def _authorized(self, snapshot: Snapshot, hook_id: str, secret: bytes) -> TriggerHook | None:
        """The webhook, if the secret is one of those in force. The work is the same whatever the answer."""
        hook = snapshot.triggers.get(hook_id)
        digests = hook.digests[:_DIGESTS] if hook is not None else ()
        candidate = hashlib.sha256(secret).digest()
        now_ms = self._services.clock.now_ms()
        good = False
        for digest, until_ms in (*digests, _DECOY, _DECOY)[:_DIGESTS]:
            same = hmac.compare_digest(candidate, digest)
            good |= same & (until_ms is None or now_ms < until_ms)
        return hook if good else None

    # -- its end ---------------------------------------------------------------------------------------------

    def _fail(self, calls: Sequence[_Call], error: Exception) -> None:
        hook = calls[0].hook
        if isinstance(error, ReconcilerError):
            log.warning("trigger.unavailable", hook_id=hook.id, hook=hook.address, reason=error.message)
        else:
            log.error("trigger.unexpected", hook_id=hook.id, hook=hook.address, exc_info=error)
        for call in calls:
            self._finish(call.reply, UNAVAILABLE, "unavailable", hook)

    def _finish(
        self,
        reply: Callable[[Answer], None],
        answer: Answer,
        outcome: str,
        hook: TriggerHook | None = None,
        sync_id: str | None = None,
    ) -> None:
        """Count, tell (never the URL: it is the password), answer. What is not known is not named either."""
        self._count(outcome)
        if self._tells_all:
            known = {} if hook is None else {"hook_id": hook.id, "hook": hook.address, "sync_id": sync_id}
            self._log.debug("trigger.called", outcome=outcome, **known)
        reply(answer)


async def queue_sync(
    services: Services, snapshot: Snapshot, hook: TriggerHook, body: bytes, *, calls: int = 1
) -> SyncTicket:
    """Queue the sync of a trigger's data source and wake the runner. Raises SnapshotMoved, StoreUnavailable."""
    now_ms = services.clock.now_ms()
    ticket = await services.store.request_sync(
        NewSync(
            id=services.mint.new_id(now_ms),
            data_source=hook.data_source,
            hook_id=hook.id,
            requested_ms=now_ms,
            body=body,
            calls=calls,
        ),
        serial=snapshot.serial,
    )
    if not ticket.joined:
        services.syncs_waiting()
    return ticket


def _credentials(raw: bytes) -> tuple[str, bytes]:
    """Hook id and secret of `…/hooks/{id}/{secret}`; two empty ones of any other path. Never raises."""
    if not raw.startswith(_PATH):
        return "", b""
    hook_id, slash, secret = raw[len(_PATH) :].partition(b"/")
    if not slash or b"/" in secret:
        return "", b""
    if b"%" in raw:
        hook_id, secret = unquote_to_bytes(hook_id), unquote_to_bytes(secret)
    return hook_id.decode("utf-8", "replace"), secret
