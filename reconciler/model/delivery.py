"""A delivery's life: states, attempts, and the tokens that say who may move it.

::

    pending ──claim──▶ sending ──settle──▶ delivered | exhausted | refused
       ▲                  │
       └── retry / release / lease expiry
    pending ──hook deleted──▶ cancelled        pending ──parked too long──▶ expired
    exhausted | refused | expired ──redeliver──▶ pending, a new round with a fresh budget
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Accepted",
    "Attempt",
    "AttemptError",
    "Claim",
    "Delivery",
    "DeliveryFilter",
    "DeliveryStatus",
    "Fence",
    "NewDelivery",
    "NewEvent",
    "Settlement",
    "Taking",
    "is_error_class",
]


class DeliveryStatus(StrEnum):
    """Where a delivery stands; exactly one at any time."""

    __hash__ = str.__hash__  # an enum's own is written in Python, and looked up for each delivery

    PENDING = "pending"
    SENDING = "sending"
    DELIVERED = "delivered"
    EXHAUSTED = "exhausted"
    REFUSED = "refused"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_live(self) -> bool:
        """Whether an attempt may still follow by itself."""
        return self in (DeliveryStatus.PENDING, DeliveryStatus.SENDING)

    @property
    def is_redeliverable(self) -> bool:
        """Whether `retry` may start a new round. Delivered ones may be sent again on request, too."""
        return self in (
            DeliveryStatus.EXHAUSTED,
            DeliveryStatus.REFUSED,
            DeliveryStatus.EXPIRED,
            DeliveryStatus.DELIVERED,
        )


class AttemptError(StrEnum):
    """Why an attempt without a complete answer failed: the closed set of classes for logs and metrics."""

    TIMEOUT = "timeout"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    DISCONNECTED = "disconnected"
    PROTOCOL = "protocol"
    EGRESS = "egress"
    UNRENDERABLE = "unrenderable"
    INTERNAL = "internal"


_ANSWER = re.compile(r"http-[1-5][0-9]{2}")


def is_error_class(text: str) -> bool:
    """Whether a delivery's last error may be this: one of AttemptError, or `http-503` for an answer."""
    return text in list(AttemptError) or _ANSWER.fullmatch(text) is not None


# What a delivery makes anew at every step are tuples: they cost a third of a frozen dataclass, and half of that again
# where they are made by place. So the hot path names their fields in a comment, if at all.


class NewDelivery(NamedTuple):
    """A delivery to be made: its minted id and the webhook it goes to."""

    id: str
    hook_id: str


class NewEvent(NamedTuple):
    """An event with its fan-out, ready to be stored.

    `id` is the poster's, or minted. `type` is a catalog type. `payload` is the canonical payload without
    `deliveryId` (see `model.event`). `unmatched` names what was unknown: `bot` or `dataSource`.
    """

    id: str
    type: str
    payload: bytes
    received_ms: int
    deliveries: tuple[NewDelivery, ...]
    unmatched: str | None = None


class Fence(NamedTuple):
    """The proof of a claim: how often the row has been claimed, and by whom. Stale proofs change nothing."""

    claims: int
    owner: str


class Claim(NamedTuple):
    """A delivery that this worker may attempt until its lease ends.

    `attempt` is the number of the attempt to be made within the round, from 1. `payload` is the event's.
    """

    delivery_id: str
    hook_id: str
    event_id: str
    event_type: str
    payload: bytes
    attempt: int
    round: int
    created_ms: int
    fence: Fence

    @property
    def is_retry(self) -> bool:
        """Whether it stands in the lane of retries: it was attempted before, or is redelivered."""
        return self.attempt > 1 or self.round > 1


class Attempt(NamedTuple):
    """One request and its answer, as recorded.

    `status` is the HTTP status, or None and `error` set. `headers` are the response's as JSON text, `body` its
    start, both scrubbed of secrets before they get here. `message` says more about an error.
    """

    number: int
    round: int
    started_ms: int
    duration_ms: int
    status: int | None = None
    error: AttemptError | None = None
    message: str = ""
    headers: str = ""
    body: bytes = b""


class Settlement(NamedTuple):
    """What becomes of a claim after its attempt.

    `status` is the new one: PENDING with `due_ms` for a retry, else an end. `attempt` is None when none was made
    (a refusal before the dial records one, a release does not). `gone` marks the webhook as answered 410.
    """

    delivery_id: str
    fence: Fence
    status: DeliveryStatus
    due_ms: int | None = None
    attempt: Attempt | None = None
    error: str | None = None
    gone: bool = False


class Taking(NamedTuple):
    """What a worker claims of deliveries as they are stored: of each hook so many, the first ones."""

    rooms: Mapping[str, int]
    owner: str
    lease_until_ms: int


class Accepted(NamedTuple):
    """What accepting an event came to. A duplicate repeats the first answer's figures, and claims nothing."""

    event_id: str
    duplicate: bool
    deliveries: int
    unmatched: str | None
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery as the log shows it. `attempts` counts all requests made, over all rounds.

    `hook` is the webhook's address now, or its last one when it was deleted. `last_error` is an AttemptError or
    a short reason.
    """

    id: str
    hook_id: str
    hook: str
    event: str
    event_id: str
    status: DeliveryStatus
    round: int
    attempts: int
    created_ms: int
    next_attempt_ms: int | None = None
    finished_ms: int | None = None
    last_status: int | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries: every given field must match. `since_ms` ≤ created < `until_ms`.

    With `ended_before_ms` only those that have ended, and before then.
    """

    hook_ids: frozenset[str] | None = None
    statuses: frozenset[DeliveryStatus] | None = None
    event: str | None = None
    error: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    ended_before_ms: int | None = None
    ids: tuple[str, ...] | None = field(default=None)
