"""CloudEvents 1.0 to events as they are posted: pure, on parsed JSON and headers.

`type` names the event (a reverse-DNS prefix is cut off), `data` is its payload, `source` and `id` together are its
identity, and `time` is its timestamp where the payload has none. All other attributes are let pass and mean nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_to_bytes

from reconciler.model.event import EVENT_ID_CHARACTERS_MAX, EventProblem, is_event_id, is_timestamp, qualified_id
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BINARY", "SOURCE_CHARACTERS_MAX", "STRUCTURED", "Unwrapped", "attributes_of", "is_binary", "unwrap"]

SPEC_VERSION = "1.0"
SOURCE_CHARACTERS_MAX = 1_024
_SHOWN_CHARACTERS = 40

_TYPES = {kind.value for kind in EventType if not kind.is_incoming}
_PREFIXED = re.compile(r"(?:[A-Za-z0-9_-]+\.)*([a-z]+\.[a-z]+)")
_JSON_TYPE = re.compile(r"[\w.+-]+/(?:[\w.-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)
_ZONED = re.compile(r".*T.*:.*:.*(?:Z|[+-][0-9]{2}:[0-9]{2})")
_REQUIRED_HEADERS = frozenset((b"ce-specversion", b"ce-type", b"ce-source", b"ce-id"))
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Mode(NamedTuple):
    """How problems are placed: the pointer of an attribute and of the data, and what an attribute is called."""

    attributes: str | None
    data: str
    prefix: str

    def pointer(self, name: str) -> str:
        """Where an attribute stands; headers stand nowhere in the body."""
        return "" if self.attributes is None else f"{self.attributes}/{name}"


STRUCTURED = Mode("", "/data", "")
BINARY = Mode(None, "", "ce-")


class Unwrapped(NamedTuple):
    """A posted event, its identity, and what is wrong with the envelope; `is_whole` says that both are there."""

    value: Any
    id: str
    problems: list[EventProblem]
    is_whole: bool


def is_binary(attributes: Mapping[bytes, bytes]) -> bool:
    """Whether these `ce-` headers are a CloudEvent's: any that each of them must have."""
    return not _REQUIRED_HEADERS.isdisjoint(attributes)


def attributes_of(headers: Mapping[bytes, bytes]) -> tuple[dict[str, Any], list[EventProblem]]:
    """The attributes that stand in `ce-` headers, quotes and percent-encoding taken off."""
    attributes: dict[str, Any] = {}
    problems = []
    for header, value in headers.items():
        name = header.decode("latin-1")
        text = value.decode("latin-1").strip()
        quoted = _QUOTED.fullmatch(text)
        if quoted is not None:
            text = re.sub(r"\\(.)", r"\1", quoted[1])
        try:
            attributes[name.removeprefix("ce-")] = unquote_to_bytes(text).decode()
        except UnicodeDecodeError:
            attributes[name.removeprefix("ce-")] = ""
            problems.append(EventProblem("", "invalid-attribute", f"`{_shown(name)}` is not percent-encoded UTF-8"))
    return attributes, problems


def unwrap(envelope: object, read: Callable[[bytes], Any], *, mode: Mode = STRUCTURED) -> Unwrapped:
    """The event in a CloudEvent. `read` parses the JSON of `data_base64` and raises ValueError."""
    if not isinstance(envelope, dict):
        message = "a CloudEvent is a JSON object"
        return Unwrapped(None, "", [EventProblem(mode.attributes or "", "wrong-type", message)], is_whole=False)
    problems: list[EventProblem] = []

    def refuse(name: str, code: str, message: str) -> None:
        problems.append(EventProblem(mode.pointer(name), code, f"`{mode.prefix}{name}` {message}"))

    given = {name: value for name, value in envelope.items() if value is not None}
    _check_version(given, refuse)
    identity = _identity(given, refuse)
    event_type = _type(given, refuse)
    time = _time(given, refuse)
    data = _data(given, read, refuse)
    if not isinstance(data, dict) or event_type is None:
        if data is not _ABSENT and not isinstance(data, dict):
            problems.append(EventProblem(mode.data, "wrong-type", "the data is an event's payload: a JSON object"))
        return Unwrapped(None, "", problems, is_whole=False)
    value = {**data, "event": event_type}
    if data.get("event", event_type) != event_type:
        message = f'event must be "{event_type}", as the `{mode.prefix}type` says, or be left out'
        problems.append(EventProblem(f"{mode.data}/event", "wrong-constant", message))
    own = value.pop("id", None)
    if own is not None and own != given.get("id"):
        message = f"id must be the `{mode.prefix}id` of the CloudEvent, or be left out"
        problems.append(EventProblem(f"{mode.data}/id", "wrong-constant", message))
    if time is not None:
        value.setdefault("timestamp", time)
    return Unwrapped(value, identity, problems, is_whole=True)


def _check_version(given: dict[str, Any], refuse: Callable[[str, str, str], None]) -> None:
    version = given.get("specversion")
    if version is None:
        refuse("specversion", "missing", f'is missing: "{SPEC_VERSION}" is understood')
    elif version != SPEC_VERSION:
        refuse("specversion", "unsupported-version", f'must be "{SPEC_VERSION}", the only version understood')


def _identity(given: dict[str, Any], refuse: Callable[[str, str, str], None]) -> str:
    """`source` and `id` as one: ids of different sources are different events."""
    source, own = given.get("source"), given.get("id")
    if source is None:
        refuse("source", "missing", "is missing: say who the id is unique for")
    elif not (isinstance(source, str) and 0 < len(source) <= SOURCE_CHARACTERS_MAX and source.isprintable()):
        refuse("source", "invalid-source", f"is a printable URI of 1 to {SOURCE_CHARACTERS_MAX} characters")
    if own is None:
        refuse("id", "missing", "is missing: a CloudEvent has one, unique for its source")
    elif not is_event_id(own):
        refuse("id", "invalid-id", f"is a printable text of 1 to {EVENT_ID_CHARACTERS_MAX} characters")
    return qualified_id(str(source), str(own))


def _type(given: dict[str, Any], refuse: Callable[[str, str, str], None]) -> str | None:
    """The catalog's type: the last two labels of `type`."""
    wanted = f"is one of {', '.join(sorted(_TYPES))}, with or without a reverse-DNS prefix"
    if "type" not in given:
        refuse("type", "missing", f"is missing: it {wanted}")
        return None
    found = _PREFIXED.fullmatch(given["type"]) if isinstance(given["type"], str) else None
    if found is None or found[1] not in _TYPES:
        refuse("type", "unknown-event", wanted)
        return None
    return found[1]


def _time(given: dict[str, Any], refuse: Callable[[str, str, str], None]) -> str | None:
    time = given.get("time")
    if time is None:
        return None
    text = time.upper() if isinstance(time, str) else ""  # RFC 3339 allows t and z
    if not is_timestamp(text) or _ZONED.fullmatch(text) is None or "," in text:
        refuse("time", "wrong-type", "is an RFC 3339 timestamp")
        return None
    return text


_ABSENT: Any = object()


def _data(given: dict[str, Any], read: Callable[[bytes], Any], refuse: Callable[[str, str, str], None]) -> Any:
    """The data as a JSON value, or _ABSENT once it has been said why there is none."""
    content_type = given.get("datacontenttype", "application/json")
    if not (isinstance(content_type, str) and _JSON_TYPE.fullmatch(content_type)):
        refuse("datacontenttype", "unsupported-data", "must be JSON: application/json, or left out")
        return _ABSENT
    if "data" in given:
        if "data_base64" in given:
            refuse("data_base64", "unsupported-data", "stands beside `data`: give one of them")
            return _ABSENT
        return given["data"]
    encoded = given.get("data_base64")
    if encoded is None:
        refuse("data", "missing", "is missing: it is the event's payload")
        return _ABSENT
    try:
        return read(base64.b64decode(encoded, validate=True))
    except (binascii.Error, TypeError, ValueError):
        refuse("data_base64", "malformed-json", "is not the base64 of JSON with integers of at most 64 bits")
        return _ABSENT


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
