"""Events are read from three shapes of JSON and posted byte for byte."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.events import BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Event, batches, read_events
from reconciler.errors import UsageError

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def read(content: bytes) -> list[bytes]:
    """The events in `content`."""
    return [event.content for event in read_events(io.BytesIO(content))]


@given(st.lists(VALUES, max_size=6), st.sampled_from([None, 2]))
def test_array_is_split_into_its_elements(values: list[object], indent: int | None) -> None:
    """Each element comes out as it was, however the array is laid out."""
    found = read(json.dumps(values, indent=indent).encode())

    assert [json.loads(item) for item in found] == values


def test_element_keeps_its_bytes() -> None:
    """A long integer, a duplicate key and the spelling of a number pass through unread."""
    element = b'{"n": 123456789012345678901234567890, "a": 1, "a": 2.50, "u": "\\u00e9"}'

    assert read(b"[" + element + b" , " + element + b"]") == [element, element]
    assert read(element) == [element]
    assert read(element + b"\n\n" + element + b"\r\n") == [element, element]


def test_one_object_may_stand_on_many_lines() -> None:
    """A pretty-printed object is one event, not a broken line."""
    assert read(b'\xef\xbb\xbf\n{\n "a": {\n  "b": 1}\n}\n') == [b'{\n "a": {\n  "b": 1}\n}']


def test_nothing_is_no_event() -> None:
    """Empty input, blanks and an empty array hold no events."""
    assert read(b"") == read(b" \n\n") == read(b"[ ]") == []


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1",
        b"[1 2]",
        b"[1,]",
        b"[,]",
        b"[1]x",
        b'{"a":1}\nnot json\n',
        b"nonsense",
        b"\xff\xfe",
        b'[{"a":}]',
        b"[" * 100_000,
    ],
)
def test_broken_json_is_a_usage_error(content: bytes) -> None:
    """What is not JSON is said here, before anything of it is posted."""
    with pytest.raises(UsageError, match=r"JSON|UTF-8"):
        read(content)


def test_batches_keep_to_the_limits() -> None:
    """At most so many events and bytes a batch, in order, and none is lost."""
    small = [Event(b"1", f"line {n}") for n in range(2 * BATCH_EVENTS_MAX + 1)]
    assert [len(batch.events) for batch in batches(small)] == [BATCH_EVENTS_MAX, BATCH_EVENTS_MAX, 1]

    big = [Event(b"x" * (BATCH_BYTES_MAX // 2), "a")] * 5
    found = list(batches(big))
    assert sum(len(batch.events) for batch in found) == 5
    assert all(len(batch.content) <= BATCH_BYTES_MAX + 2 for batch in found)
    assert list(batches([])) == []
