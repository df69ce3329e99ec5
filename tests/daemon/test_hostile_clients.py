"""Clients that want to do harm, before a real daemon: they get nothing, hold nothing, and hurt nobody."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
CROWD = 100
PROMPT_S = 2.0
"""How long anybody else may wait meanwhile, on a machine that is busy with other tests."""
CONVERSATION = {"id": "c", "botId": "b", "channelType": "web", "createdAt": "2026-03-10T12:00:00.000Z"}


@pytest.fixture
def daemon(tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]) -> Any:
    """One with a trigger and a webhook whose URL, header and body take what a customer typed."""
    hook = {
        "type": "conversation.started",
        "url": f"{receiver.url}/{{{{conversation.channelType}}}}/in",
        "enabled": True,
        "custom_payload": {
            "enabled": True,
            "headers": {"X-Said": "{{conversation.initialMessage}}", "Content-Type": "application/json"},
            "body": '{"said": "{{conversation.initialMessage}}", "all": {{conversation.initialMessage}}}',
        },
    }
    trigger = {"type": "sync.trigger", "data_source": "d", "enabled": True}
    bot = {"data_sources": {"d": {"sync": {"command": ["true"]}}}, "webhooks": {"h": hook, "t": trigger}}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": {"b": bot}}))
    return start_daemon("-f", "hooks.yaml", "--grace", "1s")


@pytest.fixture
def trigger(daemon: Any, reconcile: Callable[..., Any]) -> str:
    """The path of the trigger's URL."""
    path: str = "/api/public/" + reconcile("url", "b/t").stdout.strip().partition("/api/public/")[2]
    return path


def connect(daemon: Any) -> socket.socket:
    """A connection to the daemon."""
    host, _, port = daemon.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def is_prompt(daemon: Any, trigger: str) -> bool:
    """Whether others are served as if nobody else were there."""
    started_s = time.monotonic()
    assert daemon.post_event({"event": "conversation.started", "conversation": CONVERSATION}).status_code == 202
    assert daemon.get(trigger).status_code == 200
    return time.monotonic() - started_s < PROMPT_S


def test_a_crowd_that_drips_is_sent_away_and_hurts_nobody(daemon: Any, trigger: str) -> None:
    """Idle connections, endless heads and bodies: the others are served, the slow lose their connections."""
    posting = f"POST /api/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {daemon.token}\r\n"
    beginnings = [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Slow: ",
        posting.encode(),
        f"{posting}Content-Length: 100\r\n\r\n{{".encode(),
        f"POST {trigger} HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n".encode(),
    ]
    with ExitStack() as stack:
        crowd = [stack.enter_context(connect(daemon)) for _ in range(CROWD)]
        for number, connection in enumerate(crowd):
            connection.sendall(beginnings[number % len(beginnings)])
        assert is_prompt(daemon, trigger)
        for connection in crowd[1::5] + crowd[2::5]:  # another byte is no new beginning
            connection.sendall(b"x")
        for number in range(3):
            assert crowd[number].recv(100) == b""
        assert is_prompt(daemon, trigger)
        assert daemon.stop() == 0  # bodies may take longer, but the end does not wait for them
    assert [line for line in daemon.raw_log if '"level": "error"' in line] == []


@pytest.mark.parametrize("framing", ["declared", "chunked"])
@pytest.mark.parametrize("door", ["events", "trigger"])
def test_a_body_without_measure_is_refused_where_the_client_sees_it(
    daemon: Any, trigger: str, door: str, framing: str
) -> None:
    """413, even to a client that looks for an answer only when it has sent everything."""
    path, size = trigger if door == "trigger" else "/api/v1/events", 8
    length = f"Content-Length: {size * MIB}" if framing == "declared" else "Transfer-Encoding: chunked"
    block = b"[" * MIB
    with connect(daemon) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {daemon.token}\r\n{length}\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(size):
            connection.sendall(block if framing == "declared" else b"%x\r\n%b\r\n" % (MIB, block))
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert is_prompt(daemon, trigger)


@pytest.mark.parametrize(
    "typed",
    [
        "a\r\nX-Injected: yes\r\n\r\nGET /admin HTTP/1.1",
        "a\nX-Injected: yes",
        "a\u2028X-Injected: yes\u0085X-Injected: yes",
        '", "injected": true, "x": "',
        '\\", "injected": true',
        "{{conversation.botId}} {{secret}} ${env:HOME}",
        "\x00\x01\x1b[31m",
        "é😀" * 3000,
    ],
)
def test_what_a_customer_typed_stays_a_value(daemon: Any, receiver: Any, typed: str) -> None:
    """It adds no header, no request and no member, in whatever place it stands."""
    conversation = {**CONVERSATION, "initialMessage": typed, "channelType": "../a?b=c#d\r\nX-Injected: yes"}
    answer = daemon.post_event({"event": "conversation.started", "conversation": conversation})
    assert answer.status_code == 202
    (request,) = receiver.wait_for(1)
    assert request.json == {"said": typed, "all": typed}
    assert not [name for name in request.headers if "injected" in name or name == "get /admin http/1.1"]
    assert "\n" not in request.headers["x-said"]
    assert request.path == "/..%2Fa%3Fb%3Dc%23d%0D%0AX-Injected%3A%20yes/in"
    assert len(receiver.requests) == 1


def test_requests_that_two_parsers_could_read_in_two_ways_are_refused(daemon: Any) -> None:
    """Two lengths, a length beside chunks, a folded or nameless header: no request is smuggled behind another."""
    smuggled = "GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    for more, body in (
        (f"Content-Length: {len(smuggled)}\r\nContent-Length: 0\r\n", smuggled),
        ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", f"0\r\n\r\n{smuggled}"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", f"0\r\n\r\n{smuggled}"),
        ("Content-Length: +5\r\n", smuggled),
        ("Content-Length : 5\r\n", smuggled),
        ("Transfer-Encoding: xchunked\r\n", smuggled),
        ("X-A: b\nContent-Length: 0\r\n", ""),
    ):
        head = f"POST /api/v1/events HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {daemon.token}\r\n{more}\r\n"
        with connect(daemon) as connection:
            connection.sendall((head + body).encode())
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
        assert b'"ok"' not in answer, more
        assert answer.count(b"HTTP/1.1 ") <= 1, more
        assert answer.startswith((b"HTTP/1.1 4", b"")), more
