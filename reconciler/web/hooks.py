"""Webhooks over HTTP: list, look at, test, rotate."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from reconciler.errors import UnknownAddress
from reconciler.model.hook import HOOK_TYPES, TriggerHook
from reconciler.model.resource import Key, Kind
from reconciler.web import trigger
from reconciler.web.answers import json_answer
from reconciler.web.endpoint import refused_parameter
from reconciler.web.times import maybe_iso
from reconciler.web.views import hook_detail, hook_view, trial_view, webhooks

if TYPE_CHECKING:
    from reconciler.web.answers import Answer
    from reconciler.web.endpoint import Call
    from reconciler.web.services import Services

__all__ = ["Hooks"]

NO_BOT = "-"
"""No bot's handle begins with a dash."""
PAGE_MAX = 10_000
PAGE = 1_000


class Hooks:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def list(self, call: Call) -> Answer:
        """The applied webhooks by address, a page at a time; the cursor is the last address."""
        query = call.parameters({"bot", "type", "limit", "cursor"})
        wanted_type = query.get("type")
        if wanted_type is not None and wanted_type not in HOOK_TYPES:
            raise refused_parameter("?type", f"one of {', '.join(HOOK_TYPES)}")
        limit = page_size(query.get("limit"), default=PAGE, most=PAGE_MAX)
        bot, after = query.get("bot"), query.get("cursor", "")
        state = await self._services.store.read_state()
        found = [
            resource
            for resource in webhooks(state)
            if resource.key.address > after
            and (bot is None or resource.key.address.partition("/")[0] == bot)
            and (wanted_type is None or resource.spec["type"] == wanted_type)
        ]
        observed = await self._services.store.observed(now_ms=self._services.clock.now_ms())
        breakers, pauses = self._services.breakers, self._services.pauses
        items = [
            hook_view(resource, observed.get(hook_id), breakers.get(hook_id), pauses.get(hook_id))
            for resource in found[:limit]
            for hook_id in (resource.id or "",)
        ]
        return json_answer({"items": items, "next": items[-1]["address"] if len(found) > limit else None})

    async def show(self, call: Call) -> Answer:
        """One webhook in full."""
        call.parameters(())
        address = address_of(call)
        state = await self._services.store.read_state()
        resource = state.resources.get(Key(Kind.WEBHOOK, address))
        if resource is None:
            raise UnknownAddress(f"there is no webhook {address}")
        now_ms = self._services.clock.now_ms()
        observed = await self._services.store.observed(now_ms=now_ms)
        hook_id = resource.id or ""
        tripped, paused_until_ms = self._services.breakers.get(hook_id), self._services.pauses.get(hook_id)
        return json_answer(hook_detail(resource, observed.get(hook_id), tripped, paused_until_ms, now_ms=now_ms))

    async def test(self, call: Call) -> Answer:
        """A real request to an outgoing webhook, with the posted event or an example; a sync for a trigger."""
        call.parameters(())
        address = address_of(call)
        event = call.document()
        hook = self._services.snapshot.addresses.get(address)
        if isinstance(hook, TriggerHook):
            return await self._call_trigger(hook, call.body)
        return json_answer(trial_view(await self._services.test(address, event or None)))

    async def rotate(self, call: Call) -> Answer:
        """A new secret, now; answers with its fingerprint, never with the secret."""
        call.parameters(())
        call.document(())
        rotated = await self._services.rotate(address_of(call))
        return json_answer(
            {
                "address": rotated.address,
                "fingerprint": rotated.fingerprint,
                "serial": rotated.serial,
                "previous_until": maybe_iso(rotated.previous_until_ms),
            }
        )

    async def _call_trigger(self, hook: TriggerHook, body: bytes) -> Answer:
        """What calling the trigger's URL would do, without the URL."""
        started_s = self._services.clock.monotonic_s()
        answer, sync_id = trigger.DISABLED, None
        if hook.enabled:
            ticket = await trigger.queue_sync(self._services, self._services.snapshot, hook, body)
            answer, sync_id = trigger.QUEUED, ticket.sync_id
        duration_s = self._services.clock.monotonic_s() - started_s
        return json_answer(
            {
                "address": hook.address,
                "sync_id": sync_id,
                "success": answer.status == HTTPStatus.OK,
                "method": "POST",
                "url": None,
                "status": answer.status,
                "error": None,
                "message": "",
                "headers": [],
                "body": answer.content.decode("ascii"),
                "duration_ms": round(duration_s * 1000),
                "unresolved": [],
            }
        )


def address_of(call: Call) -> str:
    """The address in the path. A dash stands for the bot of the webhook that hears notices, which has none."""
    bot, hook = call.path["bot"], call.path["hook"]
    return hook if bot == NO_BOT else f"{bot}/{hook}"


def page_size(text: str | None, *, default: int, most: int) -> int:
    """How many rows a page shall have."""
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise refused_parameter("?limit", f"a number from 1 to {most}")
    return int(text)
