"""What becomes of a delivery after an attempt."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

from reconciler.model.backoff import wait_ms
from reconciler.model.delivery import AttemptError, DeliveryStatus

if TYPE_CHECKING:
    from reconciler.model.exchange import Reply
    from reconciler.model.hook import Retry

__all__ = ["RETRY_AFTER_MS_MAX", "Decision", "decide", "retry_after_ms"]

RETRY_AFTER_MS_MAX = 60 * 60 * 1000
"""The longest that a receiver may ask for: one hour."""

_SUCCESS = 2  # hundred and something
_GONE = 410
_THROTTLING = frozenset({429, 503})
_REFUSALS = frozenset({AttemptError.EGRESS, AttemptError.UNRENDERABLE})
_OWN = frozenset({*_REFUSALS, AttemptError.INTERNAL})
"""Errors that are none of the receiver's."""
_OVERLOADS = frozenset({AttemptError.TIMEOUT, "http-429", "http-503", "http-504"})
_SECONDS = re.compile(r"[0-9]+")


class Decision(NamedTuple):
    """The new status of the delivery, and what the attempt says about its webhook.

    `due_ms` is set for PENDING. `error` is the attempt's error class, or `http-503` for an answer that is a failure.
    `outcome` is a label of a small closed set: `2xx`, `3xx`, …, or an error class. With `gone` the receiver wants
    nothing more: the webhook is parked, and this delivery with it. `throttle_until_ms` is the end of a wait that
    the receiver asks of the whole webhook.
    """

    status: DeliveryStatus
    outcome: str
    due_ms: int | None = None
    error: str | None = None
    gone: bool = False
    throttle_until_ms: int | None = None

    @property
    def is_failure(self) -> bool:
        """Whether the receiver failed, which a breaker counts.

        Whatever its status is: ten 4xx in a row are a receiver that does not take what it is sent. An answer that
        says when to come back, or never to, is heeded in its own way.
        """
        return self.error is not None and self.error not in _OWN and not self.gone and self.throttle_until_ms is None

    @property
    def is_overload(self) -> bool:
        """Whether the receiver has more to do than it can, so that it should get less at a time."""
        return self.error in _OVERLOADS

    @property
    def is_answered(self) -> bool:
        """Whether the receiver gave an answer at all."""
        return self.error is None or self.error.startswith("http-")


DELIVERED = Decision(status=DeliveryStatus.DELIVERED, outcome="2xx")


def decide(
    *,
    attempt: int,
    retry: Retry,
    now_ms: int,
    wall_s: int,
    chance: float,
    reply: Reply | None = None,
    error: AttemptError | None = None,
) -> Decision:
    """What follows from attempt number `attempt` of a round, which ended at `now_ms` in a reply or in an error.

    `wall_s` is the time of day, against which a `Retry-After` date is read; `chance` in [0, 1) picks the jitter.
    """
    if reply is None:
        error = error or AttemptError.INTERNAL
        if error in _REFUSALS:
            return Decision(status=DeliveryStatus.REFUSED, outcome=error.value, error=error.value)
        outcome, reason, asked_ms = error.value, error.value, None
    elif reply.status // 100 == _SUCCESS:
        return DELIVERED
    else:
        outcome, reason = f"{reply.status // 100}xx", f"http-{reply.status}"
        asked_ms = retry_after_ms(reply, wall_s=wall_s) if reply.status in _THROTTLING else None
    gone = reply is not None and reply.status == _GONE
    is_last = attempt >= retry.attempts
    due_ms = now_ms + max(wait_ms(retry, attempt, chance), asked_ms or 0)
    return Decision(
        status=DeliveryStatus.EXHAUSTED if is_last else DeliveryStatus.PENDING,
        outcome=outcome,
        due_ms=None if is_last else due_ms,
        error=reason,
        gone=gone,
        throttle_until_ms=now_ms + asked_ms if asked_ms else None,
    )


def retry_after_ms(reply: Reply, *, wall_s: int) -> int | None:
    """The wait that a reply's `Retry-After` asks for, at most an hour; None if it asks for nothing intelligible.

    A date counts from the reply's own `Date`, if it has a good one, so that the two machines' clocks need not agree.
    """
    headers = {name.lower(): value.strip() for name, value in reversed(reply.headers)}
    value = headers.get("retry-after", "")
    if _SECONDS.fullmatch(value):
        # Long rows of digits are not worth a big integer: four of them are past the hour already.
        digits = value.lstrip("0")
        seconds = int(digits or "0") if len(digits) <= len("3600") else RETRY_AFTER_MS_MAX
    else:
        until = _read_date(value)
        if until is None:
            return None
        sent = _read_date(headers.get("date", ""))
        seconds = until - (wall_s if sent is None else sent)
    return max(0, min(seconds * 1000, RETRY_AFTER_MS_MAX))


def _read_date(text: str) -> int | None:
    """An HTTP date in seconds since the epoch, or None."""
    if not 0 < len(text) <= len("Wednesday, 09-November-94 08:49:37 GMT") + 2:
        return None
    try:
        moment = parsedate_to_datetime(text)
        return int((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
