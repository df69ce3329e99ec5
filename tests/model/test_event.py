"""Posted events are checked whole, and go out in the documented order."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from reconciler.model.catalog import CATALOG
from reconciler.model.event import (
    EventProblem,
    Posted,
    check,
    check_results,
    example_payload,
    is_event_id,
    iso_timestamp,
    own_id,
    payload_bytes,
    qualified_id,
    with_delivery_id,
)
from reconciler.model.hook import EventType

NOW = "2026-03-10T12:00:00.000Z"
DELIVERY = "d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f"
OUTGOING = [event for event in EventType if not event.is_incoming]

# What receivers of each type are promised, to the byte.
DOCUMENTED: dict[str, str] = {
    "sync.success": (
        '{"success":true,"deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f","results":{"totalTokens":241245,'
        '"modifiedRows":15,"totalDocuments":20,"unmodifiedRows":0,"totalDataSourceRows":15},"bot":"Testing bot",'
        '"dataSource":"Data source one"}'
    ),
    "sync.failure": (
        '{"success":false,"deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f","reason":"Too many tokens",'
        '"bot":"Testing bot","dataSource":"Data source one"}'
    ),
    "conversation.started": (
        '{"event":"conversation.started","deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f",'
        '"timestamp":"2026-03-10T12:00:00.000Z","conversation":{"id":"abc-123","botId":"def-456","botName":"My Bot",'
        '"channelType":"web","initialMessage":"Hello?","createdAt":"2026-03-10T12:00:00.000Z"}}'
    ),
    "conversation.escalated": (
        '{"event":"conversation.escalated","deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f",'
        '"timestamp":"2026-03-10T12:05:00.000Z","conversation":{"id":"abc-123","botId":"def-456","botName":"My Bot",'
        '"channelType":"web","state":"Escalated","userData":{}},"userEmail":"user@example.com"}'
    ),
    "conversation.claimed": (
        '{"event":"conversation.claimed","deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f",'
        '"timestamp":"2026-03-10T12:10:00.000Z","conversation":{"id":"abc-123","botId":"def-456","botName":"My Bot",'
        '"channelType":"web","state":"Active"},"agent":{"name":"Jane","email":"jane@example.com"}}'
    ),
    "conversation.released": (
        '{"event":"conversation.released","deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f",'
        '"timestamp":"2026-03-10T12:15:00.000Z","conversation":{"id":"abc-123","botId":"def-456","botName":"My Bot",'
        '"channelType":"web","state":"Resolved"},"agent":{"name":"Jane","email":"jane@example.com"}}'
    ),
}


def example(event: str) -> dict[str, Any]:
    """The documented payload as it may be posted."""
    return {"event": event} | json.loads(DOCUMENTED[event])


def backwards(value: Any) -> Any:
    """The same JSON with the keys of every object in reverse."""
    if not isinstance(value, dict):
        return value
    return {key: backwards(value[key]) for key in reversed(value)}


def good(value: object) -> Posted:
    """The event, which must be a good one."""
    posted = check(value, now_iso=NOW)
    assert isinstance(posted, Posted), posted
    return posted


def bad(value: object) -> list[EventProblem]:
    """The problems, of which there must be some."""
    problems = check(value, now_iso=NOW)
    assert isinstance(problems, list)
    assert problems
    return problems


def sent(posted: Posted, *, bot_name: str | None = None, data_source_name: str | None = None) -> bytes:
    """The body that is delivered."""
    payload = payload_bytes(posted, bot_name=bot_name, data_source_name=data_source_name, encode=orjson.dumps)
    return with_delivery_id(payload, posted.type, DELIVERY)


@pytest.mark.parametrize("event", OUTGOING)
def test_a_documented_payload_goes_out_byte_for_byte(event: EventType) -> None:
    """Whatever order its keys were posted in."""
    posted = example(event.value)
    assert sent(good(posted)).decode() == DOCUMENTED[event]
    assert sent(good(backwards(posted))).decode() == DOCUMENTED[event]


@pytest.mark.parametrize("event", OUTGOING)
def test_what_is_known_without_the_poster_is_filled_in(event: EventType) -> None:
    """Timestamp, bot name and constants may be left out."""
    posted = example(event.value)
    for name in ("timestamp", "success", "deliveryId"):
        posted.pop(name, None)
    for name in ("botName", "state"):
        posted.get("conversation", {}).pop(name, None)
    body = json.loads(sent(good(posted), bot_name="My Bot" if not event.is_sync else None))
    expected = json.loads(DOCUMENTED[event])
    if "timestamp" in expected:
        expected["timestamp"] = NOW
    assert body == expected
    assert list(body) == list(expected)
    assert list(body.get("conversation", {})) == list(expected.get("conversation", {}))


def test_other_fields_pass_through_after_the_known_ones_at_every_level() -> None:
    """In the order in which they were posted."""
    posted = example("conversation.claimed")
    posted = {"x": 1, "a": [1]} | posted
    posted["conversation"] = {"locale": "de"} | posted["conversation"]
    posted["agent"] = {"team": {"id": 3}} | posted["agent"]
    body = json.loads(sent(good(posted)))
    assert list(body) == ["event", "deliveryId", "timestamp", "conversation", "agent", "x", "a"]
    assert list(body["conversation"])[-2:] == ["state", "locale"]
    assert list(body["agent"]) == ["name", "email", "team"]
    assert body["agent"]["team"] == {"id": 3}


def test_event_timestamp_and_id_of_a_sync_event_never_go_out() -> None:
    """Nor does a delivery id that somebody posted, of any event."""
    sync = example("sync.failure") | {"id": "e-1", "timestamp": 5, "deliveryId": "forged"}
    posted = good(sync)
    assert (posted.id, posted.bot, posted.data_source) == ("e-1", "Testing bot", "Data source one")
    assert sent(posted).decode() == DOCUMENTED["sync.failure"]
    chat = good(example("conversation.started") | {"id": "e-2", "deliveryId": 7})
    assert (chat.id, chat.bot, chat.data_source) == ("e-2", "def-456", None)
    assert sent(chat).decode() == DOCUMENTED["conversation.started"]


def test_a_posted_bot_name_is_kept_and_an_unknown_one_left_out() -> None:
    """The platform knows best what its bot was called; a null is never sent."""
    posted = example("conversation.started")
    assert json.loads(sent(good(posted), bot_name="Configured"))["conversation"]["botName"] == "My Bot"
    del posted["conversation"]["botName"]
    assert json.loads(sent(good(posted), bot_name="Configured"))["conversation"]["botName"] == "Configured"
    assert "botName" not in json.loads(sent(good(posted)))["conversation"]


def test_an_optional_field_may_be_absent() -> None:
    """A conversation may begin without a message."""
    posted = example("conversation.started")
    del posted["conversation"]["initialMessage"]
    assert b"initialMessage" not in sent(good(posted))


def test_nothing_that_was_posted_is_changed() -> None:
    """The caller's value stays as it was, however often it is decided upon."""
    posted = example("conversation.started")
    del posted["conversation"]["botName"]
    before = json.dumps(posted)
    event = good(posted)
    assert sent(event, bot_name="A") != sent(event, bot_name="B")
    assert json.dumps(posted) == before


@pytest.mark.parametrize(
    ("value", "problems"),
    [
        ([], [("", "wrong-type")]),
        ("x", [("", "wrong-type")]),
        ({}, [("/event", "missing")]),
        ({"event": None}, [("/event", "unknown-event")]),
        ({"event": ["sync.success"]}, [("/event", "unknown-event")]),
        ({"event": "sync.trigger"}, [("/event", "unknown-event")]),
        ({"event": "deliveryId", "id": 3}, [("/id", "invalid-id"), ("/event", "unknown-event")]),
    ],
)
def test_what_is_no_event_is_refused(value: object, problems: list[tuple[str, str]]) -> None:
    """A trigger is no event either: it comes in elsewhere."""
    assert [(pointer, code) for pointer, code, _ in bad(value)] == problems


def test_every_problem_is_listed_at_once_with_its_place() -> None:
    """One for each mistake: what is missing as a whole is not listed again by its fields."""
    value = {
        "event": "conversation.claimed",
        "id": "",
        "timestamp": "yesterday",
        "conversation": {"id": 3, "botName": None, "channelType": True, "state": "Escalated"},
    }
    assert [(pointer, code) for pointer, code, _ in bad(value)] == [
        ("/id", "invalid-id"),
        ("/timestamp", "wrong-type"),
        ("/conversation/id", "wrong-type"),
        ("/conversation/botId", "missing"),
        ("/conversation/botName", "wrong-type"),
        ("/conversation/channelType", "wrong-type"),
        ("/conversation/state", "wrong-constant"),
        ("/agent", "missing"),
    ]


@pytest.mark.parametrize("event", OUTGOING)
def test_each_required_field_is_missed_and_each_type_is_checked(event: EventType) -> None:
    """Field by field, from the catalog."""
    for variable in CATALOG[event].variables:
        if variable.path == "deliveryId":
            continue
        *parents, name = variable.path.split(".")
        pointer = "/" + variable.path.replace(".", "/")
        broken = example(event.value)
        target = broken
        for parent in parents:
            target = target[parent]
        target[name] = ["neither"]
        code = "unknown-event" if name == "event" else "wrong-type" if variable.constant is None else "wrong-constant"
        assert [(problem.pointer, problem.code) for problem in bad(broken)] == [(pointer, code)]
        del target[name]
        if name == "event":
            assert bad(broken)[0].code == "missing"
        elif variable.constant is not None or name in {"timestamp", "botName", "initialMessage"}:
            good(broken)
        else:
            assert [(problem.pointer, problem.code) for problem in bad(broken)] == [(pointer, "missing")]


@pytest.mark.parametrize("value", [1, 0, "true", None, [True]])
def test_a_constant_must_have_its_type_too(value: object) -> None:
    """1 is not true."""
    assert bad(example("sync.success") | {"success": value})[0].code == "wrong-constant"


def test_a_boolean_is_no_number() -> None:
    """Although Python says so."""
    posted = example("sync.success")
    posted["results"] |= {"totalTokens": True, "modifiedRows": 1.5}
    assert [problem.pointer for problem in bad(posted)] == ["/results/totalTokens"]


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-10T12:00:00.000Z",
        "2026-03-10T12:00:00Z",
        "2026-03-10T12:00Z",
        "2026-03-10T12:00:00.123456789+01:00",
        "2026-12-31T23:59:60-0930",
        "2026-03-10T12:00:00",
    ],
)
def test_iso_8601_timestamps_are_accepted(text: str) -> None:
    """And go out as they came."""
    assert good(example("conversation.started") | {"timestamp": text}).payload["timestamp"] == text


@pytest.mark.parametrize(
    "text", ["", "now", "2026-03-10", "2026-13-10T12:00:00Z", "2026-03-32T12:00:00Z", "2026-03-10T24:00:00Z",
             "2026-03-10 12:00:00Z", "2026-03-10T12:00:00Z\n", "٢٠٢٦-03-10T12:00:00Z", "1773144000"]
)  # fmt: skip
def test_other_times_are_refused(text: str) -> None:
    """A receiver can rely on the form."""
    assert bad(example("conversation.started") | {"timestamp": text})[0].pointer == "/timestamp"


@pytest.mark.parametrize(
    ("value", "fits"),
    [("e", True), ("x" * 255, True), ("ä b/ü😀", True), ("", False), ("x" * 256, False), ("a\n", False),
     ("\x00", False), ("\ud800", False), ("\u202e", False), (5, False), (None, False)],
)  # fmt: skip
def test_ids_are_short_printable_texts(value: object, *, fits: bool) -> None:
    """They stand in logs, headers and tables."""
    assert is_event_id(value) is fits


def test_the_results_of_a_sync_are_judged_alone() -> None:
    """As a runner needs it, with pointers into them."""
    assert check_results(json.loads(DOCUMENTED["sync.success"])["results"]) == []
    assert [problem.pointer for problem in check_results({"totalTokens": "1"})][:2] == [
        "/totalTokens",
        "/modifiedRows",
    ]
    assert check_results(None)[0].code == "wrong-type"


def test_a_delivery_id_is_spliced_only_into_a_payload_of_its_event() -> None:
    """Anything else was not stored by us."""
    assert (
        with_delivery_id(b'{"success":true,"x":1}', "sync.success", "d") == b'{"success":true,"deliveryId":"d","x":1}'
    )
    with pytest.raises(ValueError, match=r"sync\.failure"):
        with_delivery_id(b'{"success":true,"x":1}', "sync.failure", "d")


@pytest.mark.parametrize("event", OUTGOING)
def test_an_example_is_a_good_event_with_the_names_asked_for(event: EventType) -> None:
    """What a test sends is what a real event would look like."""
    payload = example_payload(event, bot_name='Bot "1"', bot_id="b-1", data_source_name="Docs", now_iso=NOW)
    posted = good({"event": event.value} | payload)
    assert posted.payload == payload
    assert list(posted.payload) == list(payload)
    assert (posted.bot, posted.data_source) == (('Bot "1"', "Docs") if event.is_sync else ("b-1", None))
    if not event.is_sync:
        assert payload["timestamp"] == NOW
        assert payload["conversation"]["botName"] == 'Bot "1"'


def test_times_are_written_to_the_millisecond() -> None:
    """In UTC, with a Z."""
    assert iso_timestamp(1_773_144_000_007) == "2026-03-10T12:00:00.007Z"
    assert iso_timestamp(0) == "1970-01-01T00:00:00.000Z"


def test_a_qualified_id_is_no_posted_id() -> None:
    """Ids that are unique for a source alone never meet those of other sources, or those without one."""
    ids = {qualified_id("/a", "b c"), qualified_id("/a b", "c"), qualified_id("/a b c", "")}
    assert len(ids) == 3
    assert not any(is_event_id(each) for each in ids)
    assert [own_id(each) for each in ("plain id", qualified_id("/a b", "c d"))] == ["plain id", "c d"]
