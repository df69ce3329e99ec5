"""Whatever is posted, a check ends in an event or in problems, and an event in its canonical bytes."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.catalog import CATALOG, JsonType
from reconciler.model.event import Posted, check, example_payload, payload_bytes, with_delivery_id
from reconciler.model.hook import EventType

SCALARS = st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5)
OUTGOING = st.sampled_from([event for event in EventType if not event.is_incoming])
NAMES = sorted({part for event in EventType for each in CATALOG[event].variables for part in each.path.split(".")})
KEYS = st.sampled_from([*NAMES, "id", "extra"]) | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS | st.sampled_from([event.value for event in EventType] + ["2026-03-10T12:00:00Z", "Active"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=15,
)
EXTRAS = st.dictionaries(st.text(max_size=4).filter(lambda key: key not in {*NAMES, "id"}), VALUES, max_size=3)


def shuffled(draw: st.DrawFn, value: Any) -> Any:
    """The same JSON with the keys of every object in any order."""
    if not isinstance(value, dict):
        return value
    return {key: shuffled(draw, value[key]) for key in draw(st.permutations(list(value)))}


@st.composite
def good_events(draw: st.DrawFn) -> tuple[EventType, dict[str, Any], dict[str, Any]]:
    """A type, a good event of it with extras, and the same event with its keys in another order."""
    event = draw(OUTGOING)
    value = {"event": event.value} | example_payload(event, bot_name="B", bot_id="b", data_source_name="D")
    value |= draw(EXTRAS)
    if "conversation" in value:
        value["conversation"] |= draw(EXTRAS)
    return event, value, shuffled(draw, value)


@given(VALUES)
def test_any_json_ends_in_an_event_or_in_problems(value: object) -> None:
    """Never in an exception; every problem has a place in the value, or where something is missing."""
    before = json.dumps(value)
    checked = check(value, now_iso="2026-03-10T12:00:00.000Z")
    assert json.dumps(value) == before
    if isinstance(checked, list):
        assert checked
        assert len(set(checked)) == len(checked)
        assert all(problem.message and problem.code for problem in checked)
    else:
        orjson.dumps(checked.payload)


@given(OUTGOING, st.data())
def test_one_wrong_field_is_found_wherever_it_stands(event: EventType, data: st.DataObject) -> None:
    """The quick check and the one that explains come to one verdict."""
    value = {"event": event.value} | example_payload(event, bot_name="B", bot_id="b", data_source_name="D")
    variable = data.draw(st.sampled_from([each for each in CATALOG[event].variables if each.path != "deliveryId"]))
    *parents, name = variable.path.split(".")
    target: dict[str, Any] = value
    for parent in parents:
        target = target[parent]
    wrong = {JsonType.STRING: 5, JsonType.NUMBER: "5", JsonType.BOOLEAN: 1, JsonType.OBJECT: []}
    target[name] = wrong[variable.json_type]
    checked = check(value, now_iso="")
    assert isinstance(checked, list)
    assert [problem.pointer for problem in checked] == ["/" + variable.path.replace(".", "/")]


@given(good_events())
def test_the_documented_keys_come_first_and_extras_keep_their_order(
    case: tuple[EventType, dict[str, Any], dict[str, Any]],
) -> None:
    """At every level, whatever order was posted; nothing is lost and nothing doubled."""
    event, value, other = case
    posted = check(other, now_iso="")
    assert isinstance(posted, Posted)
    payload = payload_bytes(posted, bot_name=None, data_source_name=None, encode=orjson.dumps)
    body = json.loads(with_delivery_id(payload, event, "d-1"), object_pairs_hook=list)
    known = [each.path for each in CATALOG[event].variables if "." not in each.path]
    keys = [key for key, _ in body]
    assert [key for key in keys if key in known] == keys[: len(known)] == known
    assert keys[len(known) :] == [key for key in other if key not in {*known, "event"}]
    expected = {key: item for key, item in value.items() if key != "event" or not event.is_sync}
    assert json.loads(payload) == json.loads(json.dumps(expected))
