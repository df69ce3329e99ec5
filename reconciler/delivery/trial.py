"""The test hook: one real request from a hook's saved configuration, marked as a test, recorded nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from reconciler.delivery.prepare import prepare
from reconciler.errors import EgressRefused, SendFailed, Unrenderable, UsageError
from reconciler.model.delivery import AttemptError
from reconciler.model.event import check, example_payload, iso_timestamp, payload_bytes
from reconciler.model.hook import NotifyType
from reconciler.model.notice import example_notice
from reconciler.model.scrubbing import scrub, scrub_bytes
from reconciler.model.trial import Trial

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.clock import Clock
    from reconciler.delivery.prepare import Prepared
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.exchange import Reply, Sender
    from reconciler.model.hook import OutgoingHook
    from reconciler.model.snapshot import Snapshot

__all__ = ["prepare_test", "send_test"]


async def send_test(
    hook: OutgoingHook,
    *,
    snapshot: Snapshot,
    sender: Sender,
    clock: Clock,
    mint: Mint,
    payload: Mapping[str, Any] | None = None,
    metrics: Metrics | None = None,
) -> Trial:
    """Send the test request now, whether the hook is enabled or not, and tell what came of it.

    `payload` is an event as it would be posted; None stands for the catalog's example with the bot's own names.
    Raises UsageError for one that is no event of the hook's type.
    """
    delivery_id = mint.new_id(clock.now_ms())
    reply: Reply | None = None
    prepared: Prepared | None = None
    error, message = None, ""
    started_s = clock.monotonic_s()
    try:
        prepared = prepare_test(
            hook,
            snapshot=snapshot,
            payload=payload,
            delivery_id=delivery_id,
            now_ms=clock.now_ms(),
            wall_s=clock.wall_s(),
        )
        reply = await sender.send(prepared.request)
    except Unrenderable as unrenderable:
        error, message = AttemptError.UNRENDERABLE.value, unrenderable.message
    except EgressRefused as refused:
        error, message = AttemptError.EGRESS.value, refused.message
        if metrics is not None:
            metrics.egress_refused("test")
    except SendFailed as failed:
        error, message = str(failed.error), failed.message
    return Trial(
        address=hook.address,
        delivery_id=delivery_id,
        method=prepared.request.method if prepared else "POST",
        url=scrub(prepared.request.url, hook.scrub) if prepared else "",
        status=reply.status if reply else None,
        error=error,
        message=scrub(message, hook.scrub),
        headers=tuple((scrub(name, hook.scrub), scrub(value, hook.scrub)) for name, value in reply.headers)
        if reply
        else (),
        body=scrub_bytes(reply.body, hook.scrub) if reply else b"",
        duration_ms=round((clock.monotonic_s() - started_s) * 1000),
        unresolved=prepared.unresolved if prepared else (),
    )


def prepare_test(
    hook: OutgoingHook,
    *,
    snapshot: Snapshot,
    payload: Mapping[str, Any] | None,
    delivery_id: str,
    now_ms: int,
    wall_s: int,
) -> Prepared:
    """The test request without sending it. Raises UsageError as `send_test` does, and Unrenderable."""
    event_type, body = _payload(hook, snapshot, payload, now_ms)
    return prepare(
        hook,
        payload=body,
        event_type=event_type,
        delivery_id=delivery_id,
        now_ms=now_ms,
        wall_s=wall_s,
        test=True,
    )


def _payload(
    hook: OutgoingHook, snapshot: Snapshot, given: Mapping[str, Any] | None, now_ms: int
) -> tuple[str, bytes]:
    """What the test delivers, and its type."""
    if isinstance(hook.type, NotifyType):
        if given is not None:
            raise UsageError(f"{hook.address} hears notices, which are made here: test it without an event")
        notice_type, notice = example_notice(hook, now_ms=now_ms)
        return notice_type.value, orjson.dumps(notice)
    now_iso = iso_timestamp(now_ms)
    bot = snapshot.bots[hook.bot]
    source = snapshot.data_sources.get(hook.data_source) if hook.data_source is not None else None
    source_name = source.name if source is not None else None
    if given is None:
        example = example_payload(
            hook.type, bot_name=bot.name, bot_id=bot.id, data_source_name=source_name, now_iso=now_iso
        )
        return hook.type.value, orjson.dumps(example)
    posted = check({"event": hook.type.value, **given}, now_iso=now_iso)
    if isinstance(posted, list):
        problems = "; ".join(f"{problem.pointer or '/'}: {problem.message}" for problem in posted)
        raise UsageError(f"this is no event to test {hook.address} with: {problems}")
    if posted.type is not hook.type:
        raise UsageError(f"{hook.address} hears {hook.type.value}, but the event is {posted.type.value}")
    return hook.type.value, payload_bytes(
        posted, bot_name=bot.name, data_source_name=source_name, encode=orjson.dumps
    )
