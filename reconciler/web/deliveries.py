"""The log of deliveries over HTTP: list, look at, deliver again."""

from __future__ import annotations

import asyncio
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from reconciler.errors import UnknownAddress
from reconciler.model.breaker import BreakerState
from reconciler.model.delivery import AttemptError, DeliveryFilter, DeliveryStatus, is_error_class
from reconciler.model.hook import DELIVERED_TYPES
from reconciler.web.answers import json_answer, problem_answer
from reconciler.web.endpoint import Refused, refused_parameter
from reconciler.web.hooks import page_size
from reconciler.web.times import iso, parse_time
from reconciler.web.views import delivery_detail, delivery_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.web.answers import Answer
    from reconciler.web.endpoint import Call
    from reconciler.web.services import Services

__all__ = ["Deliveries"]

PAGE_MAX = 1_000
PAGE = 50
RETRY_BATCH = 500
"""Deliveries put back into the queue by one verb of the store."""
RETRY_MAX = 10_000
"""Deliveries one call puts back; the answer says how many are left for the next."""
HELD_BACK_MAX = 100
"""Webhooks of which it is said that they let nothing out now."""

RETRIES_A_SECOND = 5_000
RETRY_BURST_S = 1.0
"""How fast deliveries are put back, over all calls: so many at once, then as many a second. Nothing else waits."""

_FILTERS = frozenset({"hook", "status", "event", "error", "since", "until", "ended_before"})
_REDELIVERABLE = frozenset(status for status in DeliveryStatus if status.is_redeliverable)


class Deliveries:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._paid_until_s = 0.0

    async def list(self, call: Call) -> Answer:
        """The deliveries that match, newest first."""
        query = call.parameters(_FILTERS | {"limit", "cursor"})
        given: dict[str, Any] = {name: query[name] for name in _FILTERS if name in query}
        if "status" in given:
            given["status"] = [word for text in query.getlist("status") for word in text.split(",")]
        which = self._filter(given, "?")
        limit = page_size(query.get("limit"), default=PAGE, most=PAGE_MAX)
        page = await self._services.store.deliveries(which, cursor=query.get("cursor"), limit=limit)
        return json_answer({"items": [delivery_view(delivery) for delivery in page.items], "next": page.next})

    async def show(self, call: Call) -> Answer:
        """One delivery with its payload and its attempts."""
        call.parameters(())
        found = await self._services.store.delivery(call.path["id"])
        if found is None:
            raise UnknownAddress(f"there is no delivery {call.path['id']}")
        return json_answer(delivery_detail(*found))

    async def retry(self, call: Call) -> Answer:
        """One delivery again, under its id, with a fresh budget."""
        call.parameters(())
        call.document(())
        delivery_id = call.path["id"]
        found = await self._services.store.delivery(delivery_id)
        if found is None:
            raise UnknownAddress(f"there is no delivery {delivery_id}")
        status = found[0].status
        if not status.is_redeliverable:
            raise _conflict(f"the delivery is {status.value}; {_WHY_NOT[status]}")
        done = await self._redeliver(DeliveryFilter(ids=(delivery_id,)), 1)
        if not done.total():
            raise _conflict("the delivery's webhook exists no more")
        return self._retried(1, done, dry_run=False)

    async def retry_many(self, call: Call) -> Answer:
        """All that match (by default the exhausted ones) again, at most `limit`; `dry_run` only counts them."""
        call.parameters(())
        asked = call.document(_FILTERS | {"limit", "dry_run"})
        asked.setdefault("status", [DeliveryStatus.EXHAUSTED.value])
        dry_run, limit = asked.pop("dry_run", False), asked.pop("limit", RETRY_MAX)
        if not isinstance(dry_run, bool):
            raise refused_parameter("/dry_run", "true or false")
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= RETRY_MAX:
            raise refused_parameter("/limit", f"a number from 1 to {RETRY_MAX}")
        which = self._filter(asked, "/")
        hopeless = sorted(status.value for status in (which.statuses or frozenset()) - _REDELIVERABLE)
        if hopeless:
            raise refused_parameter("/status", f"{', '.join(hopeless)} cannot be delivered again")
        matched = await self._services.store.count(which)
        done = Counter[str]() if dry_run else await self._redeliver(which, min(limit, matched))
        return self._retried(matched, done, dry_run=dry_run)

    def _retried(self, matched: int, done: Counter[str], *, dry_run: bool) -> Answer:
        """What was put back, and which of its webhooks let nothing out now: nobody should wait for those in vain."""
        retried = done.total()
        held = [held for hook_id in done if (held := self._held_back(hook_id)) is not None]
        return json_answer(
            {
                "matched": matched,
                "retried": retried,
                "remaining": matched - retried,
                "dry_run": dry_run,
                "held_back": sorted(held, key=lambda one: str(one["hook"]))[:HELD_BACK_MAX],
            }
        )

    def _held_back(self, hook_id: str) -> dict[str, Any] | None:
        services = self._services
        hook, tripped = services.snapshot.outgoing.get(hook_id), services.breakers.get(hook_id)
        paused_until_ms = services.pauses.get(hook_id)
        if hook is None:
            return None
        if not hook.enabled:
            return {"hook": hook.address, "reason": "disabled", "until": None}
        if hook_id in services.gone:
            return {"hook": hook.address, "reason": "gone", "until": None}
        waits = []
        if tripped is not None and tripped.state is BreakerState.OPEN:
            waits.append((tripped.until_ms, "breaker-open"))
        if paused_until_ms is not None:
            waits.append((paused_until_ms, "retry-after"))
        if not waits:
            return None
        until_ms, reason = max(waits)  # what lasts longer is what is waited for
        return {"hook": hook.address, "reason": reason, "until": iso(until_ms)}

    async def _redeliver(self, which: DeliveryFilter, limit: int) -> Counter[str]:
        """Put back up to `limit`, batch by batch, waking the dispatcher for each; how many of which webhook."""
        retried = Counter[str]()
        while retried.total() < limit:
            size = min(RETRY_BATCH, limit - retried.total())
            await self._wait_for_turn(size)
            done = await self._services.store.redeliver(which, now_ms=self._services.clock.now_ms(), limit=size)
            if done:
                self._services.deliveries_waiting({hook_id for _, hook_id in done}, retries=True)
            retried.update(hook_id for _, hook_id in done)
            if len(done) < size:
                break
        return retried

    async def _wait_for_turn(self, size: int) -> None:
        """Hold back whoever asks for more than is put back in the time."""
        clock = self._services.clock
        now_s = clock.monotonic_s()
        turn_s = max(now_s, self._paid_until_s)
        self._paid_until_s = turn_s + size / RETRIES_A_SECOND
        if turn_s - now_s > RETRY_BURST_S:
            await clock.wait(asyncio.Event(), turn_s - now_s - RETRY_BURST_S)

    def _filter(self, given: Mapping[str, Any], prefix: str) -> DeliveryFilter:
        """The filter that was asked for. `prefix` starts the pointer of a problem: `?` or `/`."""
        text = {name: value for name, value in given.items() if name != "status" and value is not None}
        for name, value in text.items():
            if not isinstance(value, str) or not value:
                raise refused_parameter(f"{prefix}{name}", "a text that is not empty")
        hook_ids = None if "hook" not in text else frozenset({self._hook_id(text["hook"])})
        event = text.get("event")
        if event is not None and event not in DELIVERED_TYPES:
            raise refused_parameter(f"{prefix}event", f"one of {', '.join(DELIVERED_TYPES)}")
        error = text.get("error")
        if error is not None and not is_error_class(error):
            raise refused_parameter(f"{prefix}error", f"one of {', '.join(AttemptError)}, or an answer: http-503")
        return DeliveryFilter(
            hook_ids=hook_ids,
            statuses=_statuses(given.get("status"), prefix),
            event=event,
            error=error,
            since_ms=self._time(text, "since", prefix),
            until_ms=self._time(text, "until", prefix),
            ended_before_ms=self._time(text, "ended_before", prefix),
        )

    def _time(self, given: Mapping[str, str], name: str, prefix: str) -> int | None:
        if name not in given:
            return None
        try:
            return parse_time(given[name], now_ms=self._services.clock.now_ms())
        except ValueError as problem:
            raise refused_parameter(f"{prefix}{name}", str(problem)) from None

    def _hook_id(self, hook: str) -> str:
        """The id of a webhook by address, or by id: a deleted one's log has no address to ask for."""
        known = self._services.snapshot.addresses.get(hook)
        if known is not None:
            return known.id
        if "/" in hook:
            raise UnknownAddress(f"there is no webhook {hook[:200]}")
        return hook


def _statuses(given: Any, prefix: str) -> frozenset[DeliveryStatus] | None:
    if given is None:
        return None
    words = given if isinstance(given, list) else [given]
    try:
        return frozenset(DeliveryStatus(word) for word in words) or None
    except (ValueError, TypeError):
        raise refused_parameter(f"{prefix}status", f"any of {', '.join(DeliveryStatus)}") from None


def _conflict(detail: str) -> Refused:
    return Refused(problem_answer(HTTPStatus.CONFLICT, "not-redeliverable", detail))


_WHY_NOT = {
    DeliveryStatus.PENDING: "its next attempt comes by itself",
    DeliveryStatus.SENDING: "an attempt is being made",
    DeliveryStatus.CANCELLED: "its webhook was deleted",
}
