"""CloudEvents through a real daemon to a real receiver."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONVERSATION = {
    "id": "abc-123",
    "botId": "def-456",
    "botName": "My Bot",
    "channelType": "web",
    "initialMessage": "What are your opening times?",
    "createdAt": "2026-03-10T12:00:00.000Z",
}
ENVELOPE = {
    "specversion": "1.0",
    "type": "com.example.conversation.started",
    "source": "/chat",
    "time": "2026-03-10T12:00:00.000Z",
    "data": {"conversation": CONVERSATION},
}


def test_events_of_every_mode_arrive(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """Structured, batched and binary: each is delivered once with the documented payload, repeated or not."""
    hook = {"type": "conversation.started", "url": receiver.url, "enabled": True}
    bots = {"support-bot": {"id": "def-456", "webhooks": {"crm": hook}}}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": bots}))
    daemon = start_daemon("-f", "hooks.yaml")
    binary = {f"ce-{name}": value for name, value in ENVELOPE.items() if name != "data"} | {"ce-id": "binary"}

    def post(content: Any, **headers: str) -> Any:
        with daemon.client as client:
            return client.post("/api/v1/events", content=json.dumps(content), headers=headers)

    def post_all() -> list[Any]:
        return [
            post({**ENVELOPE, "id": "structured"}, **{"Content-Type": "application/cloudevents+json"}),
            post(
                [{**ENVELOPE, "id": "batched-1"}, {**ENVELOPE, "id": "batched-2"}],
                **{"Content-Type": "application/cloudevents-batch+json"},
            ),
            post(ENVELOPE["data"], **{"Content-Type": "application/json"}, **binary),
        ]

    first, second = post_all(), post_all()
    empty = post([], **{"Content-Type": "application/cloudevents-batch+json"})
    wrong = post({**ENVELOPE, "specversion": "0.3"}, **{"Content-Type": "application/cloudevents+json"})

    assert [answer.status_code for answer in (*first, *second, empty)] == [202] * 7
    assert [answer.json()["accepted"] for answer in (*first, *second, empty)] == [1, 2, 1, 0, 0, 0, 0]
    assert wrong.status_code == 422
    assert {problem["pointer"] for problem in wrong.json()["problems"]} == {"/specversion", "/id"}
    received = receiver.wait_for(4)
    for request in received:
        payload = request.json
        assert list(payload) == ["event", "deliveryId", "timestamp", "conversation"]
        assert (payload["timestamp"], payload["conversation"]) == (ENVELOPE["time"], CONVERSATION)
    listed = json.loads(reconcile("deliveries", "--json").stdout)["items"]
    assert {each["event_id"] for each in listed} == {"structured", "batched-1", "batched-2", "binary"}
    assert len(receiver.requests) == 4
