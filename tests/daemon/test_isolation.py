"""A receiver that fails or asks for a pause, in a real daemon: that is seen from outside; a good test ends it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENT = {
    "event": "conversation.started",
    "timestamp": "2026-03-10T12:00:00.000Z",
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "channelType": "web",
        "initialMessage": "Hello",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}


def configuration(receiver_url: str) -> str:
    """One hook, which does not retry within a test."""
    hook = {
        "type": "conversation.started",
        "enabled": True,
        "concurrency": 1,
        "retry": {"attempts": 5, "schedule": ["10m"]},
    }
    hooks = {"crm": hook | {"url": f"{receiver_url}/crm"}}
    return json.dumps({"version": 1, "bots": {"support": {"id": "def-456", "webhooks": hooks}}})


def test_an_open_breaker_is_seen_and_a_good_test_closes_it(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Ten failures and no eleventh request; health, plan, status and metrics say so; after a test it goes on."""
    (tmp_path / "hooks.yaml").write_text(configuration(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.answers[:] = [500] * 10
    answer = daemon.post_event([EVENT | {"id": f"event-{number}"} for number in range(15)])
    assert answer.status_code == 202, answer.text
    opened = daemon.wait_for_log("breaker.opened")
    assert (opened["hook"], opened["failures"]) == ("support/crm", 10)
    with daemon.client as client:
        hook = client.get("/api/v1/hooks/support/crm").json()
        assert hook["health"] == "breaker-open"
        assert (hook["breaker"]["state"], hook["breaker"]["failures"]) == ("open", 10)
        files = {"files": {"hooks.yaml": (tmp_path / "hooks.yaml").read_text()}}
        plan = client.post("/api/v1/plan", json=files).json()
        assert [(drift["address"], drift["code"]) for drift in plan["drift"]] == [("support/crm", "breaker-open")]
        assert client.get("/api/v1/status").json()["workers"]["open_breakers"] == 1
        assert 'reconciler_breakers{state="open"} 1.0' in client.get("/metrics").text
        assert len(receiver.requests) == 10
        assert client.post("/api/v1/hooks/support/crm/test", json={}).json()["status"] == 200
        receiver.wait_for(16)  # the test, and the five that had not been tried
        hook = client.get("/api/v1/hooks/support/crm").json()
        assert hook["breaker"] is None


def test_a_pause_that_was_asked_for_is_seen_and_a_good_test_ends_it(
    tmp_path: Path,
    receiver: Any,
    start_daemon: Callable[..., Any],
    reconcile: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> None:
    """429 with Retry-After holds the rest back; API, status and retry say until when; after a test it goes on."""
    (tmp_path / "hooks.yaml").write_text(configuration(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.answers[:], receiver.retry_after_s = [200, 429], 600
    daemon.post_event(EVENT | {"id": "first"})
    receiver.wait_for(1)
    daemon.post_event([EVENT | {"id": f"event-{number}"} for number in range(4)])
    with daemon.client as client:

        def told() -> Any:
            hook = client.get("/api/v1/hooks/support/crm").json()
            return hook if hook["paused_until"] and hook["health"] == "failing" else None

        hook = wait_until(told)
        until, asked = datetime.fromisoformat(hook["paused_until"]), datetime.fromisoformat(hook["last_attempt_at"])
        assert timedelta(seconds=600) <= until - asked < timedelta(seconds=630)
        assert hook["breaker"] is None
        hooks = client.get("/api/v1/status").json()["hooks"]
        (one,) = hooks["attention"]
        assert (one["address"], one["health"], one["waiting"]) == ("support/crm", "failing", 4)
        assert (one["paused_until"], hooks["attention_count"]) == (hook["paused_until"], 1)
        text = reconcile("status", "--server", daemon.url).stdout
        assert f"4 waiting; asked to be left alone until {hook['paused_until']}; clears by itself" in text
        (delivered,) = client.get("/api/v1/deliveries?status=delivered").json()["items"]
        retried = reconcile("retry", delivered["id"], "--server", daemon.url)
        assert f"support/crm: its receiver asked to be left alone, nothing is sent before {hook['paused_until']}" in (
            retried.stderr
        )
        assert len(receiver.requests) == 2
        assert client.post("/api/v1/hooks/support/crm/test", json={}).json()["status"] == 200
        receiver.wait_for(7)  # the test, the three that had not been tried, and the one that is delivered again
        assert client.get("/api/v1/hooks/support/crm").json()["paused_until"] is None
        wait_until(lambda: not client.get("/api/v1/status").json()["hooks"]["attention"])
