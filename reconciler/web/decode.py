"""Bodies to events as JSON values: which decoder reads a content type, and what JSON may not do.

A decoder takes a body and an Idempotency-Key and gives the events with their places in the body. CloudEvents are
unwrapped here; nothing after this module knows of them.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import orjson

from reconciler.model.event import EventProblem
from reconciler.web.body import BodyTooLarge
from reconciler.web.cloudevents import BINARY, attributes_of, is_binary, unwrap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "BATCH_BYTES_MAX",
    "BATCH_EVENTS_MAX",
    "EVENT_BYTES_MAX",
    "Decode",
    "Decoded",
    "Unprocessable",
    "decoder_for",
]

EVENT_BYTES_MAX = 1024 * 1024
BATCH_BYTES_MAX = 5 * 1024 * 1024
BATCH_EVENTS_MAX = 1_000

_INTEGER_MIN, _INTEGER_MAX = -(2**63), 2**64 - 1
"""What orjson reads exactly, as signed or unsigned 64 bits; beyond it silently makes floats."""
_DIGITS_TO_ZERO = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))  # noqa: PLR2004 - ASCII 0 to 9
_LONG_INTEGER = b"0" * 19
"""Nineteen digits in a row: the shortest run that may not fit 64 bits. Looked for at the price of a memcpy."""
_SHOWN_DIGITS = 24


class Decoded(NamedTuple):
    """The events of a body as JSON values, unchecked, and what is wrong already.

    `places` are the pointers of the values, None for a value that is the body. `ids` are the events' identities where
    the format has them elsewhere than in `id`. With `problems`, values may be missing.
    """

    values: Sequence[Any]
    places: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    problems: Sequence[EventProblem] = ()


class Unprocessable(ValueError):
    """The body is no list of acceptable events; `problems` say why."""

    def __init__(self, problems: Sequence[EventProblem]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems


Decode: TypeAlias = "Callable[[bytes, bytes | None], Decoded]"
"""A body and an Idempotency-Key to events. Raises Unprocessable, BodyTooLarge."""


def decoder_for(content_type: bytes | None, ce_headers: Mapping[bytes, bytes] | None = None) -> Decode | None:
    """The decoder of a content type, None where there is none. JSON is read from whatever does not deny being it.

    `ce_headers` are the request's that begin with `ce-`.
    """
    if ce_headers is None and (content_type is None or content_type.startswith(b"application/json")):
        return decode_json
    media = (content_type or b"").partition(b";")[0].strip().lower()
    if media == b"application/cloudevents+json":
        return decode_cloudevent
    if media == b"application/cloudevents-batch+json":
        return decode_cloudevents
    if media.startswith((b"application/cloudevents", b"multipart/", b"image/", b"audio/", b"video/")):
        return None
    if ce_headers is not None and is_binary(ce_headers):
        return partial(decode_binary, ce_headers=ce_headers)
    return decode_json


def decode_json(body: bytes, key: bytes | None) -> Decoded:
    """One event, or an array of them. Raises Unprocessable, BodyTooLarge."""
    is_array = body.lstrip()[:1] == b"["
    if not is_array and len(body) > EVENT_BYTES_MAX:
        raise BodyTooLarge
    value = _read(body)
    if not is_array:
        return Decoded([value if key is None else _with_key(value, key)])
    if not value:
        raise Unprocessable([EventProblem("", "empty", "the array holds no event")])
    _refuse_batch(value, key, len(body))
    return Decoded(value, [f"/{index}" for index in range(len(value))])


def decode_cloudevent(body: bytes, key: bytes | None) -> Decoded:
    """A CloudEvent in structured mode. Raises Unprocessable, BodyTooLarge."""
    if len(body) > EVENT_BYTES_MAX:
        raise BodyTooLarge
    value = _read(body)
    if isinstance(value, list):
        message = "this is an array: post it as application/cloudevents-batch+json"
        raise Unprocessable([EventProblem("", "wrong-type", message)])
    if key is not None:
        _with_key(value, key)
    event, event_id, problems, is_whole = unwrap(value, _read)
    return Decoded([event], ["/data"], [event_id], problems) if is_whole else Decoded([], problems=problems)


def decode_cloudevents(body: bytes, key: bytes | None) -> Decoded:
    """CloudEvents in batched mode; none is a batch too. Raises Unprocessable, BodyTooLarge."""
    values = _read(body)
    if not isinstance(values, list):
        message = "a batch is an array: post a single CloudEvent as application/cloudevents+json"
        raise Unprocessable([EventProblem("", "wrong-type", message)])
    _refuse_batch(values, key, len(body))
    events, places, ids = [], [], []
    problems: list[EventProblem] = []
    for index, value in enumerate(values):
        event, event_id, own_problems, is_whole = unwrap(value, _read)
        problems += [EventProblem(f"/{index}{pointer}", *rest) for pointer, *rest in own_problems]
        if is_whole:
            events.append(event)
            places.append(f"/{index}/data")
            ids.append(event_id)
    return Decoded(events, places, ids, problems)


def decode_binary(body: bytes, key: bytes | None, *, ce_headers: Mapping[bytes, bytes]) -> Decoded:
    """A CloudEvent in binary mode: attributes in headers, the body its data. Raises Unprocessable, BodyTooLarge."""
    if len(body) > EVENT_BYTES_MAX:
        raise BodyTooLarge
    attributes, problems = attributes_of(ce_headers)
    if key is not None:
        _with_key(attributes, key)
    event, event_id, more, is_whole = unwrap({**attributes, "data": _read(body)}, _read, mode=BINARY)
    problems += more
    return Decoded([event], ids=[event_id], problems=problems) if is_whole else Decoded([], problems=problems)


def _read(body: bytes) -> Any:
    """The body's JSON. Raises Unprocessable, which is a ValueError, for what is none or holds too long an integer."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unprocessable([_malformed(error)]) from None
    if _LONG_INTEGER in body.translate(_DIGITS_TO_ZERO):
        _refuse_long_integers(body)
    return value


def _malformed(error: orjson.JSONDecodeError) -> EventProblem:
    where = f"line {error.lineno}, column {error.colno}"
    return EventProblem("", "malformed-json", f"the body is not JSON: {error.msg.partition(':')[0]} at {where}")


def _refuse_batch(values: list[Any], key: bytes | None, size: int) -> None:
    if key is not None:
        message = "Idempotency-Key is for single events; give each event of an array an `id` of its own"
        raise Unprocessable([EventProblem("", "idempotency-key", message)])
    if len(values) > BATCH_EVENTS_MAX:
        raise BodyTooLarge
    if size > EVENT_BYTES_MAX and any(_size(value) > EVENT_BYTES_MAX for value in values):
        raise BodyTooLarge


def _size(value: object) -> int:
    """An event's size within an array: as compact JSON, since its own text cannot be told from the rest."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:  # nested too deeply: the check that follows says so, with its place
        return 0


def _with_key(value: object, key: bytes) -> object:
    """The event with the key as its id; one that has an id of its own must agree."""
    if not isinstance(value, dict):
        return value
    text = key.decode("latin-1").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    own = value.get("id")
    if own is not None and own != text:
        raise Unprocessable([EventProblem("/id", "idempotency-key", "`id` and Idempotency-Key differ")])
    return {**value, "id": text}


# -- integers beyond 64 bits -----------------------------------------------------------------------------------


class _Long(NamedTuple):
    """Stands where an integer beyond 64 bits stood."""

    digits: str


def _refuse_long_integers(body: bytes) -> None:
    """Raise with the place of each integer that does not fit; long digits in strings and fractions are fine."""
    try:
        value = json.loads(body, parse_int=_integer)
    except (ValueError, RecursionError):
        message = "a long number in values nested this deeply cannot be checked"
        raise Unprocessable([EventProblem("", "integer-too-large", message)]) from None
    problems = [
        EventProblem(pointer, "integer-too-large", f"{long.digits[:_SHOWN_DIGITS]} does not fit 64 bits")
        for pointer, long in _longs(value, "")
    ]
    if problems:
        raise Unprocessable(problems)


def _integer(digits: str) -> int | _Long:
    if len(digits) > len(str(_INTEGER_MIN)):
        return _Long(digits)
    value = int(digits)
    return value if _INTEGER_MIN <= value <= _INTEGER_MAX else _Long(digits)


def _longs(value: object, pointer: str) -> Iterator[tuple[str, _Long]]:
    if isinstance(value, _Long):
        yield pointer, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            escaped = key.replace("~", "~0").replace("/", "~1")
            yield from _longs(inner, f"{pointer}/{escaped}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _longs(inner, f"{pointer}/{index}")
