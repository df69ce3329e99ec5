"""One attempt: prepare the request, send it, and say what follows. Nothing that goes wrong in it gets out."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, NamedTuple

import orjson
import structlog

from reconciler.delivery.connection import BODY_BYTES_KEPT
from reconciler.delivery.prepare import prepare
from reconciler.errors import EgressRefused, SendFailed, Unrenderable
from reconciler.model.delivery import Attempt, AttemptError, Settlement
from reconciler.model.outcome import decide
from reconciler.model.scrubbing import scrub, scrub_bytes

if TYPE_CHECKING:
    from reconciler.clock import Clock
    from reconciler.mint import Mint
    from reconciler.model.delivery import Claim
    from reconciler.model.exchange import Reply, Sender
    from reconciler.model.hook import OutgoingHook
    from reconciler.model.outcome import Decision

__all__ = ["Attempted", "attempt"]

log = structlog.get_logger(__name__)


class Attempted(NamedTuple):
    """A claim after its attempt: what was decided, and how the store is told."""

    claim: Claim
    decision: Decision
    settlement: Settlement
    record: Attempt


async def attempt(hook: OutgoingHook, claim: Claim, *, sender: Sender, clock: Clock, mint: Mint) -> Attempted:
    """Make the claim's attempt, rendered and signed from `hook` as it is now.

    Whatever is recorded is scrubbed of the hook's secrets.
    """
    started_ms, started_s = clock.now_ms(), clock.monotonic_s()
    result: Reply | _Failure
    try:
        prepared = prepare(
            hook,
            payload=claim.payload,
            event_type=claim.event_type,
            delivery_id=claim.delivery_id,
            now_ms=started_ms,
            wall_s=clock.wall_s(),
        )
        result = await sender.send(prepared.request)
    except SendFailed as failed:
        result = _Failure(AttemptError(failed.error), failed.message)
    except EgressRefused as refused:
        result = _Failure(AttemptError.EGRESS, refused.message)
    except Unrenderable as unrenderable:
        result = _Failure(AttemptError.UNRENDERABLE, unrenderable.message)
    except Exception as broken:  # noqa: BLE001 - one delivery that cannot be handled must not end all others
        result = _internal(broken, hook, claim)
    timing = _Timing(started_ms, round((clock.monotonic_s() - started_s) * 1000), clock.wall_s())
    chance = mint.jitter()
    try:
        return _conclude(hook, claim, result, timing, chance)
    except Exception as broken:  # noqa: BLE001 - the same for an answer that cannot be recorded
        return _conclude(hook, claim, _internal(broken, hook, claim), timing, chance)


class _Failure(NamedTuple):
    """No answer, and why."""

    error: AttemptError
    message: str


class _Timing(NamedTuple):
    """When an attempt began, how long it took, and the time of day when it ended."""

    started_ms: int
    duration_ms: int
    ended_wall_s: int


def _conclude(
    hook: OutgoingHook, claim: Claim, result: Reply | _Failure, timing: _Timing, chance: float
) -> Attempted:
    """What follows from the result, and what is recorded of it."""
    reply, failure = (None, result) if isinstance(result, _Failure) else (result, None)
    decision = decide(
        attempt=claim.attempt,
        retry=hook.retry,
        now_ms=timing.started_ms + timing.duration_ms,
        wall_s=timing.ended_wall_s,
        chance=chance,
        reply=reply,
        error=failure.error if failure is not None else None,
    )
    started_ms, duration_ms, _ = timing
    if reply is not None:
        headers, body = _kept(reply, hook)
        record = Attempt(claim.attempt, claim.round, started_ms, duration_ms, reply.status, None, "", headers, body)
    else:
        assert failure is not None
        message = scrub(failure.message, hook.scrub)
        record = Attempt(claim.attempt, claim.round, started_ms, duration_ms, None, failure.error, message)
    settlement = Settlement(
        claim.delivery_id, claim.fence, decision.status, decision.due_ms, record, decision.error, decision.gone
    )
    return Attempted(claim, decision, settlement, record)


def _kept(reply: Reply, hook: OutgoingHook) -> tuple[str, bytes]:
    """What is recorded of an answer: its headers as JSON, its body, neither with a secret in it."""
    headers = scrub_bytes(orjson.dumps(reply.headers), hook.scrub, cut=False).decode()
    return headers, scrub_bytes(reply.body, hook.scrub, cut=len(reply.body) == BODY_BYTES_KEPT)


def _internal(broken: Exception, hook: OutgoingHook, claim: Claim) -> _Failure:
    """An error of our own, by its type and place; its text may hold anything, a secret too."""
    frames = traceback.extract_tb(broken.__traceback__)
    place = f" in {frames[-1].name}, line {frames[-1].lineno}" if frames else ""
    message = f"{type(broken).__name__}{place}"
    log.warning(
        "attempt.broken",
        delivery_id=claim.delivery_id,
        event_id=claim.event_id,
        hook_id=hook.id,
        hook=hook.address,
        reason=message,
    )
    return _Failure(AttemptError.INTERNAL, message)
