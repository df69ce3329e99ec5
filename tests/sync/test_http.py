"""Syncs over HTTP: what is asked, and that nothing goes around the sender."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler.errors import EgressRefused, SendFailed
from reconciler.metrics import Metrics
from reconciler.model.exchange import Reply
from reconciler.model.hook import HttpSync
from reconciler.sync.http import request_of, run_http
from reconciler.sync.result import Deferred, Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.exchange import Request

POST = HttpSync(method="POST", url="https://cms.example.com/sync", headers=(("Authorization", "Bearer t"),))


class Scripted:
    """Answers or raises."""

    def __init__(self, outcome: Reply | Exception) -> None:
        self._outcome = outcome

    async def send(self, request: Request) -> Reply:
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def test_a_request_carries_the_triggers_body(source: Callable[..., Any], claim: Callable[..., Any]) -> None:
    """With a fitting type, the context, the configured headers and the sync's own time-out."""
    request = request_of(POST, source(POST, timeout_ms=900_000), claim(b'{"page": 1}'))
    headers = dict(request.headers)
    assert (request.method, request.url, request.timeout_ms) == ("POST", POST.url, 900_000)
    assert request.body == b'{"page": 1}'
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer t"
    assert (headers["X-Reconciler-Bot"], headers["X-Reconciler-Data-Source"]) == ("support", "docs")
    assert headers["X-Reconciler-Sync-Id"] == claim().sync_id
    assert dict(request_of(POST, source(POST), claim(b"\xff")).headers)["Content-Type"] == "application/octet-stream"
    assert "Content-Type" not in dict(request_of(POST, source(POST), claim()).headers)


def test_configured_headers_win_and_a_get_has_no_body(source: Callable[..., Any], claim: Callable[..., Any]) -> None:
    """In any case of letters."""
    sync = HttpSync(method="GET", url="https://a.example", headers=(("user-agent", "me"), ("CONTENT-TYPE", "x/y")))
    request = request_of(sync, source(sync), claim(b"{}"))
    names = [name.lower() for name, _ in request.headers]
    assert request.body == b""
    assert names.count("user-agent") == 1
    assert dict(request.headers)["user-agent"] == "me"


def test_failures_to_send_are_failures_of_the_sync(source: Callable[..., Any], claim: Callable[..., Any]) -> None:
    """A refusal of the guard and a time-out say so; the refusal is counted."""
    metrics = Metrics()

    def run(outcome: Reply | Exception) -> Any:
        return asyncio.run(run_http(POST, source(POST), claim(), sender=Scripted(outcome), metrics=metrics))

    refused = run(EgressRefused("127.0.0.1 is loopback"))
    assert isinstance(refused, Failed)
    assert "loopback" in refused.reason
    assert 'reconciler_egress_refusals_total{purpose="sync"} 1.0' in metrics.exposition().decode()
    timed_out = run(SendFailed("timeout", "no answer within 900 s"))
    assert isinstance(timed_out, Failed)
    assert "900 s" in timed_out.reason
    assert isinstance(run(Reply(status=202, headers=(), body=b"")), Deferred)
