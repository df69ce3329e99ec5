"""Notices: what an operator wants to be told about the webhooks themselves, and when it is worth telling.

A notice is an event of this program's own. It goes to the one webhook that `notify` in the configuration declares, as
a delivery like any other, and never tells of that webhook itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from reconciler.model.breaker import FAILURES_TO_OPEN
from reconciler.model.event import iso_timestamp
from reconciler.model.hook import NoticeType

if TYPE_CHECKING:
    from reconciler.model.hook import OutgoingHook

__all__ = [
    "EXHAUSTED_EVERY_MS",
    "FAILING_MS_MIN",
    "GONE_AGAIN_MS",
    "QUIET_MS",
    "QUIET_TROUBLE",
    "SECONDS_A_NOTICE",
    "Allowance",
    "Ending",
    "Notice",
    "Trouble",
    "after_attempt",
    "example_notice",
    "notice_payload",
]

FAILING_MS_MIN: Final = 5 * 60 * 1000
"""A webhook with little traffic counts as failing once its attempts have failed for so long …"""
FAILING_ATTEMPTS_MIN: Final = 3
"""… and so often; one with much traffic after as many failures in a row as open a breaker."""

QUIET_MS: Final = 10 * 60 * 1000
"""What lies between two notices that the same webhook is failing, so that one that comes and goes is no alarm."""

GONE_AGAIN_MS: Final = 60_000
"""A 410 so long after the last one is a new one: the webhook was given another chance. Others were in flight."""

EXHAUSTED_EVERY_MS: Final = 60_000
"""What lies between two notices that deliveries of the same webhook were given up; the later one counts them."""

NOTICES_AT_ONCE: Final = 30
SECONDS_A_NOTICE: Final = 2
"""How many notices go out at once, over all webhooks, and how long until one more may; what is beyond is counted."""


class Ending(StrEnum):
    """How an attempt ended, as far as its webhook's health is concerned."""

    DELIVERED = "delivered"
    FAILED = "failed"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """A webhook that is not well: how long, how many attempts in a row, and what was told of it (None: nothing yet).

    One that has recovered is kept, without failures, until `told_ms` is long enough ago.
    """

    since_ms: int
    failures: int = 0
    told: NoticeType | None = None
    told_ms: int | None = None

    def is_over(self, now_ms: int) -> bool:
        """Whether it can be forgotten."""
        return self.failures == 0 and self.told is None and not self._is_quiet(now_ms)

    def is_worth_telling(self, now_ms: int) -> bool:
        """Whether it has gone on for long enough, and was not told a moment ago."""
        if self.told is not None or self._is_quiet(now_ms):
            return False
        lasts = now_ms - self.since_ms >= FAILING_MS_MIN and self.failures >= FAILING_ATTEMPTS_MIN
        return lasts or self.failures >= FAILURES_TO_OPEN

    def _is_quiet(self, now_ms: int) -> bool:
        return self.told_ms is not None and now_ms - self.told_ms < QUIET_MS


QUIET_TROUBLE: Final = Trouble(since_ms=0)
"""What a webhook without any trouble has."""


def after_attempt(trouble: Trouble | None, ending: Ending, now_ms: int) -> tuple[Trouble, NoticeType | None]:
    """A webhook's trouble after an attempt that ended at `now_ms`, and what is to be told of it now."""
    before = trouble or QUIET_TROUBLE
    if ending is Ending.DELIVERED:
        told = NoticeType.RECOVERED if before.told is not None else None
        return Trouble(since_ms=before.since_ms, told_ms=before.told_ms), told
    since_ms = before.since_ms if before.failures else now_ms
    after = replace(before, since_ms=since_ms, failures=before.failures + 1)
    if ending is Ending.GONE:
        if before.told is NoticeType.GONE and now_ms - (before.told_ms or 0) < GONE_AGAIN_MS:
            return after, None
        return replace(after, told=NoticeType.GONE, told_ms=now_ms), NoticeType.GONE
    if after.is_worth_telling(now_ms):
        return replace(after, told=NoticeType.FAILING, told_ms=now_ms), NoticeType.FAILING
    return after, None


class Allowance(NamedTuple):
    """How many notices may go out, over all webhooks: a bucket that fills up again with time."""

    left: float = float(NOTICES_AT_ONCE)
    at_s: float = 0.0

    def taken(self, now_s: float) -> tuple[Allowance, bool]:
        """The bucket after asking for one, and whether it was given."""
        left = min(float(NOTICES_AT_ONCE), self.left + (now_s - self.at_s) / SECONDS_A_NOTICE)
        return (Allowance(left - 1, now_s), True) if left >= 1 else (Allowance(left, now_s), False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something to tell about a webhook.

    `since_ms` is when its trouble began, `error` its last failure's class. `count` and `delivery_id` are of
    deliveries that were given up: how many since the last such notice, and the first of them.
    """

    type: NoticeType
    hook_id: str
    at_ms: int
    since_ms: int | None = None
    failures: int = 0
    error: str | None = None
    count: int = 0
    delivery_id: str | None = None


def notice_payload(notice: Notice, hook: OutgoingHook, *, suppressed: int = 0) -> dict[str, Any]:
    """What is delivered, but for `deliveryId`, keys in their order.

    `suppressed` is how many notices were not sent since the last one, because there were too many.
    """
    payload: dict[str, Any] = {
        "event": notice.type.value,
        "timestamp": iso_timestamp(notice.at_ms),
        "webhook": {"id": hook.id, "address": hook.address, "type": hook.type.value},
    }
    if notice.type is NoticeType.EXHAUSTED:
        payload["exhausted"] = {"count": notice.count, "first": notice.delivery_id, "error": notice.error}
    else:
        payload["since"] = None if notice.since_ms is None else iso_timestamp(notice.since_ms)
        if notice.type is not NoticeType.RECOVERED:
            payload["failures"] = notice.failures
            payload["error"] = notice.error
    payload["suppressed"] = suppressed
    return payload


def example_notice(hook: OutgoingHook, *, now_ms: int) -> tuple[NoticeType, dict[str, Any]]:
    """What a test of the webhook that hears notices sends: that a webhook is failing, itself for want of another."""
    notice = Notice(
        type=NoticeType.FAILING,
        hook_id=hook.id,
        at_ms=now_ms,
        since_ms=now_ms - FAILING_MS_MIN,
        failures=FAILURES_TO_OPEN,
        error="http-503",
    )
    return notice.type, notice_payload(notice, hook)
