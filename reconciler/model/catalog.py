"""The seven webhook types and what each one's payload holds, in the order in which payloads are written.

The one table behind ingest checks, key order, typed template tokens, example payloads and `reconcile types`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CATALOG", "OPEN", "Direction", "EventSpec", "JsonType", "Open", "Variable", "lookup"]


class Direction(StrEnum):
    """Who calls whom: the outside us, or we the outside."""

    INCOMING = "incoming"
    OUTGOING = "outgoing"


class JsonType(StrEnum):
    """The JSON types that documented fields have."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"


class Open(Enum):
    """The type of OPEN."""

    OPEN = "open"


OPEN: Final = Open.OPEN
"""What `lookup` says of a path below an open object, where anything may stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A field of a payload.

    `required` is whether every delivered payload has it; `constant` its only value, or None; `open` whether it is
    an object whose keys are not fixed, `is_time` whether a string is an ISO 8601 timestamp. `example` is None for
    objects, whose fields have their own.
    """

    path: str
    json_type: JsonType
    required: bool
    constant: str | bool | None
    open: bool
    meaning: str
    example: str | float | bool | None
    is_time: bool = False

    @property
    def is_scalar(self) -> bool:
        """Whether it may stand in a URL or a header."""
        return self.json_type is not JsonType.OBJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSpec:
    """A webhook type. `variables` are in payload order, each object before its fields."""

    type: EventType
    title: str
    summary: str
    direction: Direction
    variables: tuple[Variable, ...]
    by_path: Mapping[str, Variable] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = MappingProxyType({variable.path: variable for variable in self.variables})
        object.__setattr__(self, "by_path", index)


def lookup(event_type: EventType, path: str) -> Variable | Open | None:
    """What a template path means for this event: a variable, OPEN below an open object, None if neither."""
    known = CATALOG[event_type].by_path
    if path in known:
        return known[path]
    parent = path.rpartition(".")[0]
    while parent:
        if parent in known:
            return OPEN if known[parent].open else None
        parent = parent.rpartition(".")[0]
    return None


def _string(path: str, meaning: str, example: str, *, required: bool = True, is_time: bool = False) -> Variable:
    return Variable(
        path=path,
        json_type=JsonType.STRING,
        required=required,
        constant=None,
        open=False,
        meaning=meaning,
        example=example,
        is_time=is_time,
    )


def _number(path: str, meaning: str, example: int) -> Variable:
    return Variable(
        path=path,
        json_type=JsonType.NUMBER,
        required=True,
        constant=None,
        open=False,
        meaning=meaning,
        example=example,
    )


def _constant(path: str, value: str | bool, meaning: str) -> Variable:  # noqa: FBT001 - the value itself is a boolean
    json_type = JsonType.BOOLEAN if isinstance(value, bool) else JsonType.STRING
    return Variable(
        path=path, json_type=json_type, required=True, constant=value, open=False, meaning=meaning, example=value
    )


def _object(path: str, meaning: str, *, is_open: bool = False) -> Variable:
    return Variable(
        path=path,
        json_type=JsonType.OBJECT,
        required=True,
        constant=None,
        open=is_open,
        meaning=meaning,
        example=None,
    )


_DELIVERY_ID = _string(
    "deliveryId",
    "Identifies the delivery; the same on every retry, so that a receiver can drop what it has already seen.",
    "0195800e-6ad4-7c31-8f0e-5b1f0c9a7d42",
)
_BOT_AND_SOURCE = (
    _string("bot", "Display name of the bot.", "My Bot"),
    _string("dataSource", "Display name of the data source that was synced.", "Data source one"),
)
_AGENT = (
    _object("agent", "The human agent who acted."),
    _string("agent.name", "The agent's display name.", "Ada"),
    _string("agent.email", "The agent's email address.", "ada@example.com"),
)


def _sync(*, success: bool, outcome: tuple[Variable, ...]) -> tuple[Variable, ...]:
    succeeded = _constant("success", success, f"Always {'true' if success else 'false'} for this event.")
    return (succeeded, _DELIVERY_ID, *outcome, *_BOT_AND_SOURCE)


def _conversation(
    event_type: EventType, time: str, own: tuple[Variable, ...], after: tuple[Variable, ...] = ()
) -> tuple[Variable, ...]:
    return (
        _constant("event", event_type.value, "The event's type."),
        _DELIVERY_ID,
        _string("timestamp", "When it happened, as an ISO 8601 timestamp.", time, is_time=True),
        _object("conversation", "The conversation that it happened in."),
        _string("conversation.id", "Identifies the conversation.", "conv-20417"),
        _string("conversation.botId", "Identifies the bot.", "def-456"),
        _string("conversation.botName", "Display name of the bot.", "My Bot"),
        _string("conversation.channelType", "Where the user is talking, such as web or slack.", "web"),
        *own,
        *after,
    )


def _state(value: str) -> Variable:
    return _constant("conversation.state", value, f"The conversation's state, always {value} for this event.")


def _spec(event_type: EventType, title: str, summary: str, variables: tuple[Variable, ...]) -> EventSpec:
    direction = Direction.INCOMING if event_type.is_incoming else Direction.OUTGOING
    return EventSpec(type=event_type, title=title, summary=summary, direction=direction, variables=variables)


_SPECS = (
    _spec(
        EventType.SYNC_TRIGGER,
        "Sync trigger",
        "A URL of its own: whoever calls it, with any method, starts a sync of the data source.",
        (),
    ),
    _spec(
        EventType.SYNC_SUCCESS,
        "Sync success",
        "A data source of the bot has been synced.",
        _sync(
            success=True,
            outcome=(
                _object("results", "What the sync counted."),
                _number("results.totalTokens", "Storage tokens that the sync used.", 48210),
                _number("results.modifiedRows", "Rows that changed since the sync before.", 7),
                _number("results.totalDocuments", "Documents that belong to the data source.", 42),
                _number("results.unmodifiedRows", "Rows that stayed the same since the sync before.", 113),
                _number("results.totalDataSourceRows", "Rows of the data source in all.", 120),
            ),
        ),
    ),
    _spec(
        EventType.SYNC_FAILURE,
        "Sync failure",
        "A data source of the bot could not be synced.",
        _sync(
            success=False,
            outcome=(_string("reason", "Why the sync failed.", "The source answered 503 three times in a row"),),
        ),
    ),
    _spec(
        EventType.CONVERSATION_STARTED,
        "Conversation started",
        "Somebody has begun a conversation with the bot.",
        _conversation(
            EventType.CONVERSATION_STARTED,
            "2026-05-04T09:30:00.000Z",
            (
                _string(
                    "conversation.initialMessage",
                    "The user's first message; absent if there was none.",
                    "Hi, is the shop open on Sundays?",
                    required=False,
                ),
                _string(
                    "conversation.createdAt",
                    "When the conversation was created, as an ISO 8601 timestamp.",
                    "2026-05-04T09:30:00.000Z",
                    is_time=True,
                ),
            ),
        ),
    ),
    _spec(
        EventType.CONVERSATION_ESCALATED,
        "Conversation escalated",
        "A user has asked for a human, on whatever channel.",
        _conversation(
            EventType.CONVERSATION_ESCALATED,
            "2026-05-04T09:32:10.000Z",
            (
                _state("Escalated"),
                _object("conversation.userData", "What the bot has collected about the user.", is_open=True),
            ),
            (_string("userEmail", "The email address that the user gave.", "sam@example.org"),),
        ),
    ),
    _spec(
        EventType.CONVERSATION_CLAIMED,
        "Conversation claimed",
        "A human agent has taken the conversation over.",
        _conversation(EventType.CONVERSATION_CLAIMED, "2026-05-04T09:33:45.000Z", (_state("Active"),), _AGENT),
    ),
    _spec(
        EventType.CONVERSATION_RELEASED,
        "Conversation released",
        "A human agent has handed the conversation back to the bot.",
        _conversation(EventType.CONVERSATION_RELEASED, "2026-05-04T09:41:20.000Z", (_state("Resolved"),), _AGENT),
    ),
)

CATALOG: Final[Mapping[EventType, EventSpec]] = MappingProxyType({spec.type: spec for spec in _SPECS})
"""Every webhook type, in catalog order."""
