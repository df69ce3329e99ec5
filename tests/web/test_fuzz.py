"""Nothing that anybody sends makes a door fail: every answer is a documented one, and the log stays quiet."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_from_bytes, unquote_to_bytes

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reconciler.model.delivery import DeliveryFilter
from reconciler.model.event import example_payload, with_delivery_id
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Callable

INGEST = "ingest-token-2"
FUZZ = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

# -- what is posted ----------------------------------------------------------------------------------------------

KINDS = [kind for kind in EventType if not kind.is_incoming]
EXAMPLES = [
    {"event": kind.value, **example_payload(kind, bot_name="support", bot_id="def-456", data_source_name="docs")}
    for kind in KINDS
]
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(["", "\x00", "\ud800", "{{x}}", "${env:HOME}", "1" * 300, "2026-03-10T12:00:00Z", *KINDS]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
# What breaks parsers: numbers that fit nothing, halves of characters, keys twice, bottomless nesting.
SHARDS = st.sampled_from(
    [b"NaN", b"-Infinity", b"1e999", b"-0", b"123456789012345678901234567890", b"00", b"\xff", b"\xc3",
     b"\xef\xbb\xbf", b"\x00", b'"\\ud800"', b"\\u0000", b"[" * 3000, b'{"a":' * 600, b"}", b"]", b",", b'"',
     b"\\", b"null", b"{}", b'"event":"sync.failure",', b'"id":5,', b"/*", b"//", b"\xe2\x80\xa8"]
)  # fmt: skip
CONTENT_TYPES = st.sampled_from(
    [None, "application/json", "application/json; charset=latin-1", "text/plain", "", ";", "application/cloudevents",
     "application/cloudevents+json", "application/cloudevents-batch+json", "multipart/form-data", "\xff"]
)  # fmt: skip
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=8)
CE_VALUES = VALUES | st.sampled_from(
    ["1.0", "0.3", "sync.failure", "a.sync.failure", "/s", "2026-03-10T12:00:00Z", "%ff"]
)
CE_NAMES = st.sampled_from(
    ["specversion", "type", "source", "id", "time", "data", "data_base64", "datacontenttype", "x"]
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={"Idempotency-Key": VALUES, "Content-Length": st.sampled_from(["", "x", "-1", "9" * 40, "1_0", "²"])},
)
CE_HEADERS = st.just({}) | st.dictionaries(CE_NAMES.map("ce-{}".format), CE_VALUES, max_size=6)


def broken(draw: st.DrawFn, value: Any) -> Any:
    """The value with something in it replaced, added or left out."""
    if not isinstance(value, dict) or not value or draw(st.integers(0, 3)) == 0:
        return draw(JUNK)
    name = draw(st.sampled_from(sorted(value)))
    change = draw(st.sampled_from(["inside", "inside", "leave out", "add"]))
    if change == "inside":
        return value | {name: broken(draw, value[name])}
    if change == "add":
        return value | {draw(st.text(max_size=4) | st.sampled_from(["id", "deliveryId", "timestamp"])): draw(JUNK)}
    return {key: item for key, item in value.items() if key != name}


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """An event or several, plain or as CloudEvents, whole or with something wrong."""

    def one() -> Any:
        value: Any = draw(st.sampled_from(EXAMPLES))
        if draw(st.booleans()):
            event = {"specversion": "1.0", "type": value["event"], "source": "/s", "id": draw(st.text(max_size=3))}
            value = {**event, "data": value}
        for _ in range(draw(st.integers(0, 2))):
            value = broken(draw, value)
        return value

    return [one() for _ in range(draw(st.integers(0, 3)))] if draw(st.booleans()) else one()


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of events, sometimes cut up with shards in between; or any bytes."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=40))
    data = json.dumps(draw(documents()), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 5])))
        data = data[:start] + draw(SHARDS) + data[end:]
    return data


def resolves(value: Any, pointer: str) -> bool:
    """Whether the pointer's parent stands in the value: what is missing has a place too."""
    for part in pointer.split("/")[1:-1]:
        name = part.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(name)] if isinstance(value, list) else value[name]
        except (KeyError, IndexError, TypeError, ValueError):
            return False
    return True


def test_ingest_answers_whatever_is_posted(doors: tuple[Any, Callable[..., Any]]) -> None:
    """202, 413, 415 or 422 and nothing else; problems point into the body; what was accepted can be delivered."""
    web, run = doors
    seen: set[int] = set()

    @FUZZ
    @given(bodies(), CONTENT_TYPES, HEADERS, CE_HEADERS)
    def hold(body: bytes, content_type: str | None, headers: dict[str, str], ce_headers: dict[str, str]) -> None:
        given_headers = headers | ce_headers | ({} if content_type is None else {"Content-Type": content_type})
        with capture_logs() as logs:
            answer = run(web.call("POST", "/api/v1/events", body, token=INGEST, headers=given_headers))
        seen.add(answer.status)
        assert [line for line in logs if line["log_level"] in ("error", "critical")] == []
        assert answer.status in (202, 413, 415, 422)
        if answer.status == 202:
            assert all(isinstance(entry["id"], str) for entry in answer.json["events"])
            return
        assert answer.header("content-type") == "application/problem+json"
        assert answer.json["status"] == answer.status
        if answer.status == 422:
            assert answer.json["problems"]
            try:
                posted = orjson.loads(body)
            except orjson.JSONDecodeError:
                posted = None
            for problem in answer.json["problems"]:
                assert problem["message"]
                assert (
                    posted is None or "data_base64" in body.decode("latin-1") or resolves(posted, problem["pointer"])
                )

    hold()
    assert {202, 415, 422} <= seen
    page = run(web.services.store.deliveries(DeliveryFilter(), cursor=None, limit=1000))
    assert page.items
    for delivery in page.items:
        _, payload, _ = run(web.services.store.delivery(delivery.id))
        sent = with_delivery_id(payload, delivery.event, delivery.id)
        assert json.loads(sent, parse_constant=refuse)["deliveryId"] == delivery.id


def refuse(name: str) -> None:
    """JSON has no NaN."""
    raise AssertionError(f"{name} went out")


# -- triggers ----------------------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [b"/", b"//", b".", b"..", b"%2e%2e", b"%2F", b"%00", b"%", b"%zz", b"%C3%28", b"\xff", b";a=b", b"\\", b" ",
     b"+", b"%25", b"%0d%0a", b"A", b"0", b"hooks", b"~", b"*", b"0" * 32, b"a" * 5000]
)  # fmt: skip


@st.composite
def trigger_paths(draw: st.DrawFn, hook_id: bytes, secret: bytes) -> bytes:
    """A path below the prefix: anything, or the right one with something in between, encoded or not."""
    if draw(st.integers(0, 2)) == 0:
        return b"/api/public/" + b"".join(draw(st.lists(PIECES | st.binary(max_size=4), max_size=6)))
    path = b"/api/public/hooks/" + hook_id + b"/" + secret
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.integers(12, len(path)))
        end = min(len(path), start + draw(st.integers(0, 2)))
        kept = path[start:end] if draw(st.booleans()) else b""
        changed = quote_from_bytes(kept, safe="").encode() if draw(st.booleans()) else kept.swapcase()
        path = path[:start] + changed + (draw(PIECES) if draw(st.booleans()) else b"") + path[end:]
    return path


def opens(path: bytes, hook_id: bytes, secret: bytes) -> bool:
    """Whether this is the right URL, however it is spelled."""
    parts = path.partition(b"?")[0].split(b"/")
    return (
        len(parts) == 6
        and parts[:4] == [b"", b"api", b"public", b"hooks"]
        and unquote_to_bytes(parts[4]) == hook_id
        and unquote_to_bytes(parts[5]) == secret
    )


def test_every_wrong_url_gives_the_same_answer(doors: tuple[Any, Callable[..., Any]]) -> None:
    """Any bytes below the prefix: the right URL starts a sync, everything else is one answer to the byte."""
    web, run = doors
    hook_id = run(web.services.hook_id("support/published")).encode()
    secret = run(web.services.secret("support/published")).encode()
    answers = set()
    opened = 0

    @FUZZ
    @given(trigger_paths(hook_id, secret), st.sampled_from(["GET", "POST", "PURGE"]), st.binary(max_size=10))
    def hold(path: bytes, method: str, body: bytes) -> None:
        nonlocal opened
        with capture_logs() as logs:
            answer = run(web.call(method, path.decode("latin-1"), body))
        assert [line for line in logs if line["log_level"] != "debug"] == []
        if opens(path, hook_id, secret):
            assert (answer.status, answer.body) == (200, b'{"success": true}')
            opened += 1
        else:
            answers.add((answer.status, tuple(answer.headers), answer.body))

    hold()
    assert [(status, body) for status, _, body in answers] == [(404, b'{"success": false, "error": "not found"}')]
    assert opened


@FUZZ
@given(st.data())
def test_any_bytes_for_a_path_get_an_answer_on_the_wire(server: Any, data: st.DataObject) -> None:
    """The parser's 400, the trigger's 404 to the byte, or 200 for the right one; the server's log stays empty."""
    right = server.trigger.encode()
    *_, hook_id, secret = right.split(b"/")
    path = data.draw(trigger_paths(hook_id, secret))
    way = data.draw(st.sampled_from([b"", CLOSE]))  # past ASGI, or by it
    with server.connect() as connection:
        connection.sendall(b"GET %b HTTP/1.1\r\nHost: h\r\n%b\r\n" % (path, way))
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    status = answer.split(b" ", 2)[1:2]
    assert status in ([b"200"], [b"400"], [b"404"])
    assert (status == [b"200"]) <= opens(path.partition(b" ")[0], hook_id, secret)  # where a request's path ends
    if status == [b"404"]:
        assert answer.replace(CLOSE.lower(), b"") == WRONG


CLOSE = b"Connection: close\r\n"
WRONG = (
    b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"
    b'{"success": false, "error": "not found"}'
)
