"""Every kind of secret is planted, everything is used, and nothing but two commands gives one away."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from reconciler.model.event import example_payload
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

AWKWARD = "\"'/<&>+%41=;\\ {{x}}"
"""What a secret may hold that every format writes in its own way."""
KEY = base64.b64encode(b"a canary key of thirty-two bytes").decode()
PATIENCE_S = 30
GENERATED = [f"b/{name}" for name in ("t-asked", "t-run", "t-off", "h", "good", "f")]
EVENTS = [
    {"event": kind.value, **example_payload(kind, bot_name="b", bot_id="b")}
    for kind in (EventType.CONVERSATION_STARTED, EventType.CONVERSATION_CLAIMED)
]


def canary(name: str) -> str:
    """The part of a planted secret that is searched for: no format escapes it."""
    return f"kq7{name}x9"


PLANTED = {
    name: canary(name) + AWKWARD
    for name in ("URLKEY", "BODYKEY", "SYNCURL", "COMMANDKEY", "OPSSECRET", "NOTIFYSECRET", "HEADERKEY", "SYNCHEADER")
}
TOKENS = {name: canary(name) for name in ("ADMINTOKEN", "INGESTTOKEN", "READTOKEN")}
INPUTS = {
    "header-key": PLANTED["HEADERKEY"].replace(" {{x}}", ""),
    "sync-header": PLANTED["SYNCHEADER"],
}
"""Files that hold secrets because somebody put them there."""
ENVIRONMENT = {
    **{name: value for name, value in PLANTED.items() if name not in ("HEADERKEY", "SYNCHEADER")},
    **{f"RECONCILER_{name.removesuffix('TOKEN')}_TOKEN": value for name, value in TOKENS.items()},
    "RECONCILER_TOKEN": TOKENS["ADMINTOKEN"],
    "RECONCILER_KEY": KEY,
}


def configuration(receiver: str) -> str:
    """A reference in every place that takes one, and a generated secret of each kind."""
    refused = {"retry": {"attempts": 2, "schedule": ["50ms"]}, "enabled": True}
    custom = {
        "enabled": True,
        "headers": {"X-Auth": "Bearer ${file:header-key}"},
        "body": '{"key": "${env:BODYKEY}", "said": "{{conversation.initialMessage}}"}',
    }
    command = ["sh", "-c", 'cat >&2; echo "$0" >&2; echo "failed with $0" >&2; exit 3', "${env:COMMANDKEY}"]
    http = {
        "url": f"{receiver}/sync/500?key=${{env:SYNCURL}}",
        "headers": {"Authorization": "Bearer ${file:sync-header}"},
    }
    bot = {
        "data_sources": {"asked": {"sync": {"http": http}}, "run": {"sync": {"command": command}}},
        "webhooks": {
            "t-asked": {"type": "sync.trigger", "data_source": "asked", "enabled": True},
            "t-run": {"type": "sync.trigger", "data_source": "run", "enabled": True},
            "t-off": {"type": "sync.trigger", "data_source": "run", "enabled": False},
            "h": {
                "type": "conversation.started",
                "url": f"{receiver}/503?key=${{env:URLKEY}}",
                "custom_payload": custom,
                "rotation": {"overlap": "1h"},
                **refused,
            },
            "good": {"type": "conversation.started", "url": f"{receiver}/200", "enabled": True},
            "r": {
                "type": "conversation.claimed",
                "url": f"{receiver}/400",
                "secret": {"env": "OPSSECRET"},
                **refused,
            },
            "f": {"type": "sync.failure", "url": f"{receiver}/500", **refused},
        },
    }
    notify = {"url": f"{receiver}/500", "secret": {"env": "NOTIFYSECRET"}}
    return json.dumps({"version": 1, "notify": notify, "bots": {"b": bot}})


@dataclass
class Echo:
    """A receiver whose answers hold all that it was sent, as it came and as formats escape it."""

    url: str
    seen: list[str] = field(default_factory=list)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The last number in the path is the status of the answer."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", "0"))).decode()
            said = "\n".join([self.path, *(f"{name}: {value}" for name, value in self.headers.items()), body])
            here.seen.append(said)
            reason = {"success": False, "reason": f"wrong: {said}"}
            sent = json.dumps(reason) if "/sync/" in self.path else "\n".join([said, json.dumps(said), quote(said)])
            data = sent.encode()
            self.send_response(int(urlsplit(self.path).path.rpartition("/")[2]))
            self.send_header("Content-Length", str(len(data)))
            for name in ("X-Secret-Key", "X-Auth", "Authorization"):
                if self.headers[name] is not None:
                    self.send_header(f"X-Echo-{name}", self.headers[name])
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_GET = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = Echo(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield here
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Session:
    """Somebody who uses everything. `said` is all that came back, by who said it."""

    folder: Path
    reconcile: Callable[..., Any]
    said: list[tuple[str, str | bytes]] = field(default_factory=list)
    url: str = ""

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> int:
        """Run a command whose output is searched; its exit code."""
        ended = self._run(*arguments, stdin=stdin, **environment)
        self.said.append((" ".join(arguments), ended.stdout + ended.stderr))
        return int(ended.returncode)

    def reveal(self, command: str, *addresses: str) -> list[str]:
        """What `secret` or `url` prints, which may show a secret."""
        shown = [self._run(command, address).stdout.strip() for address in addresses]
        assert all(shown)
        return shown

    def ask(self, method: str, path: str, **more: Any) -> httpx2.Response:
        """A request to the daemon."""
        headers = {"Authorization": f"Bearer {TOKENS['ADMINTOKEN']}"}
        with httpx2.Client(base_url=self.url, timeout=PATIENCE_S) as client:
            answer = client.request(method, path, **{"headers": headers, **more})
        self.said.append((f"{method} {path[:30]}", str(answer.headers).encode() + answer.content))
        return answer

    def found(self, canaries: list[str]) -> list[str]:
        """Every canary that was said, or that stands in a file of the program's."""
        mine = {*INPUTS, "hooks.yaml"}
        files = [file for file in self.folder.rglob("*") if file.is_file() and file.name not in mine]
        places = [*self.said, *((file.name, file.read_bytes()) for file in files)]
        assert len(files) > 1
        return [
            f"{canary} in {place}"
            for place, text in places
            for canary in canaries
            if canary.encode() in (text.encode() if isinstance(text, str) else text)
        ]

    def _run(self, *arguments: str, stdin: str = "", **environment: str) -> Any:
        told = {**ENVIRONMENT, "RECONCILER_SERVER": self.url, **environment}
        return self.reconcile(*arguments, env=told, stdin=stdin)


def apply(session: Session) -> None:
    """From files to state, with a saved plan."""
    for command in (
        ("validate",),
        ("--plan",),
        ("--plan", "--json"),
        ("--plan", "--format", "markdown"),
        ("--plan", "--out", "plan.json"),
        ("apply", "plan.json", "--yes"),
    ):
        assert session.run(*command) == 0


def call_triggers(session: Session, paths: list[str]) -> None:
    """Right, nearly right, and so broken that the server itself complains."""
    for path, status in zip(paths, (200, 200, 403), strict=True):
        assert session.ask("POST", path, content=b"a body").status_code == status
        for wrong in (path + "x", path + "/", path[:-1], path.replace("/hooks/", "/hooks//"), path.upper()):
            assert session.ask("GET", wrong).status_code == 404
    at = urlsplit(session.url)
    with socket.create_connection((at.hostname, at.port), timeout=PATIENCE_S) as connection:
        connection.sendall(f"GET {paths[0]}\x01 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        session.said.append(("a broken request line", connection.recv(65536)))


def post_events(session: Session, wait_until: Callable[..., Any]) -> list[str]:
    """Good and bad ones, until every delivery that can fail has; the ids of all deliveries."""
    assert session.ask("POST", "/api/v1/events", json=EVENTS).status_code == 202
    for body in ("{", "[]", '{"event": "x"}', json.dumps({**EVENTS[0], "id": 5})):
        assert session.ask("POST", "/api/v1/events", content=body).status_code == 422

    def exhausted() -> bool:
        items = session.ask("GET", "/api/v1/deliveries?status=exhausted").json()["items"]
        return {each["event"] for each in items} >= {"conversation.started", "conversation.claimed", "sync.failure"}

    wait_until(exhausted)
    return [each["id"] for each in session.ask("GET", "/api/v1/deliveries?limit=1000").json()["items"]]


def look_at_everything(session: Session, deliveries: list[str]) -> None:
    """Every page and every command that shows something."""
    for address in ("b/h", "b/good", "b/r", "b/f", "b/t-run"):
        assert session.ask("GET", f"/api/v1/hooks/{address}").status_code == 200
        assert session.ask("POST", f"/api/v1/hooks/{address}/test").status_code == 200
    for delivery in deliveries:
        assert session.ask("GET", f"/api/v1/deliveries/{delivery}").status_code == 200
    for path in ("healthz", "readyz", "metrics", "api/v1/status", "api/v1/hooks", "api/v1/openapi.json", "no"):
        session.ask("GET", f"/{path}")
    for form in ((), ("--json",)):
        for command in (("hooks",), ("deliveries",), ("status",), ("delivery", deliveries[-1]), ("show", "b/h")):
            assert session.run(*command, *form) == 0
        assert session.run("test", "b/h", *form) == 1
        assert session.run("test", "b/h", "--dry-run", *form) == 0


def change_things(session: Session) -> None:
    """Plans and applies over HTTP, rotations, recoveries, exports."""
    hooks = (session.folder / "hooks.yaml").read_text()
    for text, status in ((hooks, 200), (hooks.replace('"conversation.claimed"', '"nope"'), 422)):
        for kind in ("plan", "plan?format=text", "apply"):
            posted = {"files": {"hooks.yaml": text}, "base_dir": str(session.folder)}
            assert session.ask("POST", f"/api/v1/{kind}", json=posted).status_code == status
    assert session.ask("POST", "/-/reload").status_code == 200
    for command, code in (
        (("rotate", "b/h"), 0),
        (("rotate", "b/t-run"), 0),
        (("rotate", "b/r"), 64),
        (("url", "b/h"), 64),
        (("secret", "b/none"), 64),
        (("retry", "--hook", "b/h", "--since", "1h", "--yes"), 0),
        (("state", "export"), 0),
        (("state", "backup", "backup.db"), 0),
        (("--plan", "--server", session.url), 0),
        (("emit", "-"), 1),
    ):
        assert session.run(*command, stdin='{"event": "nope"}') == code, command


def make_mistakes(session: Session) -> None:
    """Wrong keys and tokens, and a secret where only a reference may stand."""
    assert session.run("secret", "b/h", RECONCILER_KEY=canary("WRONGKEY")) == 64
    assert session.run("status", RECONCILER_TOKEN=canary("WRONGTOKEN")) == 64
    wrong = {"Authorization": f"Bearer {canary('WRONGTOKEN')}"}
    assert session.ask("GET", "/api/v1/status", headers=wrong).status_code == 401
    hooks = session.folder / "hooks.yaml"
    good = hooks.read_text()
    hooks.write_text(good.replace('{"env": "OPSSECRET"}', f'"{canary("LITERAL")}"'))
    for command in (("validate",), ("validate", "--format", "sarif"), ("--plan", "--json"), ("--yes",)):
        assert session.run(*command) == 65
    assert session.ask("POST", "/-/reload").status_code == 422
    hooks.write_text(good)


def test_no_secret_is_given_away(
    tmp_path: Path,
    echo: Echo,
    start_daemon: Callable[..., Any],
    reconcile: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    """Plans, lists, exports, back-ups, logs, metrics, answers, plan files and the store's bytes hold none."""
    for name, value in INPUTS.items():
        (tmp_path / name).write_text(value)
    (tmp_path / "hooks.yaml").write_text(configuration(echo.url))
    session = Session(tmp_path, reconcile)
    apply(session)
    secrets = set(session.reveal("secret", *GENERATED))
    paths = [urlsplit(url).path for url in session.reveal("url", *GENERATED[:3])]
    assert all(path.rpartition("/")[2] in secrets for path in paths)

    daemon = start_daemon("-f", "hooks.yaml", "--log-level", "debug", env=ENVIRONMENT)
    session.url = daemon.url
    call_triggers(session, paths)
    look_at_everything(session, post_events(session, wait_until))
    change_things(session)
    secrets |= set(session.reveal("secret", *GENERATED))
    make_mistakes(session)
    daemon.stop(signal.SIGKILL)
    planted = [canary(name) for name in (*PLANTED, *TOKENS, "LITERAL", "WRONGKEY", "WRONGTOKEN")]
    canaries = [*planted, *(secret.removeprefix("whsec_") for secret in secrets), KEY]
    assert len(secrets) == len(GENERATED) + 2
    assert session.found(canaries) == []

    again = start_daemon("-f", "hooks.yaml", "--log-level", "debug", env=ENVIRONMENT)
    again.stop()
    session.said += [("log", "".join(each.raw_log)) for each in (daemon, again)]
    assert session.found(canaries) == []
    # The test could find something: all that goes over the network did.
    assert [name for name in PLANTED if not any(canary(name) in said for said in echo.seen)] == ["COMMANDKEY"]
    assert any("[secret]" in str(text) for _, text in session.said)
