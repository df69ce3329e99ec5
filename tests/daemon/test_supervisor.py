"""What a service manager is told, and what it may ask for."""

from __future__ import annotations

import json
import signal
import socket
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.daemon.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 30


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The service manager's end of the notify socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        bound.settimeout(PATIENCE_S)
        yield bound


def told(manager: socket.socket, word: str) -> list[str]:
    """The lines of the next message that begins with this one."""
    while True:
        lines = manager.recv(4096).decode().splitlines()
        if lines[0] == word:
            return lines


def test_manager_hears_of_start_life_and_stop(
    tmp_path: Path, manager: socket.socket, start_daemon: Callable[..., Any]
) -> None:
    """Ready when it serves, awake again and again while it does, stopping before it ends."""
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
    daemon = start_daemon(env=environ)
    assert told(manager, "READY=1") == ["READY=1", f"STATUS=serving {daemon.url}"]
    for _ in range(3):
        assert told(manager, "WATCHDOG=1") == ["WATCHDOG=1"]
    assert daemon.stop() == 0
    assert told(manager, "STOPPING=1") == ["STOPPING=1", "STATUS=draining what is in flight"]


def test_hangup_reloads(tmp_path: Path, start_daemon: Callable[..., Any]) -> None:
    """The daemon looks at its files, also where it does not by itself, and goes on whatever it finds."""
    hook = {"type": "conversation.started", "url": "https://crm.example.com/", "enabled": True}
    files = tmp_path / "hooks.yaml"
    files.write_text(json.dumps({"version": 1, "bots": {"b": {"webhooks": {}}}}))
    daemon = start_daemon("-f", "hooks.yaml", "--on-change", "ignore")
    for text, outcome in (
        ("{", "invalid"),
        (json.dumps({"version": 1, "bots": {"b": {"webhooks": {"h": hook}}}}), "applied"),
    ):
        files.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for_log("files.refused" if outcome == "invalid" else "files.looked-at", outcome=outcome)
    with daemon.client as client:
        assert client.get("/api/v1/hooks").json()["items"][0]["address"] == "b/h"
    assert daemon.stop() == 0


def test_nobody_is_told_where_nobody_asked() -> None:
    """Without an address nothing is sent, and the watchdog of another process is not this one's."""
    supervisor = Supervisor({"WATCHDOG_USEC": "100000"}, pid=7)
    supervisor.ready("serving")
    assert supervisor.watchdog_s is None
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "100000"}
    assert Supervisor({**environ, "WATCHDOG_PID": "8"}, pid=7).watchdog_s is None
    assert Supervisor({**environ, "WATCHDOG_PID": "7"}, pid=7).watchdog_s == 0.1
    assert Supervisor({**environ, "WATCHDOG_USEC": "never"}, pid=7).watchdog_s is None


def test_manager_that_is_gone_stops_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It could not be told, which the log says; an abstract address is understood."""
    Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")}, pid=7).stopping("x")
    assert "supervisor.not-told" in capsys.readouterr().out
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind("\0reconciler-test-" + tmp_path.name)
        bound.settimeout(PATIENCE_S)
        Supervisor({"NOTIFY_SOCKET": "@reconciler-test-" + tmp_path.name}, pid=7).ready("here")
        assert bound.recv(4096) == b"READY=1\nSTATUS=here"
