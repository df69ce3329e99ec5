"""The command line, called in this process in a folder of the test's own."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.cli.main import run as run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOOKS = """\
version: 1
bots:
  support-bot:
    id: def-456
    name: My Bot
    data_sources:
      docs:
        sync: {command: ["true"]}
    webhooks:
      published: {type: sync.trigger, data_source: docs, enabled: true}
      chats:
        type: conversation.started
        url: https://crm.example.com/hooks/{{conversation.channelType}}
        enabled: true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, and an environment without this program's variables."""
    for name in list(os.environ):
        if name.startswith("RECONCILER_") or name in ("GITHUB_SHA", "CI_COMMIT_SHA"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reconcile(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Callable[..., Ended]:
    """Run a command; `given` is its standard input, which is no terminal."""

    def run(*arguments: str, given: bytes = b"") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
        capsysbinary.readouterr()
        code = run_command(arguments)
        printed = capsysbinary.readouterr()
        return Ended(code=code, out=printed.out.decode(), err=printed.err.decode())

    return run


@pytest.fixture
def applied(folder: Path, reconcile: Callable[..., Ended]) -> Path:
    """The folder, with one bot, one data source, a trigger and an outgoing webhook applied."""
    (folder / "hooks.yaml").write_text(HOOKS)
    ended = reconcile("--yes")
    assert ended.code == 0, ended.err
    return folder


class FakeDaemon:
    """An HTTP server that answers as told and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[tuple[int, Any]] = []
        daemon = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                daemon.asked.append((self.command, self.path, headers, json.loads(body) if body else None))
                status, value = daemon.answers.pop(0)
                content = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def daemon(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    """A daemon that says what the test wants, where the environment points to."""
    fake = FakeDaemon()
    monkeypatch.setenv("RECONCILER_SERVER", fake.url)
    monkeypatch.setenv("RECONCILER_TOKEN", "canary-token")
    yield fake
    fake.close()
