"""A stop that was asked for ends within its grace, whoever hangs, and gives back what it did not finish."""

from __future__ import annotations

import signal
import socket
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT = {
    "event": "conversation.started",
    "conversation": {
        "id": "c-1",
        "botId": "def-456",
        "channelType": "web",
        "initialMessage": "Hello",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}


@pytest.fixture
def silent() -> Iterator[tuple[str, threading.Event]]:
    """A receiver that accepts and never says a word: its URL, and whether somebody has come."""
    came = threading.Event()
    kept = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                kept.append(listener.accept()[0])
            except OSError:
                return
            came.set()

    thread = threading.Thread(target=accept)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}/", came
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()
    for connection in kept:
        connection.close()


def test_a_stop_ends_within_its_grace_whoever_hangs(lab: Any, silent: tuple[str, threading.Event]) -> None:
    """A receiver that never answers, a client in the middle of a request and an idle one cost no more than the grace.

    What was in flight is given back without a record, and is delivered by the next daemon.
    """
    url, came = silent
    lab.configure(url, timeout="30s")
    daemon = lab.start("--grace", "300ms")
    assert daemon.post_event(EVENT).status_code == 202
    assert came.wait(20)
    parts = urlsplit(daemon.url)
    address = (parts.hostname, parts.port)
    with closing(socket.create_connection(address)) as idle, closing(socket.create_connection(address)) as slow:
        idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        slow.sendall(b"POST /api/v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")

        daemon.process.send_signal(signal.SIGTERM)
        code = daemon.process.wait(timeout=15)

    assert code == 0
    assert daemon.stop() == 0
    lab.configure()
    daemon = lab.start()
    (request,) = lab.receiver.wait_for(1)
    detail = daemon.wait_for_status(request.headers["webhook-id"], "delivered")
    assert [attempt["status"] for attempt in detail["attempts"]] == [200]
    assert daemon.stop() == 0


def test_a_stop_under_load_loses_nothing_and_sends_nothing_twice(lab: Any) -> None:
    """Everything answered 202 before the end is there afterwards; what was in flight was finished and recorded."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 100)

    assert daemon.stop() == 0

    load.stop()
    assert set(load.refused) <= {503}
    daemon = lab.start()
    lab.settle(load, daemon, in_flight=0)
    assert daemon.stop() == 0


def test_a_second_signal_stops_at_once(lab: Any, silent: tuple[str, threading.Event]) -> None:
    """Whoever cannot wait for the grace exits 1, and loses nothing either."""
    url, came = silent
    lab.configure(url, timeout="30s")
    daemon = lab.start("--grace", "10m")
    assert daemon.post_event(EVENT).status_code == 202
    assert came.wait(20)

    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for_log("stopping")
    daemon.process.send_signal(signal.SIGTERM)

    assert daemon.process.wait(timeout=15) == 1
    daemon.stop()
    lab.configure()
    daemon = lab.start()
    assert len(lab.receiver.wait_for(1)) == 1
    assert daemon.stop() == 0
