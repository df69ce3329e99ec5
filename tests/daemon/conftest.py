"""A real daemon in its own process, and a real receiver to deliver to."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

READY_S = 20.0
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request as the receiver saw it; header names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """An HTTP receiver on loopback that keeps what it gets. `answers` are statuses for the next requests.

    429 and 503 ask to be left alone for `retry_after_s`, if that is set. Paths in `held` have to wait for `release`.
    Requests to a path that is refused are answered so and take none of them.
    """

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.answers: list[int] = []
        self.retry_after_s: int | None = None
        self.held: set[str] = set()
        self.release = threading.Event()
        self._refused: dict[str, int] = {}
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # The answer in one piece: head and body apart would wait for each other's acknowledgement, 40 ms.
            wbufsize = -1

            def handle_one_request(self) -> None:
                with contextlib.suppress(ConnectionError):
                    super().handle_one_request()

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._changed:
                    receiver.requests.append(
                        Received(method=self.command, path=self.path, headers=headers, body=body)
                    )
                    status = receiver._refused.get(self.path, 0)
                    if not status:
                        status = receiver.answers.pop(0) if receiver.answers else 200
                    receiver._changed.notify_all()
                if self.path in receiver.held:
                    receiver.release.wait(PATIENCE_S)
                self.send_response(status)
                if status in (429, 503) and receiver.retry_after_s is not None:
                    self.send_header("retry-after", str(receiver.retry_after_s))
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            do_POST = do_PUT = do_PATCH = do_GET = do_DELETE = answer  # noqa: N815 - http.server's names

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def refuse(self, path: str, status: int | None) -> None:
        """Answer requests to `path` with `status` from now on; None accepts them again."""
        with self._changed:
            if status is None:
                self._refused.pop(path, None)
            else:
                self._refused[path] = status

    def wait_for(self, count: int, *, where: Callable[[Received], bool] = lambda _: True) -> list[Received]:
        """The matching requests once there are `count` of them."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: sum(map(where, self.requests)) >= count, timeout=PATIENCE_S)
            got = [request for request in self.requests if where(request)]
        assert arrived, f"wanted {count} requests, got {len(got)}"
        return got

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@dataclass(kw_only=True)
class Daemon:
    """A running `reconcile serve`; its log lines are parsed JSON."""

    process: subprocess.Popen[str]
    folder: Path
    url: str = ""
    log: list[dict[str, Any]] = field(default_factory=list)
    raw_log: list[str] = field(default_factory=list)
    _lines: queue.Queue[str | None] = field(default_factory=queue.Queue)
    _reader: threading.Thread | None = None

    def start_reading(self) -> None:
        def read() -> None:
            assert self.process.stderr is not None
            for line in self.process.stderr:
                self._lines.put(line)
            self._lines.put(None)

        self._reader = threading.Thread(target=read)
        self._reader.start()

    def wait_for_log(self, event: str, **fields: Any) -> dict[str, Any]:
        """The next log line of this event with these fields."""
        while True:
            try:
                line = self._lines.get(timeout=PATIENCE_S)
            except queue.Empty:
                raise AssertionError(f"no {event} {fields} in the log:\n" + "".join(self.raw_log)) from None
            if line is None:
                self._lines.put(None)  # for whoever reads to the end
                raise AssertionError(f"the daemon ended before {event}:\n" + "".join(self.raw_log))
            self.raw_log.append(line)
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                self.log.append(entry)
                if entry.get("event") == event and all(entry.get(k) == v for k, v in fields.items()):
                    return entry

    @property
    def state(self) -> Path:
        """The folder of the store as the daemon sees it, whatever is mounted there for it alone."""
        return Path(f"/proc/{self.process.pid}/root{self.folder}/state")

    @property
    def token(self) -> str:
        return (self.state / "token").read_text().strip()

    @property
    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.token}"}, timeout=PATIENCE_S)

    def get(self, path: str) -> httpx2.Response:
        with self.client as client:
            return client.get(path)

    def post_event(self, event: Any) -> httpx2.Response:
        with self.client as client:
            return client.post("/api/v1/events", json=event)

    def wait_for_status(self, delivery_id: str, status: str) -> dict[str, Any]:
        """The delivery once it has this status."""
        with self.client as client:
            return wait_until(
                lambda: next(
                    (d for d in [client.get(f"/api/v1/deliveries/{delivery_id}").json()] if d["status"] == status),
                    None,
                )
            )

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        code = self.process.wait(timeout=PATIENCE_S)
        assert self._reader is not None
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.raw_log.append(line)
        self._lines.put(None)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


def wait_until(condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
    """The condition's first truthy value; polls, because the other side is another process."""
    deadline = threading.Event()
    timer = threading.Timer(patience_s, deadline.set)
    timer.start()
    try:
        while not deadline.wait(0.02):
            if value := condition():
                return value
        raise AssertionError("the condition did not come true")
    finally:
        timer.cancel()


@pytest.fixture(name="wait_until")
def wait_until_fixture() -> Callable[..., Any]:
    """`wait_until(condition)`, for tests with conditions of their own."""
    return wait_until


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver of this test alone."""
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def reconcile(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command in the test's folder. `within` is a command that runs another one."""

    def run(
        *arguments: str, env: dict[str, str] | None = None, stdin: str = "", within: Sequence[str] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*within, str(Path(sys.executable).with_name("reconcile")), *arguments],
            cwd=tmp_path,
            env=_environment(env),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Start `reconcile serve` on a free port in the test's folder and wait until it serves.

    `within` is a command that runs another one; `program` is started in place of `reconcile`.
    """
    running: list[Daemon] = []

    def start(
        *arguments: str,
        env: dict[str, str] | None = None,
        ready: bool = True,
        within: Sequence[str] = (),
        program: Sequence[str] = (str(Path(sys.executable).with_name("reconcile")),),
    ) -> Daemon:
        process = subprocess.Popen(
            [
                *within,
                *program,
                *("serve", "--port", "0", "--log-format", "json", "--allow-target", "127.0.0.0/8"),
                *arguments,
            ],
            cwd=tmp_path,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        daemon = Daemon(process=process, folder=tmp_path)
        daemon.start_reading()
        running.append(daemon)
        if ready:
            daemon.url = daemon.wait_for_log("serving")["url"]
        return daemon

    yield start
    for daemon in running:
        if daemon.process.poll() is None:
            daemon.stop(signal.SIGKILL)
        elif daemon.process.stderr is not None and not daemon.process.stderr.closed:
            daemon.stop()


def _environment(extra: dict[str, str] | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
    return {**kept, "NO_COLOR": "1", **(extra or {})}
