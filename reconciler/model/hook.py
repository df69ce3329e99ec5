"""A webhook as the daemon runs it: typed, references resolved, secrets at hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from reconciler.model.template import classify_body

if TYPE_CHECKING:
    from reconciler.model.template import Site, Template

__all__ = [
    "DELIVERED_TYPES",
    "HOOK_TYPES",
    "NOTIFY_ADDRESS",
    "BodyTemplate",
    "CommandSync",
    "CustomPayload",
    "DataSource",
    "EventType",
    "HttpSync",
    "Method",
    "NoticeType",
    "NotifyType",
    "OutgoingHook",
    "Retry",
    "SigningSecrets",
    "TriggerHook",
]

NOTIFY_ADDRESS: Final = "notify"
"""The address of the webhook that hears notices. No other webhook's address is without a slash."""

Method: TypeAlias = Literal["POST", "PUT", "PATCH", "GET", "DELETE"]


class EventType(StrEnum):
    """The webhook types, in catalog order. SYNC_TRIGGER is the only incoming one."""

    __hash__ = str.__hash__  # an enum's own is written in Python, and looked up for each event

    SYNC_TRIGGER = "sync.trigger"
    SYNC_SUCCESS = "sync.success"
    SYNC_FAILURE = "sync.failure"
    CONVERSATION_STARTED = "conversation.started"
    CONVERSATION_ESCALATED = "conversation.escalated"
    CONVERSATION_CLAIMED = "conversation.claimed"
    CONVERSATION_RELEASED = "conversation.released"

    @property
    def is_incoming(self) -> bool:
        """Whether the outside calls us."""
        return self is EventType.SYNC_TRIGGER

    @property
    def is_sync(self) -> bool:
        """Whether the event tells of a data source rather than a conversation."""
        return self in (EventType.SYNC_SUCCESS, EventType.SYNC_FAILURE)


class NoticeType(StrEnum):
    """The events of this program's own, which tell an operator how webhooks fare."""

    GONE = "webhook.gone"
    FAILING = "webhook.failing"
    RECOVERED = "webhook.recovered"
    EXHAUSTED = "delivery.exhausted"


class NotifyType(StrEnum):
    """The type of the one webhook that hears of the others: what `notify` in the configuration declares."""

    NOTIFY = "notify"


HOOK_TYPES: Final = (*map(str, EventType), *map(str, NotifyType))
"""The types of webhooks, in the order in which they are listed."""

DELIVERED_TYPES: Final = (*(str(kind) for kind in EventType if not kind.is_incoming), *map(str, NoticeType))
"""The types of what is delivered: events that are posted, and notices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """`attempts` requests in all; `schedule_ms[i]` waits after attempt i+1, the last one repeating; ± jitter."""

    attempts: int
    schedule_ms: tuple[int, ...]
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningSecrets:
    """What a delivery is signed with. Within an overlap `previous` is set and good until `overlap_until_ms`."""

    current: str = field(repr=False)
    previous: str | None = field(default=None, repr=False)
    overlap_until_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomPayload:
    """An enabled override. What it leaves out (None) keeps its default."""

    method: Method
    headers: tuple[tuple[str, Template], ...]
    body: BodyTemplate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyTemplate:
    """A body and how its tokens are encoded: `site` is decided once, on the template and the content type."""

    template: Template
    content_type: str
    site: Site = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", classify_body(self.template, self.content_type)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingHook:
    """Everything needed to render, sign and send one delivery.

    `bot` is a handle, empty for the webhook that hears notices, which has none. `data_source` is the address of the
    one it is scoped to. `scrub` are the texts no record may keep.
    """

    id: str
    address: str
    type: EventType | NotifyType
    enabled: bool
    bot: str
    data_source: str | None
    url: Template = field(repr=False)
    timeout_ms: int
    retry: Retry
    concurrency: int
    secret_header: bool
    standard_webhooks: bool
    custom: CustomPayload | None = field(repr=False)
    secrets: SigningSecrets
    scrub: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TriggerHook:
    """A trigger URL's other half. `digests` are SHA-256 of the secrets in force, with the end of each in ms.

    The current secret's end is None. `data_source` is the address of what it syncs.
    """

    id: str
    address: str
    enabled: bool
    data_source: str
    digests: tuple[tuple[bytes, int | None], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSync:
    """A sync that is asked for over HTTP."""

    method: str
    url: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSync:
    """A sync that is a program: an argv, never a shell."""

    argv: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSource:
    """A data source and how it is synced; `sync` is None where no trigger may name it."""

    address: str
    bot: str
    id: str
    name: str
    sync: HttpSync | CommandSync | None
    timeout_ms: int
    scrub: tuple[str, ...] = field(default=(), repr=False)
