"""The local receiver: what it shows, what it verifies, how it answers and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest
from standardwebhooks import Webhook

from reconciler.cli.verify import MASK, Received, mask_headers, mask_text, verify
from reconciler.clock import SystemClock
from reconciler.model.hook import SigningSecrets
from reconciler.model.signature import delivery_headers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECONCILE = str(Path(sys.executable).with_name("reconcile"))
SECRET = "whsec_" + "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY="
BODY = '{"text": "Grüße"}'.encode()


def signed(body: bytes = BODY, *, now_s: int = 1_000_000, secret: str = SECRET) -> Received:
    """A delivery as the daemon sends it."""
    headers = delivery_headers(
        event_type="conversation.started",
        delivery_id="d-1",
        body=body,
        secrets=SigningSecrets(current=secret),
        now_ms=now_s * 1000,
        timestamp_s=now_s,
    )
    return Received(method="POST", target="/x", headers=tuple(headers), body=body)


def test_good_signatures_of_both_kinds_verify() -> None:
    """The platform's own header and Standard Webhooks', under the right one of several secrets."""
    verdict = verify(signed(), ["wrong", SECRET], now_s=1_000_010)

    assert verdict is not None
    assert (verdict.legacy, verdict.standard, verdict.is_verified) == (True, True, True)


@pytest.mark.parametrize(
    ("request_", "now_s"),
    [
        (replace(signed(), body=BODY + b" "), 1_000_000),
        (signed(secret="whsec_" + "A" * 43 + "="), 1_000_000),
        (signed(), 1_000_400),
        (Received(method="POST", target="/", headers=(), body=b""), 0),
        (Received(method="POST", target="/", headers=(("X-ChatThing-Signature", "sha256="),), body=b""), 0),
    ],
    ids=["changed body", "other secret", "stale timestamp", "no signature", "empty signature"],
)
def test_anything_else_does_not_verify(request_: Received, now_s: int) -> None:
    """One bad signature spoils a good one, and none at all is no proof."""
    verdict = verify(request_, [SECRET], now_s=now_s)

    assert verdict is not None
    assert not verdict.is_verified


def test_without_a_secret_there_is_no_verdict() -> None:
    """Neither good nor bad: nobody could tell."""
    assert verify(signed(), [], now_s=0) is None


def test_credentials_are_masked_by_name_and_by_value() -> None:
    """A secret shows neither in the header that carries it nor anywhere else."""
    headers = [("x-secret-key", "k"), ("Authorization", "Bearer t"), ("X-Other", f"a {SECRET} b"), ("X-Fine", "1")]

    assert [value for _, value in mask_headers(headers, [SECRET])] == [MASK, MASK, f"a {MASK} b", "1"]
    assert mask_text("abc ab", ["ab", "abc", ""]) == f"{MASK} {MASK}"


class Listener:
    """A `reconcile listen` process."""

    def __init__(self, *arguments: str, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [RECONCILE, "listen", "--port", "0", *arguments],
            env={**os.environ, **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.ready = self.process.stdout.readline()
        self.url = json.loads(self.ready)["url"] if self.ready.startswith("{") else self.ready.split()[-1]

    def end(self, number: int | None = None) -> tuple[int, str]:
        """Send a signal (or wait for the end); exit code and what was printed after the first line."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        assert err == ""
        return self.process.returncode, out


@pytest.fixture
def listen() -> Iterator[Callable[..., Listener]]:
    """Start listeners; whatever still runs at the end is killed."""
    started: list[Listener] = []

    def start(*arguments: str, **env: str) -> Listener:
        started.append(Listener(*arguments, env=env))
        return started[-1]

    yield start
    for listener in started:
        if listener.process.poll() is None:
            listener.process.kill()
            listener.process.communicate()


def test_request_is_shown_and_verified_as_json_lines(listen: Callable[..., Listener]) -> None:
    """The first line holds the URL, each further one a request: verified, exact body, secrets masked."""
    listener = listen("--json", "--secret-env", "HOOK_SECRET", "--count", "2", HOOK_SECRET=SECRET)
    request = signed(now_s=SystemClock().wall_s())

    with httpx2.Client() as client:
        for _ in range(2):
            client.put(f"{listener.url}/in?key={SECRET}", content=BODY, headers=list(request.headers))
    code, out = listener.end()

    first, second = map(json.loads, out.splitlines())
    assert code == 0
    assert (first["method"], first["path"], first["body"]) == ("PUT", f"/in?key={MASK}", BODY.decode())
    assert first["verified"] is True
    assert first["signatures"] == {"legacy": True, "standard": True}
    assert (first["delivery_id"], first["attempt"], second["attempt"]) == ("d-1", 1, 2)
    assert SECRET not in out
    Webhook(SECRET).verify(first["body"], {name.lower(): value for name, value in first["headers"].items()})


def test_request_is_shown_as_text_without_controls(listen: Callable[..., Listener]) -> None:
    """A person reads method, path, headers, body and verdict; escape sequences in them do nothing."""
    listener = listen("--count", "1", "--secret-env", "HOOK_SECRET", HOOK_SECRET=SECRET)

    with httpx2.Client() as client:
        client.post(f"{listener.url}/x", content=b"\x1b[2Jhi\x00\n\xff", headers={"X-Secret-Key": SECRET})
    code, out = listener.end()

    assert code == 1, "a request that did not verify is a failure where somebody counts"
    assert "#1  POST /x  → 200" in out
    assert f"X-Secret-Key: {MASK}".lower() in out.lower()
    assert "| hi" in out
    assert "NOT VERIFIED" in out
    assert "\x1b" not in out
    assert SECRET not in out


def test_first_requests_fail_when_told_to(listen: Callable[..., Listener]) -> None:
    """`--fail-first 2` answers 503 twice and 200 from then on; `--status` alone answers that for good."""
    flaky, broken = listen("--fail-first", "2"), listen("--status", "418")

    with httpx2.Client() as client:
        assert [client.get(flaky.url).status_code for _ in range(4)] == [503, 503, 200, 200]
        assert [client.get(broken.url).status_code for _ in range(2)] == [418, 418]


def test_other_requests_are_answered_while_one_is_delayed(listen: Callable[..., Listener]) -> None:
    """A delay holds up its own connection only, and the end does not wait for it."""
    listener = listen("--delay", "1h", "--json")
    codes: list[str] = []

    def call() -> None:
        try:
            codes.append(str(httpx2.get(listener.url, timeout=30).status_code))
        except httpx2.TransportError as error:
            codes.append(type(error).__name__)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    assert listener.process.stdout is not None
    shown = [json.loads(listener.process.stdout.readline())["number"] for _ in callers]

    code, _ = listener.end(signal.SIGTERM)
    for caller in callers:
        caller.join()

    assert (code, sorted(shown)) == (0, [1, 2, 3])
    assert len(codes) == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_cleanly(listen: Callable[..., Listener], number: int) -> None:
    """Ctrl-C and SIGTERM are how it is meant to end: exit 0, nothing on stderr, even with an open connection."""
    listener = listen()
    address = urlsplit(listener.url)
    with socket.create_connection((address.hostname or "", address.port or 0)) as half:
        half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhal")

        assert listener.end(number) == (0, "")


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 "),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000 + b"\r\n\r\n", b"HTTP/1.1 431 "),
        (
            b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nok",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ",
        ),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", b"HTTP/1.1 200 "),
        (b"HEAD / HTTP/1.0\r\n\r\n", b"HTTP/1.1 200 "),
    ],
    ids=["garbage", "endless headers", "expect", "chunked", "old"],
)
def test_odd_requests_get_an_answer(listen: Callable[..., Listener], sent: bytes, answered: bytes) -> None:
    """Whatever a client sends, it is told something, and the receiver goes on."""
    listener = listen()
    address = urlsplit(listener.url)

    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as client:
        client.sendall(sent)
        received = b""
        while len(received) < len(answered) and (data := client.recv(4096)):
            received += data

    assert received.startswith(answered)
    assert httpx2.get(listener.url).status_code == 200


def test_taken_port_and_missing_secret_are_said(
    reconcile: Callable[..., Any], listen: Callable[..., Listener]
) -> None:
    """A port that is in use, a variable that is not set: one line each, no traceback."""
    port = urlsplit(listen().url).port

    taken = reconcile("listen", "--port", str(port))
    unset = reconcile("listen", "--secret-env", "NOT_SET_ANYWHERE")

    assert (taken.code, unset.code) == (64, 64)
    assert f"127.0.0.1:{port}" in taken.err
    assert "NOT_SET_ANYWHERE" in unset.err
