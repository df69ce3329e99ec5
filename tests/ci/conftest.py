"""A git repository with a pull request in it, what a runner gives a step, and a service that keeps comments."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CI = ROOT / "ci"
RECONCILE = str(Path(sys.executable).with_name("reconcile"))
TOKEN = "canary-token"
BOT = {"login": "github-actions[bot]", "type": "Bot"}
HOOKS = """\
version: 1
bots:
  support-bot:
    webhooks:
      chats: {type: conversation.started, url: https://crm.example.com/chats}
"""


class Service:
    """GitHub's comments or GitLab's notes, as far as the scripts use them; `refusals` are answered first."""

    def __init__(self) -> None:
        self.comments: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.tokens: set[str | None] = set()
        self.refusals: list[tuple[str, int]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", "0")))
                parts = urlsplit(self.path)
                service.requests.append(f"{self.command} {self.path}")
                service.tokens.add(self.headers.get("authorization") or self.headers.get("private-token"))
                status, value = service.answer(self.command, parts.path, parse_qs(parts.query), body)
                content = json.dumps(value).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_PUT = answer  # noqa: N815 - http.server's names

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

    def add(self, body: str, user: dict[str, Any] = BOT) -> dict[str, Any]:
        """A comment that somebody has written."""
        number = 1000 + len(self.comments)
        comment = {"id": number, "body": body, "user": user, "author": user, "html_url": f"https://forge/c/{number}"}
        self.comments.append(comment)
        return comment

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        for refusal in self.refusals:
            if refusal[0] == method:
                self.refusals.remove(refusal)
                return refusal[1], {"message": "no"}
        if path == "/user":
            return 200, {"id": 7}
        if re.fullmatch(r"/repos/acme/hooks/issues/5/comments|/projects/acme%2Fhooks/merge_requests/5/notes", path):
            if method == "POST":
                return 201, self.add(json.loads(body)["body"], BOT | {"id": 7})
            page, size = int(query["page"][0]), int(query["per_page"][0])
            return 200, self.comments[(page - 1) * size : page * size]
        found = re.fullmatch(
            r"(?:/repos/acme/hooks/issues/comments|/projects/acme%2Fhooks/merge_requests/5/notes)/(\d+)", path
        )
        if found and method in ("PATCH", "PUT"):
            comment = next(each for each in self.comments if each["id"] == int(found[1]))
            comment["body"] = json.loads(body)["body"]
            return 200, comment
        return 404, {"message": "Not Found"}


@pytest.fixture
def service() -> Iterator[Service]:
    """A service on loopback."""
    started = Service()
    yield started
    started.close()


@dataclass(slots=True)
class Runner:
    """A step of a job: what it is given, and what it leaves behind."""

    folder: Path
    environment: dict[str, str]
    out: Path
    log: str = ""
    code: int = 0
    files: dict[str, Path] = field(default_factory=dict)

    def run(self, script: str, *arguments: str, **environment: str) -> Runner:
        """Run one of the scripts to its end."""
        for path in self.files.values():
            path.write_text("")
        command = [sys.executable] if script.endswith(".py") else ["bash"]
        done = subprocess.run(
            [*command, str(CI / script), *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.code, self.log = done.returncode, done.stdout + done.stderr
        assert TOKEN not in self.log
        return self

    @property
    def outputs(self) -> dict[str, str]:
        """What it has set with GITHUB_OUTPUT."""
        lines = self.files["GITHUB_OUTPUT"].read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    @property
    def summary(self) -> str:
        """What it has written into the run's summary."""
        return self.files["GITHUB_STEP_SUMMARY"].read_text()

    @property
    def plan(self) -> str:
        """What a reviewer reads."""
        return (self.out / "plan.md").read_text()


def clean_environment(folder: Path) -> dict[str, str]:
    """This one without what would reach into the test, and with what git wants to know."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "GITHUB_", "CI_"))
    }
    return kept | {
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "RECONCILE": RECONCILE,
        "PYTHON": sys.executable,
        **{f"GIT_{who}_{what}": "t@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """Run git in the repository."""
    repository = tmp_path / "repository"
    repository.mkdir()

    def run(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            env=clean_environment(tmp_path),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        return done.stdout.strip()

    run("init", "--quiet", "--initial-branch=main")
    return run


@pytest.fixture
def runner(tmp_path: Path, git: Callable[..., str], service: Service) -> Runner:
    """A step of a pull request's run; the repository has hooks.yaml on main, and nothing is applied."""
    repository = tmp_path / "repository"
    (repository / "hooks.yaml").write_text(HOOKS)
    git("add", ".")
    git("commit", "--quiet", "--message=hooks")
    event = {"pull_request": {"number": 5, "base": {"sha": git("rev-parse", "HEAD")}}}
    (tmp_path / "event.json").write_text(json.dumps(event))
    files = {name: tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    environment = {
        **clean_environment(tmp_path),
        **{name: str(path) for name, path in files.items()},
        "OUT": str(tmp_path / "out"),
        "GITHUB_API_URL": service.url,
        "GITHUB_REPOSITORY": "acme/hooks",
        "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        "GITHUB_TOKEN": TOKEN,
        "CI_API_V4_URL": service.url,
        "CI_PROJECT_ID": "acme/hooks",
        "CI_MERGE_REQUEST_IID": "5",
        "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.example.com/acme/hooks",
        "GITLAB_TOKEN": TOKEN,
    }
    return Runner(folder=repository, environment=environment, out=tmp_path / "out", files=files)
