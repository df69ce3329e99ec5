"""`/api/public/hooks/{hookId}/{secret}`: a password in a path, which starts a data source's sync.

A raw ASGI endpoint, because any method will do. What an outsider can learn is one bit: the right URL answers, and
everything else below the prefix gives the same bytes after the same work.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import structlog

from reconciler.errors import ReconcilerError, SnapshotMoved
from reconciler.model.sync import NewSync
from reconciler.web.answers import RETRY_AFTER_S, Answer, send_answer
from reconciler.web.body import (
    BodyTooLarge,
    Disconnected,
    declared_length,
    header,
    read_body,
    refuse_body,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from reconciler.model.hook import TriggerHook
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.sync import SyncTicket
    from reconciler.web.services import Services

__all__ = ["PREFIX", "Calls", "Trigger", "queue_sync"]

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


class Trigger:
    """The endpoint, for every path below `PREFIX`."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._count = services.metrics.triggered
        self._calls = Calls(services)
        self._log = log.bind()  # once, for one line a call
        self._tells_all = self._log.is_enabled_for(logging.DEBUG)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hook_id, secret = _credentials(scope)
        snapshot = self._services.snapshot
        hook = self._authorized(snapshot, hook_id, secret)
        if hook is None:
            await self._answer(send, NOT_FOUND, "not_found")
            return
        if not hook.enabled:
            await self._answer(send, DISABLED, "disabled", hook)
            return
        try:
            declared = declared_length(header(scope, b"content-length"))
            body = await read_body(receive, limit=BODY_BYTES_MAX, declared=declared)
        except BodyTooLarge:
            self._count("too_large")
            await refuse_body(receive, send, TOO_LARGE)
            return
        except Disconnected:
            self._count("disconnected")
            return
        await self._queue(send, (snapshot, hook, secret), body)

    async def _queue(self, send: Send, known: tuple[Snapshot, TriggerHook, bytes], body: bytes) -> None:
        """Store the sync; when the state moved in between, look again whether the URL is still good."""
        services = self._services
        snapshot, hook, secret = known
        for _ in range(SNAPSHOT_TRIES):
            if services.snapshot is not snapshot:
                snapshot = services.snapshot
                current = self._authorized(snapshot, hook.id, secret)
                if current is None:
                    await self._answer(send, NOT_FOUND, "not_found")
                    return
                hook = current
            if not hook.enabled:
                await self._answer(send, DISABLED, "disabled", hook)
                return
            try:
                ticket = await self._calls.queue(snapshot, hook, body)
            except SnapshotMoved:
                await services.refresh()
            except ReconcilerError as error:
                log.warning("trigger.unavailable", hook_id=hook.id, hook=hook.address, reason=error.message)
                break
            except Exception:
                log.exception("trigger.unexpected", hook_id=hook.id, hook=hook.address)
                break
            else:
                await self._answer(send, QUEUED, "joined" if ticket.joined else "queued", hook, ticket.sync_id)
                return
        await self._answer(send, UNAVAILABLE, "unavailable", hook)

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

    async def _answer(
        self, send: Send, answer: Answer, outcome: str, hook: TriggerHook | None = None, sync_id: str | None = None
    ) -> None:
        """Count, tell (never the URL: it is the password), answer. What is not known is not named either."""
        self._count(outcome)
        if self._tells_all:
            known = {} if hook is None else {"hook_id": hook.id, "hook": hook.address, "sync_id": sync_id}
            self._log.debug("trigger.called", outcome=outcome, **known)
        await send_answer(send, answer)


class Calls:
    """Calls on their way to the store: those of one trigger that come while it is writing are then stored as one.

    Nobody is answered before what it called for is on disk. A hundred calls at once cost the store little more than
    one; the body of the last one counts, as it does when they come one by one.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lines: dict[tuple[str, int], _Line] = {}

    def queue(self, snapshot: Snapshot, hook: TriggerHook, body: bytes) -> asyncio.Future[SyncTicket]:
        """Queue a sync as `queue_sync` does."""
        key = hook.id, snapshot.serial
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = _Line(snapshot, hook)
            line.task = line.loop.create_task(self._store(key, line))
        line.body = body
        caller: asyncio.Future[SyncTicket] = line.loop.create_future()
        line.callers.append(caller)
        return caller

    async def _store(self, key: tuple[str, int], line: _Line) -> None:
        """Store for those who came, and then for those who came meanwhile, until nobody has."""
        callers = line.callers
        try:
            while callers:
                line.callers = []
                try:
                    ticket = await queue_sync(self._services, line.snapshot, line.hook, line.body, calls=len(callers))
                except Exception as error:  # noqa: BLE001 - each caller's to deal with
                    _answer_each(callers, error=error)
                else:
                    _answer_each(callers, ticket=ticket)
                callers = line.callers
        finally:
            del self._lines[key]
            for caller in (*callers, *line.callers):
                caller.cancel()  # nobody is left to store for them; those that have their answer keep it


class _Line:
    """Who waits for the store to take a sync of one trigger, and what the last of them said."""

    __slots__ = ("body", "callers", "hook", "loop", "snapshot", "task")

    def __init__(self, snapshot: Snapshot, hook: TriggerHook) -> None:
        self.loop = asyncio.get_running_loop()
        self.snapshot = snapshot
        self.hook = hook
        self.body = b""
        self.callers: list[asyncio.Future[SyncTicket]] = []
        self.task: asyncio.Task[None] | None = None


def _answer_each(
    callers: list[asyncio.Future[SyncTicket]], *, ticket: SyncTicket | None = None, error: Exception | None = None
) -> None:
    """Tell those who still wait; only the first of them can have started the sync."""
    others = ticket and ticket._replace(joined=True)
    for caller in callers:
        if not caller.done():
            if ticket is not None:
                caller.set_result(ticket)
            else:
                assert error is not None
                caller.set_exception(error)
        ticket = others


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


def _credentials(scope: Scope) -> tuple[str, bytes]:
    """Hook id and secret of `…/hooks/{id}/{secret}`; two empty ones of any other path. Never raises."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogatepass")
    if not raw.startswith(_PATH):
        return "", b""
    hook_id, slash, secret = raw[len(_PATH) :].partition(b"/")
    if not slash or b"/" in secret:
        return "", b""
    if b"%" in raw:
        hook_id, secret = unquote_to_bytes(hook_id), unquote_to_bytes(secret)
    return hook_id.decode("utf-8", "replace"), secret
