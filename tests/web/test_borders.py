"""What only a real server and a real socket can show: methods, early refusals, slow and endless clients."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.web import body as body_module
from reconciler.web import protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
AUTHORIZATION = "Authorization: Bearer ingest-token-2\r\n"


def exchange(server: Any, request: bytes, *, shut: bool = True) -> bytes:
    """Everything the server says to these bytes until it closes, or until it has answered a closing client."""
    with server.connect() as connection:
        connection.sendall(request)
        if shut:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What arrives until the other side closes."""
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def head(method: str, path: str, *more: str) -> bytes:
    """A request's head, which asks the server to close afterwards."""
    lines = [f"{method} {path} HTTP/1.1", "Host: h", "Connection: close", *more, "", ""]
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PURGE", "PROPFIND", "REPORT"])
def test_any_method_of_the_parser_starts_a_sync(server: Any, method: str) -> None:
    """Methods that a routing function would answer with 405 are calls like any other."""
    answer = exchange(server, head(method, server.trigger), shut=False)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'\r\n\r\n{"success": true}')


def test_a_client_that_half_closes_gets_its_answer(server: Any) -> None:
    """Who has said all it wants to say still hears what came of it, even where that takes the store's time."""
    answer = exchange(server, head("POST", server.trigger).replace(b"Connection: close\r\n", b""), shut=True)
    assert answer.endswith(b'\r\n\r\n{"success": true}')


def test_head_gets_the_headers_alone(server: Any) -> None:
    """HEAD starts a sync and has no body."""
    answer = exchange(server, head("HEAD", server.trigger), shut=False)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"content-length: 17\r\nconnection: close\r\n\r\n")


def test_wrong_urls_give_the_same_bytes_on_the_wire(server: Any) -> None:
    """Status line, headers and body, to the byte."""
    hook = server.trigger.rpartition("/")[0]
    unknown = "/api/public/hooks/00000000-0000-4000-8000-000000000000/" + "0" * 32
    paths = [
        f"{hook}/{'0' * 32}",
        unknown,
        f"{server.trigger}/",
        "/api/public/x",
        "/api/public/hooks/%zz/%",
        f"{hook}/%",
    ]
    answers = {exchange(server, head("GET", path), shut=False) for path in paths}
    assert len(answers) == 1
    assert answers.pop().startswith(b"HTTP/1.1 404 Not Found\r\n")


def test_odd_request_lines_never_crash_the_server(server: Any) -> None:
    """Absolute URLs, double slashes, control bytes, other protocols: an answer each, and the server lives on."""
    for line in (
        "GET http://evil.example/api/public/hooks/a/b HTTP/1.1",
        "GET //api//public/hooks HTTP/1.1",
        "GET /api/public/hooks/\x01/b HTTP/1.1",
        "GET /api/public/hooks/\xff/b HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "CONNECT host:443 HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET /" + "a" * 60_000 + " HTTP/1.1",
        "NONSENSE / HTTP/1.1",
        "GET / HTTP/9.9",
    ):
        answer = exchange(server, f"{line}\r\nHost: h\r\nConnection: close\r\n\r\n".encode("latin-1"))
        assert answer == b"" or answer.split()[1].startswith(b"4"), line
    upgrade = head("GET", "/healthz").replace(b"Connection: close", b"Connection: Upgrade\r\nUpgrade: websocket")
    assert exchange(server, upgrade).startswith(b"HTTP/1.1 200")
    assert exchange(server, head("GET", "/healthz"), shut=False).startswith(b"HTTP/1.1 200")


def send_in_background(connection: socket.socket, chunks: Iterator[bytes]) -> threading.Thread:
    """A client that sends its whole body before it looks at the answer."""

    def run() -> None:
        for chunk in chunks:
            connection.sendall(chunk)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("target", ["trigger", "events"])
def test_a_client_sees_its_413_when_it_sends_everything_first(server: Any, target: str, *, declared: bool) -> None:
    """The server reads on before it closes, so the answer is not lost in a reset."""
    path, more = (server.trigger, "") if target == "trigger" else ("/api/v1/events", AUTHORIZATION)
    size = 8 * MIB
    length = f"Content-Length: {size}" if declared else "Transfer-Encoding: chunked"
    start = f"POST {path} HTTP/1.1\r\nHost: h\r\n{more}{length}\r\n\r\n".encode()
    block = b"x" * MIB
    chunk = block if declared else b"%x\r\n%b\r\n" % (MIB, block)
    with server.connect() as connection:
        connection.sendall(start)
        sender = send_in_background(connection, iter([chunk] * 8 + ([] if declared else [b"0\r\n\r\n"])))
        sender.join()
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_a_client_that_asks_first_is_not_told_to_go_on(server: Any) -> None:
    """With `Expect: 100-continue` a wrong secret or a large body is refused without a byte of it."""
    expecting = ("Expect: 100-continue", f"Content-Length: {2 * MIB}")
    for path in (server.trigger + "0", server.trigger):
        with server.connect() as connection:
            connection.sendall(head("POST", path, *expecting))
            answer = connection.recv(65536)
        assert b"100 Continue" not in answer
        assert answer.split()[1] in (b"404", b"413")


def test_a_connection_is_used_again_when_its_body_was_refused_unread(server: Any) -> None:
    """A 401 before the body does not mistake that body for the next request."""
    body = b"GET /healthz HTTP/1.1\r\nHost: smuggled\r\n\r\n"
    first = f"POST /api/v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    answer = exchange(server, first + head("GET", "/readyz"), shut=False)
    assert answer.count(b"HTTP/1.1 ") == 2
    assert answer.startswith(b"HTTP/1.1 401")
    assert b'{"status":"ready"}' in answer


def test_an_event_is_accepted_over_the_wire(server: Any) -> None:
    """The whole way, in one read or byte by byte."""
    event = {"event": "sync.failure", "bot": "support", "dataSource": "docs", "reason": "x"}
    body = json.dumps(event).encode()
    request = head("POST", "/api/v1/events", AUTHORIZATION.strip(), f"Content-Length: {len(body)}") + body
    assert exchange(server, request, shut=False).startswith(b"HTTP/1.1 202 Accepted\r\n")
    with server.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for index in range(len(request)):
            connection.send(request[index : index + 1])
        assert read_all(connection).startswith(b"HTTP/1.1 202 Accepted\r\n")


def test_a_body_that_drips_is_cut_off(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not end in time is a 408, and the connection ends."""
    monkeypatch.setattr(protocol, "BODY_S", 0.2)
    request = head("POST", "/api/v1/events", AUTHORIZATION.strip(), "Content-Length: 100") + b"{"
    assert exchange(server, request, shut=False).startswith(b"HTTP/1.1 408")
    request = head("POST", server.trigger, "Content-Length: 100") + b"{"
    assert exchange(server, request, shut=False).startswith(b"HTTP/1.1 408")


def test_a_refused_body_that_never_ends_is_cut_off(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading on has an end, in bytes and in time."""
    monkeypatch.setattr(body_module, "DRAIN_S", 0.2)
    request = f"POST {server.trigger} HTTP/1.1\r\nHost: h\r\nContent-Length: {2 * MIB}\r\n\r\nx".encode()
    assert exchange(server, request, shut=False).startswith(b"HTTP/1.1 413")


HEALTHY = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"", b"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Slow: "),
        (HEALTHY, b"\r\n"),
        (HEALTHY, b"GET /hea"),
    ],
)
def test_a_head_that_does_not_end_is_cut_off(
    server: Any, monkeypatch: pytest.MonkeyPatch, first: bytes, then: bytes
) -> None:
    """A client that opens, or begins a request, and then waits, loses its connection."""
    monkeypatch.setattr(protocol, "HEAD_S", 0.2)
    with server.connect() as connection:
        if first:
            connection.sendall(first)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        connection.sendall(then)
        assert read_all(connection) == b""


def test_headers_without_end_are_cut_off(server: Any) -> None:
    """More than 64 KiB of head is a 431, not memory."""
    with server.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n")
        line = b"X-More: " + b"y" * 1000 + b"\r\n"
        sent = 0
        try:
            while sent < 64 * MIB:
                connection.sendall(line * 10)
                sent += len(line) * 10
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 32 * MIB


def test_the_rest_of_an_answered_body_is_read_for_a_while_only(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was told 401 and drips on loses its connection."""
    monkeypatch.setattr(protocol, "BODY_S", 0.2)
    with server.connect() as connection:
        connection.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx")
        assert read_all(connection).startswith(b"HTTP/1.1 401")
