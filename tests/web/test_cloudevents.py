"""CloudEvents at ingest: each mode becomes what a plain post would have been, or problems with their places."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.model.delivery import DeliveryFilter

if TYPE_CHECKING:
    from collections.abc import Callable

DATA: dict[str, Any] = {
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "channelType": "web",
        "createdAt": "2026-03-10T12:00:00.000Z",
    }
}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "com.example.conversation.started",
    "source": "https://chat.example.com/platform",
    "id": "A234-1234",
    "time": "2026-03-10T12:00:05+02:00",
    "subject": "abc-123",
    "datacontenttype": "application/json",
    "data": DATA,
}
EVENTS = "/api/v1/events"
INGEST = "ingest-token-2"
STRUCTURED = "application/cloudevents+json"
BATCHED = "application/cloudevents-batch+json"


def cloud(*without: str, **more: Any) -> dict[str, Any]:
    """A CloudEvent, changed."""
    return {name: value for name, value in {**CLOUD, **more}.items() if name not in without}


def headers(**more: str | None) -> dict[str, str]:
    """The headers of binary mode; None leaves one out."""
    given: dict[str, str | None] = {name: CLOUD[name] for name in ("specversion", "type", "source", "id", "time")}
    return {f"ce-{name}": value for name, value in (given | more).items() if value is not None}


async def post(web: Any, value: Any, kind: str | None = STRUCTURED, **more: str) -> Any:
    """POST `value` as the platform."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    content_type = {} if kind is None else {"Content-Type": kind}
    return await web.call("POST", EVENTS, body, token=INGEST, headers=content_type | more)


async def payloads(web: Any) -> list[dict[str, Any]]:
    """The payloads of all deliveries, oldest first."""
    store = web.services.store
    page = await store.deliveries(DeliveryFilter(), cursor=None, limit=100)
    return [json.loads((await store.delivery(each.id))[1]) for each in reversed(page.items)]


def test_each_mode_becomes_the_plain_event(web: Callable[..., None]) -> None:
    """Structured, batched and binary store what a plain post of the same event stores; `time` is the timestamp."""

    async def body(web: Any) -> None:
        plain = {**DATA, "event": "conversation.started", "timestamp": CLOUD["time"]}
        answers = [
            await post(web, plain, "application/json"),
            await post(web, cloud(id="1")),
            await post(web, cloud(id="2"), STRUCTURED + "; charset=UTF-8"),
            await post(web, [cloud(id="3")], BATCHED),
            await post(web, DATA, "application/json; charset=utf-8", **headers(id="4")),
            await post(web, DATA, None, **headers(id="5")),
            await post(web, cloud("data", id="6", data_base64=base64.b64encode(json.dumps(DATA).encode()).decode())),
            await post(web, cloud(id="7", type="conversation.started", data=plain)),
        ]
        assert [answer.status for answer in answers] == [202] * len(answers)
        ids = [answer.json["events"][0]["id"] for answer in answers]
        assert ids[1:] == ["1", "2", "3", "4", "5", "6", "7"]
        stored = await payloads(web)
        assert len(stored) == 2 * len(answers)
        assert all(payload == stored[0] for payload in stored)
        assert stored[0]["timestamp"] == CLOUD["time"]
        assert list(stored[0])[:2] == ["event", "timestamp"]

    web(body)


def test_the_data_keeps_its_own_timestamp(web: Callable[..., None]) -> None:
    """`time` only fills in; without either it is now, and null attributes are absent ones."""

    async def body(web: Any) -> None:
        own = "2026-01-01T00:00:00Z"
        await post(web, cloud(id="1", data={**DATA, "timestamp": own}))
        await post(web, cloud(id="2", time=None, subject=None, dataschema=None, datacontenttype=None))
        await post(web, cloud(id="3", time="2026-03-10t12:00:05z"))
        times = {payload["timestamp"] for payload in await payloads(web)}
        assert times == {own, "2026-09-21T14:13:20.000Z", "2026-03-10T12:00:05Z"}

    web(body)


def test_a_sync_event_names_bot_and_source_in_its_data(web: Callable[..., None]) -> None:
    """The envelope's `source` is the poster, not the data source."""

    async def body(web: Any) -> None:
        data = {"bot": "support", "dataSource": "docs", "reason": "too long"}
        answer = await post(web, cloud(type="sync.failure", data=data))
        assert answer.json["events"] == [{"id": CLOUD["id"], "duplicate": False, "deliveries": 2}]
        assert (await payloads(web))[0] == {
            "success": False,
            "bot": "My Bot",
            "dataSource": "Data source one",
            "reason": "too long",
        }

    web(body)


def test_an_id_is_unique_for_its_source_only(web: Callable[..., None]) -> None:
    """Source and id repeated is a duplicate in any mode; one id from two sources, or from a plain post, is not."""

    async def body(web: Any) -> None:
        first = await post(web, cloud())
        again = [
            await post(web, cloud()),
            await post(web, [cloud()], BATCHED),
            await post(web, DATA, "application/json", **headers()),
        ]
        assert first.json["duplicates"] == 0
        for answer in again:
            assert answer.json["events"] == [{"id": CLOUD["id"], "duplicate": True, "deliveries": 2}]
        others = [
            await post(web, cloud(source="/another")),
            await post(web, cloud(source="/another A234-1234", id="1")),
            await post(web, cloud(source="/another", id="A234-1234 1")),
            await post(web, {**DATA, "event": "conversation.started", "id": CLOUD["id"]}, "application/json"),
        ]
        assert [answer.json["duplicates"] for answer in others] == [0, 0, 0, 0]
        twice = await post(web, [cloud(id="t"), cloud(id="t", source="/s"), cloud(id="t")], BATCHED)
        assert [each["duplicate"] for each in twice.json["events"]] == [False, False, True]
        listed = (await web.get("/api/v1/deliveries")).json["items"]
        assert {each["event_id"] for each in listed} == {CLOUD["id"], "1", "A234-1234 1", "t"}

    web(body)


def test_an_empty_batch_is_a_batch(web: Callable[..., None]) -> None:
    """As the specification has it: nothing to do, and it is done."""

    async def body(web: Any) -> None:
        answer = await post(web, [], BATCHED)
        assert (answer.status, answer.json) == (202, {"accepted": 0, "duplicates": 0, "events": []})

    web(body)


@pytest.mark.parametrize(
    ("envelope", "pointer", "code"),
    [
        (cloud("specversion"), "/specversion", "missing"),
        (cloud(specversion="0.3"), "/specversion", "unsupported-version"),
        (cloud(specversion="1.0.2"), "/specversion", "unsupported-version"),
        (cloud(specversion=1.0), "/specversion", "unsupported-version"),
        (cloud("id"), "/id", "missing"),
        (cloud(id=""), "/id", "invalid-id"),
        (cloud(id=7), "/id", "invalid-id"),
        (cloud(id="x" * 256), "/id", "invalid-id"),
        (cloud(id="a\u00a0b"), "/id", "invalid-id"),
        (cloud("source"), "/source", "missing"),
        (cloud(source=""), "/source", "invalid-source"),
        (cloud(source=["/"]), "/source", "invalid-source"),
        (cloud(source="/a\u00a0"), "/source", "invalid-source"),
        (cloud(source="x" * 1025), "/source", "invalid-source"),
        (cloud("type"), "/type", "missing"),
        (cloud(type=None), "/type", "missing"),
        (cloud(type="com.example.conversation"), "/type", "unknown-event"),
        (cloud(type="com.example.sync.trigger"), "/type", "unknown-event"),
        (cloud(type="xconversation.started"), "/type", "unknown-event"),
        (cloud(type=".conversation.started"), "/type", "unknown-event"),
        (cloud(type={"a": 1}), "/type", "unknown-event"),
        (cloud(time="yesterday"), "/time", "wrong-type"),
        (cloud(time="2026-03-10T12:00:05"), "/time", "wrong-type"),
        (cloud(time=5), "/time", "wrong-type"),
        (cloud(datacontenttype="text/xml"), "/datacontenttype", "unsupported-data"),
        (cloud(datacontenttype=5), "/datacontenttype", "unsupported-data"),
        (cloud("data"), "/data", "missing"),
        (cloud(data=None), "/data", "missing"),
        (cloud(data="{}"), "/data", "wrong-type"),
        (cloud(data=[DATA]), "/data", "wrong-type"),
        (cloud(data_base64="e30="), "/data_base64", "unsupported-data"),
        (cloud("data", data_base64="***"), "/data_base64", "malformed-json"),
        (cloud("data", data_base64={"a": 1}), "/data_base64", "malformed-json"),
        (cloud("data", data_base64="ü"), "/data_base64", "malformed-json"),
        (cloud("data", data_base64=base64.b64encode(b"{").decode()), "/data_base64", "malformed-json"),
        (cloud("data", data_base64=base64.b64encode(b"1" * 40).decode()), "/data_base64", "malformed-json"),
        (cloud("data", data_base64="W10="), "/data", "wrong-type"),
        (cloud(data={**DATA, "event": "conversation.claimed"}), "/data/event", "wrong-constant"),
        (cloud(data={**DATA, "id": "another"}), "/data/id", "wrong-constant"),
        (cloud(data={}), "/data/conversation", "missing"),
        (cloud(data={"conversation": {**DATA["conversation"], "id": 5}}), "/data/conversation/id", "wrong-type"),
        (cloud(data={**DATA, "deep": 10**30}), "/data/deep", "integer-too-large"),
        ("text", "", "wrong-type"),
        (None, "", "wrong-type"),
    ],
)
def test_what_is_wrong_has_its_place(web: Callable[..., None], envelope: Any, pointer: str, code: str) -> None:
    """In structured mode from the envelope's root, in a batch below the event's number; nothing is accepted."""

    async def body(web: Any) -> None:
        for answer, place in (
            (await post(web, envelope), pointer),
            (await post(web, [cloud(id="good"), envelope], BATCHED), f"/1{pointer}"),
        ):
            assert answer.status == 422
            assert answer.header("content-type") == "application/problem+json"
            assert [(each["pointer"], each["code"]) for each in answer.json["problems"]] == [(place, code)]
        assert await web.services.store.count(DeliveryFilter()) == 0

    web(body)


def test_all_problems_of_all_events_are_listed(web: Callable[..., None]) -> None:
    """Those of the envelopes and those of the data."""

    async def body(web: Any) -> None:
        batch = [
            cloud(specversion="0.3", data={"conversation": 5, "event": "sync.failure"}),
            cloud("id", "type"),
            7,
            cloud(data={}),
        ]
        answer = await post(web, batch, BATCHED)
        assert {each["pointer"] for each in answer.json["problems"]} == {
            "/0/specversion",
            "/0/data/event",
            "/0/data/conversation",
            "/1/id",
            "/1/type",
            "/2",
            "/3/data/conversation",
        }

    web(body)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (headers(specversion="0.3"), "`ce-specversion`"),
        (headers(specversion=None), "`ce-specversion`"),
        (headers(id=None), "`ce-id`"),
        (headers(source=None), "`ce-source`"),
        (headers(type="nothing.known"), "`ce-type`"),
        (headers(time="noon"), "`ce-time`"),
        (headers(subject="%ff"), "`ce-subject`"),
        (headers(id="%C2%A0"), "`ce-id`"),
    ],
)
def test_a_wrong_header_is_named(web: Callable[..., None], given: dict[str, str], named: str) -> None:
    """A header has no place in the body, so the message says which."""

    async def body(web: Any) -> None:
        answer = await post(web, DATA, "application/json", **given)
        assert answer.status == 422
        ((pointer, message),) = [(each["pointer"], each["message"]) for each in answer.json["problems"]]
        assert pointer == ""
        assert named in message

    web(body)


def test_binary_data_is_placed_in_the_body(web: Callable[..., None]) -> None:
    """The body is the data itself."""

    async def body(web: Any) -> None:
        for value, pointer in (({}, "/conversation"), ([DATA], ""), ({**DATA, "event": "sync.failure"}, "/event")):
            answer = await post(web, value, "application/json", **headers())
            assert [each["pointer"] for each in answer.json["problems"]] == [pointer], value
        assert (await post(web, b"{", "application/json", **headers())).json["problems"][0][
            "code"
        ] == "malformed-json"

    web(body)


def test_headers_are_decoded(web: Callable[..., None]) -> None:
    """Percent-encoded UTF-8, or quoted; two of one name are one value that fits nothing."""

    async def body(web: Any) -> None:
        answers = [
            await post(web, DATA, "application/json", **headers(id=text)) for text in ("Euro%20%E2%82%AC", '"a\\"b"')
        ]
        assert [answer.json["events"][0]["id"] for answer in answers] == ["Euro €", 'a"b']
        structured = await post(web, cloud(id="same", source="/é"))
        binary = await post(web, DATA, "application/json", **headers(id="same", source="/%C3%A9"))
        assert (structured.json["duplicates"], binary.json["duplicates"]) == (0, 1)

    web(body)


def test_other_headers_that_begin_so_mean_nothing(web: Callable[..., None]) -> None:
    """A plain post with somebody's `ce-` extension stays plain; the content type decides before any header."""

    async def body(web: Any) -> None:
        plain = {**DATA, "event": "conversation.started", "id": "p"}
        assert (await post(web, plain, "application/json", **{"ce-tenant": "x"})).json["events"][0]["id"] == "p"
        assert (await post(web, cloud(), STRUCTURED, **headers(id="h"))).json["events"][0]["id"] == CLOUD["id"]

    web(body)


def test_modes_are_not_mixed_up(web: Callable[..., None]) -> None:
    """An array as a single event, an event as a batch, and formats that nobody reads here."""

    async def body(web: Any) -> None:
        for value, kind, status in (
            ([cloud()], STRUCTURED, 422),
            (cloud(), BATCHED, 422),
            (cloud(), "application/cloudevents+xml", 415),
            (cloud(), "application/cloudevents", 415),
            (b"{", STRUCTURED, 422),
            (b"[", BATCHED, 422),
            (b"", STRUCTURED, 422),
        ):
            answer = await post(web, value, kind)
            assert answer.status == status, (value, kind)
        image = await post(web, DATA, "image/png", **headers())
        assert image.status == 415

    web(body)


def test_an_idempotency_key_must_be_the_id(web: Callable[..., None]) -> None:
    """It adds nothing to a CloudEvent: the same one is fine, another contradicts it, a batch takes none."""

    async def body(web: Any) -> None:
        same, other = {"Idempotency-Key": CLOUD["id"]}, {"Idempotency-Key": "other"}
        assert (await post(web, cloud(), **same)).status == 202
        assert (await post(web, DATA, "application/json", **headers(), **same)).status == 202
        for answer in (
            await post(web, cloud(), **other),
            await post(web, DATA, "application/json", **headers(), **other),
            await post(web, [cloud()], BATCHED, **same),
        ):
            assert (answer.status, answer.json["problems"][0]["code"]) == (422, "idempotency-key")
        missing = await post(web, cloud("id"), **same)
        assert [each["code"] for each in missing.json["problems"]] == ["missing"]

    web(body)


def test_limits_hold_for_envelopes(web: Callable[..., None]) -> None:
    """1 MiB with the envelope, 1,000 events, in every mode."""

    async def body(web: Any) -> None:
        fat = {**DATA, "pad": "p" * 1024 * 1024}
        small = cloud()
        assert (await post(web, cloud(data=fat))).status == 413
        assert (await post(web, [cloud(data=fat)], BATCHED)).status == 413
        assert (await post(web, fat, "application/json", **headers())).status == 413
        assert (await post(web, [small] * 1001, BATCHED)).status == 413
        assert (await post(web, [small] * 1000, BATCHED)).status == 202

    web(body)
