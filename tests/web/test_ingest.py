"""Events over HTTP: what is accepted, what is refused, and that a 202 is never a lie."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SnapshotMoved, StateUnreadable, StoreUnavailable
from reconciler.model.delivery import DeliveryFilter
from reconciler.web.decode import BATCH_BYTES_MAX, EVENT_BYTES_MAX, Unprocessable, decode_json

if TYPE_CHECKING:
    from collections.abc import Callable

STARTED: dict[str, Any] = {
    "event": "conversation.started",
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "channelType": "web",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}
FAILURE: dict[str, Any] = {"event": "sync.failure", "bot": "support", "dataSource": "docs", "reason": "too long"}
EVENTS = "/api/v1/events"
INGEST = "ingest-token-2"


def event(**more: Any) -> dict[str, Any]:
    """A conversation that started."""
    return {**STARTED, **more}


async def post(web: Any, value: Any, **headers: str) -> Any:
    """POST `value` as the platform."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return await web.call("POST", EVENTS, body, token=INGEST, headers=headers)


async def stored(web: Any) -> int:
    """How many deliveries there are."""
    return int(await web.services.store.count(DeliveryFilter()))


def test_an_event_is_accepted_with_a_delivery_for_each_enabled_hook(web: Callable[..., None]) -> None:
    """202 in the documented shape, the deliveries on disk, the dispatcher awake."""

    async def body(web: Any) -> None:
        answer = await post(web, event(id="e-1"))
        assert answer.status == 202
        assert answer.json == {
            "accepted": 1,
            "duplicates": 0,
            "events": [{"id": "e-1", "duplicate": False, "deliveries": 2}],
        }
        assert answer.header("content-type") == "application/json"
        ids = {await web.services.hook_id(f"support/{name}") for name in ("new-chat", "new-chat-too")}
        assert web.services.deliveries_woken == [ids]
        assert await stored(web) == 2

    web(body)


def test_an_id_is_made_when_the_event_has_none(web: Callable[..., None]) -> None:
    """Two posts of the same event without ids are two events."""

    async def body(web: Any) -> None:
        first, second = (await post(web, event())).json, (await post(web, event())).json
        assert first["events"][0]["id"] != second["events"][0]["id"]
        assert await stored(web) == 4

    web(body)


def test_a_repeated_id_delivers_nothing_twice(web: Callable[..., None]) -> None:
    """The answer repeats the first one's figures and says that it is a duplicate."""

    async def body(web: Any) -> None:
        await post(web, event(id="e-1"))
        again = await post(web, event(id="e-1", timestamp="2026-03-10T12:00:00Z"))
        assert again.status == 202
        assert again.json == {
            "accepted": 0,
            "duplicates": 1,
            "events": [{"id": "e-1", "duplicate": True, "deliveries": 2}],
        }
        assert await stored(web) == 2
        assert len(web.services.deliveries_woken) == 1

    web(body)


def test_an_idempotency_key_stands_for_the_id(web: Callable[..., None]) -> None:
    """The same key is a duplicate, quoted or not; a different `id` beside it is refused, so is one on an array."""

    async def body(web: Any) -> None:
        first = await post(web, event(), **{"Idempotency-Key": "k-1"})
        assert first.json["events"][0]["id"] == "k-1"
        for key, value in (("k-1", event()), ('"k-1"', event()), ("k-1", event(id="k-1"))):
            again = await post(web, value, **{"Idempotency-Key": key})
            assert again.json["duplicates"] == 1
        clash = await post(web, event(id="other"), **{"Idempotency-Key": "k-1"})
        assert (clash.status, clash.json["problems"][0]["pointer"]) == (422, "/id")
        array = await post(web, [event()], **{"Idempotency-Key": "k-2"})
        assert (array.status, array.json["problems"][0]["code"]) == (422, "idempotency-key")
        too_long = await post(web, event(), **{"Idempotency-Key": "k" * 300})
        assert too_long.status == 422

    web(body)


def test_an_array_is_accepted_in_its_order(web: Callable[..., None]) -> None:
    """Each event has its line in the answer; an id that comes twice in one array is stored once."""

    async def body(web: Any) -> None:
        answer = await post(web, [event(id="a"), {**FAILURE, "id": "b"}, event(id="a")])
        assert answer.status == 202
        assert answer.json == {
            "accepted": 2,
            "duplicates": 1,
            "events": [
                {"id": "a", "duplicate": False, "deliveries": 2},
                {"id": "b", "duplicate": False, "deliveries": 2},
                {"id": "a", "duplicate": True, "deliveries": 2},
            ],
        }

    web(body)


def test_who_is_unknown_is_named(web: Callable[..., None]) -> None:
    """An unknown bot gets no deliveries; an unknown data source still reaches the webhooks for any."""

    async def body(web: Any) -> None:
        stranger = {**STARTED, "conversation": {**STARTED["conversation"], "botId": "nobody"}}
        source = {**FAILURE, "dataSource": "nothing"}
        answer = (await post(web, [{**stranger, "id": "a"}, {**source, "id": "b"}])).json
        assert answer["events"] == [
            {"id": "a", "duplicate": False, "deliveries": 0, "unmatched": "bot"},
            {"id": "b", "duplicate": False, "deliveries": 1, "unmatched": "dataSource"},
        ]

    web(body)


def test_a_hook_that_is_gone_gets_nothing_new(web: Callable[..., None]) -> None:
    """What answered 410 is passed over at the fan-out."""

    async def body(web: Any) -> None:
        web.services.gone_hooks.add(await web.services.hook_id("support/new-chat"))
        assert (await post(web, event())).json["events"][0]["deliveries"] == 1

    web(body)


def test_every_problem_is_listed_and_nothing_accepted_when_one_event_is_bad(web: Callable[..., None]) -> None:
    """422 as problem+json, each problem with a pointer into the post."""

    async def body(web: Any) -> None:
        bad = {"event": "conversation.started", "conversation": {"id": 5, "botId": "def-456"}}
        answer = await post(web, [event(), bad, 7, {"event": "sync.trigger"}])
        assert answer.status == 422
        assert answer.header("content-type") == "application/problem+json"
        problem = answer.json
        assert (problem["status"], problem["code"]) == (422, "invalid")
        pointers = [each["pointer"] for each in problem["problems"]]
        assert {pointer.split("/")[1] for pointer in pointers} == {"1", "2", "3"}
        assert "/1/conversation/id" in pointers
        assert all(set(each) == {"pointer", "code", "message"} for each in problem["problems"])
        assert await stored(web) == 0

    web(body)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"   ",
        b"{",
        b"nul",
        b"{} {}",
        b"[1,]",
        b"\xff\xfe",
        b'{"event": "\\ud800"}',
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b'{"event": ["list"]}',
        b'{"event": {}}',
        b'{"event": 3}',
        b"[" * 2000 + b"]" * 2000,
        b'{"event": "conversation.started", "conversation": ' + b'{"a":' * 500 + b"1" + b"}" * 500 + b"}",
    ],
)
def test_what_is_no_event_is_a_422(web: Callable[..., None], text: bytes) -> None:
    """Malformed JSON, JSON of another kind and bottomless nesting all end in problems, never in a 500."""

    async def body(web: Any) -> None:
        answer = await post(web, text)
        assert answer.status == 422
        assert answer.json["problems"]
        assert await stored(web) == 0

    web(body)


def test_values_nested_too_deeply_to_store_are_a_422(web: Callable[..., None]) -> None:
    """What can be read but not written again is refused with its place."""

    async def body(web: Any) -> None:
        deep: Any = 1
        for _ in range(300):
            deep = [deep]
        answer = await post(web, [event(), event(extra=deep)])
        assert answer.status == 422
        assert answer.json["problems"] == [
            {"pointer": "/1", "code": "too-deep", "message": "values are nested too deeply"}
        ]

    web(body)


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        ("18446744073709551615", True),
        ("18446744073709551616", False),
        ("-9223372036854775808", True),
        ("-9223372036854775809", False),
        ("1" + "0" * 40, False),
        ("0.1234567890123456789012345", True),
        ("1e30", True),
        ('"123456789012345678901234567890"', True),
        ('["deep", {"er": 123456789012345678901234567890}]', False),
    ],
)
def test_integers_beyond_64_bits_are_refused_with_their_place(
    web: Callable[..., None],
    number: str,
    fits: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    """What orjson would silently make a float of is a 422; long digits elsewhere are nobody's problem."""

    async def body(web: Any) -> None:
        text = json.dumps(event(id="e", extra="@")).replace('"@"', number)
        answer = await post(web, text.encode())
        assert answer.status == (202 if fits else 422)
        if not fits:
            (problem,) = answer.json["problems"]
            assert problem["code"] == "integer-too-large"
            assert problem["pointer"].startswith("/extra")

    web(body)


def test_limits_hold_for_events_and_arrays(web: Callable[..., None]) -> None:
    """1 MiB an event, 1,000 events or 5 MiB an array; one more of anything is a 413."""

    async def body(web: Any) -> None:
        def sized(size: int) -> bytes:
            bare = len(orjson.dumps(event(id="x", pad="")))
            return orjson.dumps(event(id="x", pad="p" * (size - bare)))

        assert (await post(web, sized(EVENT_BYTES_MAX))).status == 202
        assert (await post(web, sized(EVENT_BYTES_MAX + 1))).status == 413
        assert (await post(web, b"[" + sized(EVENT_BYTES_MAX + 1) + b"]")).status == 413
        assert (await post(web, [event(id=str(n)) for n in range(1000)])).status == 202
        assert (await post(web, [event() for _ in range(1001)])).status == 413
        fat = b"[" + b",".join([sized(700_000)] * 7) + b"]"
        assert EVENT_BYTES_MAX < len(fat) < BATCH_BYTES_MAX
        assert (await post(web, fat)).status == 202
        assert (await post(web, b"[" + b",".join([sized(700_000)] * 8) + b"]")).status == 413

    web(body)


def test_tokens_are_judged_before_the_body(web: Callable[..., None]) -> None:
    """401 without a good token, 403 for one of another scope, and no byte of the body read for either."""

    async def body(web: Any) -> None:
        many = [b"x"] * 4
        for token in (None, "", "wrong", "ingest-token-2x", "ingest-token-é"):
            answer = await web.call("POST", EVENTS, many, token=token)
            assert (answer.status, web.call.chunks_read) == (401, 0)
            assert (answer.header("www-authenticate") or "").startswith("Bearer")
        answer = await web.call("POST", EVENTS, many, token="read-token-3")
        assert (answer.status, web.call.chunks_read) == (403, 0)
        for header in ("ingest-token-2", "Basic ingest-token-2", "Bearer"):
            answer = await web.call("POST", EVENTS, many, headers={"Authorization": header})
            assert answer.status == 401
        lower = {"Authorization": "bearer ingest-token-2"}
        assert (await web.call("POST", EVENTS, json.dumps(event()).encode(), headers=lower)).status == 202
        assert (await web.call("POST", EVENTS, json.dumps(event()).encode(), token="admin-token-1")).status == 202

    web(body)


def test_other_methods_and_types_are_refused(web: Callable[..., None]) -> None:
    """405 with Allow; 415 for what says that it is something else than JSON."""

    async def body(web: Any) -> None:
        answer = await web.call("GET", EVENTS, token=INGEST)
        assert (answer.status, answer.header("allow")) == (405, "POST")
        assert (await web.call("GET", EVENTS)).status == 401
        assert (await post(web, event(), **{"Content-Type": "multipart/form-data; boundary=x"})).status == 415
        for kind in (
            "application/json; charset=utf-8",
            "text/plain",
            "application/x-www-form-urlencoded",
            "a/b+json",
        ):
            assert (await post(web, event(), **{"Content-Type": kind})).status == 202

    web(body)


class Failing:
    """A store whose `accept` raises what it is given, then works."""

    def __init__(self, store: Any, errors: list[Exception]) -> None:
        self._store = store
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def accept(self, *args: Any, **kwargs: Any) -> Any:
        if self._errors:
            raise self._errors.pop(0)
        return await self._store.accept(*args, **kwargs)


def test_nothing_is_acknowledged_when_the_store_cannot_write(web: Callable[..., None]) -> None:
    """503 with Retry-After whatever the store's error, and the reason stays inside."""

    async def body(web: Any) -> None:
        for error in (StoreUnavailable("disk full at /secret"), StateUnreadable("/secret is damaged")):
            web.services.store = Failing(web.services.store, [error])
            answer = await post(web, event())
            assert answer.status == 503
            assert int(answer.header("retry-after") or "") >= 1
            assert b"secret" not in answer.body
        web.services.store = Failing(web.services.store, [RuntimeError("bug with /secret")])
        answer = await post(web, event())
        assert answer.status == 500
        assert b"secret" not in answer.body
        assert web.services.deliveries_woken == []

    web(body)


def test_the_fan_out_is_done_again_when_the_state_moved(web: Callable[..., None]) -> None:
    """An event that meets an apply goes to the webhooks of the new state; one that keeps meeting them waits."""

    async def body(web: Any) -> None:
        behind = web.services.snapshot
        await web.services.declare({"support": {"id": "def-456"}})
        web.services._snapshot = behind
        answer = await post(web, event())
        assert answer.json["events"][0]["deliveries"] == 0
        assert web.services.snapshot is not behind
        web.services.store = Failing(web.services.store, [SnapshotMoved("moved")] * 9)
        assert (await post(web, event())).status == 503

    web(body)


def test_nothing_is_stored_when_the_client_leaves_in_the_middle(web: Callable[..., None]) -> None:
    """Half a body is no event."""

    async def body(web: Any) -> None:
        whole = json.dumps(event()).encode()
        answer = await web.call("POST", EVENTS, [whole[:50], whole[50:]], token=INGEST, disconnect=True)
        assert answer.status == 0
        assert await stored(web) == 0
        halves = await web.call("POST", EVENTS, [whole[:50], whole[50:]], token=INGEST)
        assert halves.status == 202

    web(body)


def test_posts_are_counted_by_what_came_of_them(web: Callable[..., None]) -> None:
    """Accepted events by type, duplicates, and refusals by reason."""

    async def body(web: Any) -> None:
        await post(web, event(id="a"))
        await post(web, event(id="a"))
        await post(web, b"{")
        await web.call("POST", EVENTS, b"{}", token="nobody")
        text = web.services.metrics.exposition().decode()
        assert 'reconciler_events_accepted_total{event="conversation.started"} 1.0' in text
        assert "reconciler_events_duplicate_total 1.0" in text
        assert 'reconciler_events_rejected_total{reason="invalid"} 1.0' in text
        assert 'reconciler_events_rejected_total{reason="unauthorized"} 1.0' in text
        assert "reconciler_ingest_duration_seconds_count 2.0" in text

    web(body)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200)
@given(value=JSON)
def test_decoding_loses_no_integer(value: Any) -> None:
    """Every JSON text either comes out with all its integers exact, or is refused for one that does not fit."""
    text = json.dumps(value).encode()
    try:
        decoded = decode_json(text, None)
    except Unprocessable as error:
        codes = {problem.code for problem in error.problems}
        assert codes <= {"integer-too-large", "empty", "malformed-json"}
        if "integer-too-large" in codes:
            assert any(len(digits) >= 19 for digits in _digit_runs(text))
    else:
        assert (decoded.values[0] if decoded.places is None else decoded.values) == value
        assert orjson.dumps(decoded.values)


def _digit_runs(text: bytes) -> list[str]:
    return "".join(chr(byte) if 48 <= byte <= 57 else " " for byte in text).split()


def test_fuzzed_posts_end_in_202_or_422(doors: tuple[Any, Callable[..., Any]]) -> None:
    """Whatever JSON stands where an event should, the answer is one of the two."""
    web, run = doors

    @settings(max_examples=150)
    @given(
        value=st.dictionaries(
            st.sampled_from(["event", "id", "conversation", "bot", "dataSource", "results", "reason", "agent", "x"]),
            JSON | st.sampled_from(["conversation.started", "sync.success", "sync.failure", "def-456"]),
        )
    )
    def once(value: dict[str, Any]) -> None:
        assert run(post(web, value)).status in (202, 422)

    once()
