"""Reading events to post: one JSON object, an array, or JSON lines, each event kept byte for byte.

Byte for byte because reading and writing JSON again can change it: integers beyond 64 bits, duplicate keys. What is
wrong with an event is for the daemon to say.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, NamedTuple

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["BATCH_BYTES_MAX", "BATCH_EVENTS_MAX", "Batch", "Event", "batches", "read_events"]

BATCH_EVENTS_MAX = 1000
BATCH_BYTES_MAX = 4 * 1024 * 1024
"""Below the daemon's own limit of 5 MiB, so that one more event never tips it."""

_BLANK = " \t\r\n"


class Event(NamedTuple):
    """An event's JSON, and where it stood: a line of JSON lines, or an index of an array.

    `independent` events (those of JSON lines) are worth posting without their neighbours.
    """

    content: bytes
    place: str
    independent: bool = False


class Batch(NamedTuple):
    """Events to be posted together; `independent` if what is refused shall not hold up the others."""

    events: tuple[Event, ...]
    independent: bool

    @property
    def content(self) -> bytes:
        """The JSON array to post."""
        return b"[" + b",".join(event.content for event in self.events) + b"]"


def read_events(stream: IO[bytes]) -> Iterator[Event]:
    """The events of `stream`; JSON lines are handed out as they come, anything else is read whole.

    Raises UsageError for text that is none of the three.
    """
    first = _first_line(stream)
    if first.startswith(b"{") and _is_whole(first):
        yield Event(first, "line 1", independent=True)
        yield from _lines(stream, start=2)
        return
    text = _decode(first + b"\n" + stream.read())
    if text.lstrip(_BLANK).startswith("["):
        yield from _elements(text)
    elif text.strip(_BLANK):
        yield Event(_whole(text).encode(), "the event")


def batches(events: Iterable[Event]) -> Iterator[Batch]:
    """The events in as few batches as the daemon's limits allow."""
    waiting: list[Event] = []
    size = 0
    for event in events:
        if waiting and (len(waiting) == BATCH_EVENTS_MAX or size + len(event.content) > BATCH_BYTES_MAX):
            yield Batch(tuple(waiting), waiting[0].independent)
            waiting, size = [], 0
        waiting.append(event)
        size += len(event.content) + 1
    if waiting:
        yield Batch(tuple(waiting), waiting[0].independent)


def _first_line(stream: IO[bytes]) -> bytes:
    for line in stream:
        stripped = line.removeprefix(b"\xef\xbb\xbf").strip()
        if stripped:
            return stripped
    return b""


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: IO[bytes], *, start: int) -> Iterator[Event]:
    for number, line in enumerate(stream, start=start):
        stripped = line.strip()
        if not stripped:
            continue
        if not _is_whole(stripped):
            raise UsageError(f"line {number} is not JSON; after a first line that is an event, each line must be one")
        yield Event(stripped, f"line {number}", independent=True)


def _elements(text: str) -> Iterator[Event]:
    """The raw texts of an array's elements."""
    decoder = json.JSONDecoder()
    at = _skip(text, text.index("[") + 1)
    index = 0
    more = text[at : at + 1] != "]"
    while more:
        try:
            _, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _not_json(error) from None
        yield Event(text[at:end].encode("utf-8", "surrogatepass"), f"event {index}")
        index += 1
        at = _skip(text, end)
        more = text[at : at + 1] == ","
        if more:
            at = _skip(text, at + 1)
    if text[at : at + 1] != "]" or text[at + 1 :].strip(_BLANK):
        raise UsageError(f"the events are not valid JSON: the array is broken after event {index - 1}")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _whole(text: str) -> str:
    try:
        json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from None
    return text.strip(_BLANK)


def _decode(content: bytes) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"the events are not UTF-8 (byte {error.start})") from None


def _not_json(error: Exception) -> UsageError:
    if isinstance(error, json.JSONDecodeError):
        return UsageError(f"the events are not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}")
    return UsageError("the events are not valid JSON")
