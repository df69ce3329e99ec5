"""A receiver that fails, in a real daemon: its breaker is seen from outside, and opened by a test that succeeds."""

from __future__ import annotations

import json
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
