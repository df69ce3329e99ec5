"""Events: what may be posted, and the payload that goes out for it.

A payload has the documented keys in the documented order at every level, then whatever else was posted. It is
stored without `deliveryId`, which each delivery splices in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.model.catalog import CATALOG, JsonType, Variable
from reconciler.model.hook import EventType, NoticeType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = [
    "EVENT_ID_CHARACTERS_MAX",
    "EventProblem",
    "Posted",
    "check",
    "check_results",
    "example_payload",
    "is_event_id",
    "is_timestamp",
    "iso_timestamp",
    "own_id",
    "payload_bytes",
    "qualified_id",
    "with_delivery_id",
]

EVENT_ID_CHARACTERS_MAX = 255

_QUALIFIER_END = "\u00a0"
"""Ends what an id is unique within: a blank to the eye, and no printable character, so that no posted id has one."""

_TIMESTAMP = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::(?:[0-5][0-9]|60)(?:[.,][0-9]{1,9})?)?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9])?"
)


class EventProblem(NamedTuple):
    """Something wrong with a posted event; `pointer` is a JSON pointer into it."""

    pointer: str
    code: str
    message: str


class Posted(NamedTuple):
    """A well-formed event, in canonical order, before anybody has looked for its receivers.

    `id` is the poster's own or None. `bot` is a conversation's `botId`, or what a sync event names its bot by, as
    `data_source` is for its data source (None for conversations). In `payload` a missing `botName` is None.
    """

    id: str | None
    type: EventType
    payload: dict[str, Any]
    bot: str
    data_source: str | None


def check(value: object, *, now_iso: str) -> Posted | list[EventProblem]:
    """The event that was posted, or everything that is wrong with it. `value` is parsed JSON and is not changed."""
    if not isinstance(value, dict):
        return [EventProblem("", "wrong-type", "an event is a JSON object")]
    event_type, event_id = value.get("event"), value.get("id")
    shape = _SHAPES.get(event_type) if isinstance(event_type, str) else None
    if shape is None or not (event_id is None or is_event_id(event_id)):
        return list(_problems(value))
    payload = _arrange(shape.root, value, now_iso)
    if payload is None:
        return list(_problems(value))
    if shape.is_sync:
        return Posted(event_id, shape.type, payload, payload["bot"], payload["dataSource"])
    return Posted(event_id, shape.type, payload, payload["conversation"]["botId"], None)


def check_results(value: object) -> list[EventProblem]:
    """What keeps `value` from being the `results` of a successful sync, as pointers into it."""
    results = next(known for known in _SHAPES[EventType.SYNC_SUCCESS].root.fields if known.name == "results")
    return list(_field_problems(results, value, ""))


def is_event_id(value: object) -> bool:
    """Whether it can be the id of an event: a short, printable, non-empty text."""
    return isinstance(value, str) and 0 < len(value) <= EVENT_ID_CHARACTERS_MAX and value.isprintable()


def is_timestamp(value: object) -> bool:
    """Whether it is an ISO 8601 date and time."""
    return type(value) is str and _TIMESTAMP.fullmatch(value) is not None


def qualified_id(source: str, own: str) -> str:
    """The id of an event whose own id is unique for its source alone. No id without a source equals it."""
    return f"{source}{_QUALIFIER_END}{own}"


def own_id(event_id: str) -> str:
    """The id as its poster gave it."""
    return event_id.rpartition(_QUALIFIER_END)[2]


def iso_timestamp(now_ms: int) -> str:
    """Milliseconds since the epoch as payloads write a time: `2026-03-10T12:00:00.000Z`."""
    moment = datetime.fromtimestamp(now_ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{now_ms % 1000:03d}Z"


def payload_bytes(
    posted: Posted,
    *,
    bot_name: str | None,
    data_source_name: str | None,
    encode: Callable[[object], bytes],
) -> bytes:
    """The canonical payload with the configured names filled in; None leaves what was posted.

    A `botName` that was posted stays; one that was not, and whose bot nobody knows, is left out.
    """
    payload = posted.payload
    if posted.data_source is not None:
        names = {"bot": bot_name or posted.bot, "dataSource": data_source_name or posted.data_source}
        return encode(payload | names)
    conversation = payload["conversation"]
    if conversation["botName"] is None:
        named = {key: value for key, value in conversation.items() if value is not None or key != "botName"}
        payload = payload | {"conversation": conversation | {"botName": bot_name} if bot_name else named}
    return encode(payload)


def with_delivery_id(payload: bytes, event_type: str, delivery_id: str) -> bytes:
    """A stored payload as it goes out: `deliveryId` spliced in as the second key, nothing else touched."""
    start = _STARTS[event_type]
    if not payload.startswith(start):
        raise ValueError(f"this is no stored payload of {event_type}")
    return b'%b"deliveryId":"%b",%b' % (start, delivery_id.encode("ascii"), payload[len(start) :])


def example_payload(
    event_type: EventType,
    *,
    bot_name: str,
    bot_id: str,
    data_source_name: str | None = None,
    now_iso: str | None = None,
) -> dict[str, Any]:
    """What a test sends: the catalog's example without `deliveryId`, with these names and, if given, this time."""
    own: dict[str, Any] = {"conversation.botId": bot_id, "conversation.botName": bot_name, "bot": bot_name}
    if data_source_name is not None:
        own["dataSource"] = data_source_name
    payload: dict[str, Any] = {}
    for variable in CATALOG[event_type].variables:
        if variable.path == "deliveryId":
            continue
        *parents, name = variable.path.split(".")
        target = payload
        for parent in parents:
            target = target[parent]
        value: Any = own.get(variable.path, {} if variable.json_type is JsonType.OBJECT else variable.example)
        target[name] = now_iso if variable.is_time and now_iso is not None else value
    return payload


# -- the table, compiled ----------------------------------------------------------------------------------------


class _Absent(Enum):
    """What is done about a field that was not posted; anything else is the value to fill in."""

    REFUSE = "refuse"
    LEAVE_OUT = "leave out"
    NOW = "now"


class _Field(NamedTuple):
    """A documented field: what it `accepts`, in words `wanted`, and the object inside it if that has fields too."""

    name: str
    accepts: Callable[[object], bool]
    wanted: str
    absent: Any
    is_constant: bool
    inner: _Object | None


class _Object(NamedTuple):
    """A documented object. `known` are the names that are not passed through: its fields, and what never goes out."""

    fields: tuple[_Field, ...]
    known: frozenset[str]


class _Shape(NamedTuple):
    type: EventType
    is_sync: bool
    root: _Object


def _arrange(shape: _Object, value: dict[str, Any], now_iso: str) -> dict[str, Any] | None:
    """The object in canonical order, or None if anything is wrong with it: the hot path, which lists no problems."""
    out: dict[str, Any] = {}
    taken = 0
    for name, accepts, _, absent, _, inner in shape.fields:
        item = value.get(name, _ABSENT)
        if item is _ABSENT:
            if absent is _Absent.REFUSE:
                return None
            if absent is not _Absent.LEAVE_OUT:
                out[name] = now_iso if absent is _Absent.NOW else absent
            continue
        if not accepts(item):
            return None
        if inner is not None:
            item = _arrange(inner, item, now_iso)
            if item is None:
                return None
        out[name] = item
        taken += 1
    if taken < len(value):
        out.update((name, item) for name, item in value.items() if name not in shape.known)
    return out


_ABSENT = object()


def _is_string(item: object) -> bool:
    return type(item) is str


def _is_object(item: object) -> bool:
    return type(item) is dict


def _is_number(item: object) -> bool:
    return type(item) is int or type(item) is float


def _is_exactly(constant: str | bool) -> Callable[[object], bool]:  # noqa: FBT001 - the value itself is a boolean
    """Equal and of one type: 1 is not true."""
    kind = type(constant)
    return lambda item: type(item) is kind and item == constant


def _problems(value: dict[str, Any]) -> Iterator[EventProblem]:
    """Everything that is wrong with an event that `check` has turned down."""
    if not (value.get("id") is None or is_event_id(value["id"])):
        message = f"an id is a printable text of 1 to {EVENT_ID_CHARACTERS_MAX} characters"
        yield EventProblem("/id", "invalid-id", message)
    if "event" not in value:
        yield EventProblem("/event", "missing", f"say which event this is: {_TYPES}")
        return
    shape = _SHAPES.get(value["event"]) if isinstance(value["event"], str) else None
    if shape is None:
        yield EventProblem("/event", "unknown-event", f"an event is one of {_TYPES}")
        return
    yield from _object_problems(shape.root, value, "")


def _object_problems(shape: _Object, value: dict[str, Any], pointer: str) -> Iterator[EventProblem]:
    for known in shape.fields:
        place = f"{pointer}/{known.name}"
        if known.name in value:
            yield from _field_problems(known, value[known.name], place)
        elif known.absent is _Absent.REFUSE:
            yield EventProblem(place, "missing", f"{known.name} is missing: give {known.wanted}")


def _field_problems(known: _Field, item: object, pointer: str) -> Iterator[EventProblem]:
    if not known.accepts(item):
        code = "wrong-constant" if known.is_constant else "wrong-type"
        yield EventProblem(pointer, code, f"{known.name} must be {known.wanted}")
    elif known.inner is not None and isinstance(item, dict):
        yield from _object_problems(known.inner, item, pointer)


def _compile(event_type: EventType) -> _Shape:
    variables = [variable for variable in CATALOG[event_type].variables if variable.path != "deliveryId"]
    never_out = {"id", "deliveryId", "event"} | ({"timestamp"} if event_type.is_sync else set())
    return _Shape(event_type, event_type.is_sync, _compile_object(variables, "", frozenset(never_out)))


def _compile_object(variables: list[Variable], prefix: str, never_out: frozenset[str]) -> _Object:
    fields = tuple(
        _compile_field(variable, variables)
        for variable in variables
        if variable.path.startswith(prefix) and "." not in variable.path[len(prefix) :]
    )
    return _Object(fields, never_out | {known.name for known in fields})


def _compile_field(variable: Variable, variables: list[Variable]) -> _Field:
    name, constant = variable.path.rpartition(".")[2], variable.constant
    absent: Any = _Absent.REFUSE if variable.required else _Absent.LEAVE_OUT
    if constant is not None:
        wanted = str(constant).lower() if isinstance(constant, bool) else f'"{constant}"'
        return _Field(name, _is_exactly(constant), wanted, constant, True, None)
    inner = None
    if variable.json_type is JsonType.OBJECT and not variable.open:
        inner = _compile_object(variables, f"{variable.path}.", frozenset())
    accepts, wanted = _TYPE_CHECKS[variable.json_type]
    if variable.is_time:
        accepts, wanted = is_timestamp, "an ISO 8601 timestamp"
    return _Field(name, accepts, wanted, _FILLED_IN.get(variable.path, absent), False, inner)


_TYPE_CHECKS: Mapping[JsonType, tuple[Callable[[object], bool], str]] = {
    JsonType.STRING: (_is_string, "a string"),
    JsonType.NUMBER: (_is_number, "a number"),
    JsonType.OBJECT: (_is_object, "an object"),
}
_FILLED_IN = {"timestamp": _Absent.NOW, "conversation.botName": None}
_SHAPES: Mapping[str, _Shape] = {kind.value: _compile(kind) for kind in EventType if not kind.is_incoming}
_TYPES = ", ".join(_SHAPES)
_STARTS: Mapping[str, bytes] = {
    kind: (
        b'{"success":%b,' % (b"true" if EventType(kind) is EventType.SYNC_SUCCESS else b"false")
        if EventType(kind).is_sync
        else b'{"event":"%b",' % kind.encode("ascii")
    )
    for kind in _SHAPES
} | {kind.value: b'{"event":"%b",' % kind.value.encode("ascii") for kind in NoticeType}
