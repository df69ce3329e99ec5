"""Requests past ASGI: told apart from the others by nothing but their speed."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import SnapshotMoved, StoreUnavailable
from reconciler.web.app import build_app
from reconciler.web.direct import DirectRequest

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = "/api/v1/events"
TOKEN = "Authorization: Bearer ingest-token-2"
EVENT = json.dumps(
    {
        "event": "conversation.started",
        "id": "evt-1",
        "conversation": {
            "id": "c",
            "botId": "def-456",
            "channelType": "web",
            "initialMessage": "Hi",
            "createdAt": "x",
        },
    }
).replace('"x"', '"2026-03-10T12:00:00.000Z"')


def request(method: str, path: str, *headers: str, body: str = "") -> bytes:
    """A request that keeps its connection."""
    lines = [f"{method} {path} HTTP/1.1", "Host: h", *headers, f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode()


def answers(server: Any, *parts: bytes) -> bytes:
    """What the server says to these bytes, sent one part after the other, until a client that is done has it all."""
    with server.connect() as connection:
        for part in parts:
            connection.sendall(part)
        connection.shutdown(socket.SHUT_WR)
        return receive(connection, b"")


def receive(connection: socket.socket, end: bytes) -> bytes:
    """What arrives up to these bytes; without any, up to the end of the connection."""
    said = b""
    while not (end and said.endswith(end)):
        chunk = connection.recv(65536)
        if not chunk:
            assert not end, said
            break
        said += chunk
    return said


@pytest.mark.parametrize(
    "made",
    [
        request("POST", EVENTS, body=EVENT),
        request("POST", EVENTS, "Authorization: Bearer nobody's", body=EVENT),
        request("GET", EVENTS, TOKEN),
        request("POST", EVENTS, TOKEN, "Content-Type: image/png", body=EVENT),
        request("POST", EVENTS, TOKEN, body="{"),
        request("POST", EVENTS, TOKEN, body="[]"),
        request("POST", EVENTS, TOKEN, body="{}"),
        request("POST", f"{EVENTS}?a=b", TOKEN, body=EVENT),
        request("POST", EVENTS, TOKEN, body=json.dumps([1] * 1001)),
        request("GET", "/api/public/hooks/x/y"),
        request("GET", "/api/public/hooks/x/%zz"),
        request("GET", "/api/public/"),
        request("PURGE", "{trigger}", body="b"),
    ],
)
def test_the_answer_is_that_of_a_request_by_asgi_to_the_byte(
    server: Any, made: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking for the end of the connection is what sends the same request the other way."""
    respond = DirectRequest.respond
    past_asgi: list[bytes] = []

    def note(request: DirectRequest, answer: Any) -> None:
        past_asgi.append(request.path)
        respond(request, answer)

    monkeypatch.setattr(DirectRequest, "respond", note)
    made = made.replace(b"{trigger}", server.trigger.encode())
    answers(server, made)  # so that an event is a duplicate both times
    direct = answers(server, made)
    asgi = answers(server, made.replace(b"Host: h\r\n", b"Host: h\r\nConnection: close\r\n", 1))
    ends = b"connection: close\r\n"
    assert len(past_asgi) == 2
    assert direct.startswith(b"HTTP/1.1 ")
    assert direct.replace(ends, b"") == asgi.replace(ends, b"")


def test_a_wrong_token_is_refused_before_the_body_comes(server: Any) -> None:
    """Nobody has to send what will not be read, and the connection goes on when it was sent."""
    with server.connect() as connection:
        first = request("POST", EVENTS, "Authorization: Bearer no", body=EVENT)
        connection.sendall(first[: -len(EVENT)])
        assert receive(connection, b"}").startswith(b"HTTP/1.1 401 ")
        connection.sendall(EVENT[:20].encode())
        connection.sendall(EVENT[20:].encode() + request("POST", EVENTS, TOKEN, body=EVENT))
        assert receive(connection, b"}]}").startswith(b"HTTP/1.1 202 ")


def test_a_body_may_come_in_pieces(server: Any) -> None:
    """It is whole when its last byte is there."""
    with server.connect() as connection:
        whole = request("POST", EVENTS, TOKEN, body=EVENT)
        for at in range(0, len(whole), 40):
            connection.sendall(whole[at : at + 40])
        assert receive(connection, b"}]}").startswith(b"HTTP/1.1 202 ")


def test_requests_sent_ahead_are_answered_in_their_order(server: Any) -> None:
    """Those that go different ways among them."""
    trigger = request("GET", server.trigger)
    ahead = [request("POST", EVENTS, TOKEN, body=EVENT), trigger, request("GET", "/healthz"), trigger]
    said = answers(server, b"".join(ahead) * 5).split(b"HTTP/1.1 ")[1:]
    assert [part.split()[0] for part in said] == [b"202", b"200", b"200", b"200"] * 5
    assert [part.endswith(b'{"success": true}') for part in said] == [False, True, False, True] * 5


def test_who_half_closes_is_answered(server: Any) -> None:
    """Whether its end comes before the answer or after it."""
    for _ in range(20):
        assert answers(server, request("POST", EVENTS, TOKEN, body=EVENT)).startswith(b"HTTP/1.1 202 Accepted\r\n")


def test_who_leaves_within_its_body_is_counted(server: Any) -> None:
    """And nothing is stored of it."""
    for made in (request("POST", EVENTS, TOKEN, body=EVENT), request("POST", server.trigger, body=EVENT)):
        with server.connect() as connection:
            connection.sendall(made[:-1])
        answers(server, request("GET", "/healthz"))
    counted = answers(server, request("GET", "/metrics")).decode()
    assert 'reconciler_events_rejected_total{reason="disconnected"} 1.0' in counted
    assert 'reconciler_triggers_total{outcome="disconnected"} 1.0' in counted


class Failing:
    """A store that tells whoever writes so later, as the real one does."""

    def __init__(self, store: Any, error: type[Exception]) -> None:
        self._store = store
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def accept(self, *_: Any, **__: Any) -> asyncio.Future[Any]:
        """Answered a turn later."""
        told = asyncio.get_running_loop().create_future()
        told.get_loop().call_soon(told.set_exception, self._error("no"))
        return told

    async def request_sync(self, *_: Any, **__: Any) -> Any:
        """The same."""
        return await self.accept()


@pytest.mark.parametrize("way", ["direct"], indirect=True)
@pytest.mark.parametrize("path", [EVENTS, "{trigger}", "/api/public/none"])
@pytest.mark.parametrize("error", [None, StoreUnavailable, SnapshotMoved])
def test_an_answered_request_is_no_garbage(
    web: Callable[..., None], path: str, error: type[Exception] | None
) -> None:
    """It ends with its last reference: at thousands a second the collector of cycles would never rest."""

    async def body(web: Any) -> None:
        app: Any = build_app(web.services)
        target = path.replace("{trigger}", await web.services.trigger_path("support/published")).encode()
        if error is not None:
            web.services.store = Failing(web.services.store, error)
        answered = asyncio.Event()
        one = DirectRequest(
            "POST", [(b"authorization", b"Bearer ingest-token-2")], target, lambda _, __: answered.set()
        )
        known = weakref.ref(one)
        app.direct(target)(one)
        one.end(EVENT.encode())
        await answered.wait()
        await asyncio.sleep(0)  # noqa: TID251 - a turn, in which what called back lets go
        await asyncio.sleep(0)  # noqa: TID251
        del one
        assert known() is None

    gc.disable()
    try:
        web(body)
    finally:
        gc.enable()
