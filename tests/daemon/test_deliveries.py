"""From a posted event to a verified request at a real receiver, through the installed command."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
from typing import TYPE_CHECKING, Any

from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONVERSATION = {
    "event": "conversation.started",
    "timestamp": "2026-03-10T12:00:00.000Z",
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "botName": "My Bot",
        "channelType": "web",
        "initialMessage": "What are your opening times?",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}


def hooks_yaml(receiver_url: str, **extra: Any) -> str:
    """One bot with one enabled hook for started conversations."""
    hook = {
        "type": "conversation.started",
        "url": f"{receiver_url}/hooks/{{{{conversation.channelType}}}}",
        "enabled": True,
        "retry": {"attempts": 5, "schedule": ["50ms"]},
        **extra,
    }
    bots = {"support-bot": {"id": "def-456", "name": "My Bot", "webhooks": {"crm": hook}}}
    return json.dumps({"version": 1, "bots": bots})


def verify_chatthing_signature(raw_body: bytes, header_value: str, secret: str) -> bool:
    """The check that the product's documentation tells receivers to make."""
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), raw_body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, header_value or "")


def test_event_arrives_signed_twice_when_it_is_posted(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """A posted conversation reaches the receiver with the reference's payload and both kinds of signature."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")

    answer = daemon.post_event(CONVERSATION)

    assert answer.status_code == 202, answer.text
    assert answer.json()["events"][0]["deliveries"] == 1
    (request,) = receiver.wait_for(1)
    secret = reconcile("secret", "support-bot/crm").stdout.strip()
    assert request.method == "POST"
    assert request.path == "/hooks/web"
    assert list(request.json) == ["event", "deliveryId", "timestamp", "conversation"]
    assert request.json["deliveryId"] == request.headers["x-chatthing-delivery-id"]
    assert request.headers["x-chatthing-event"] == "conversation.started"
    assert request.headers["x-secret-key"] == secret
    assert "x-chatthing-test" not in request.headers
    assert verify_chatthing_signature(request.body, request.headers["x-chatthing-signature"], secret)
    Webhook(secret).verify(request.body, request.headers)
    assert daemon.wait_for_status(request.json["deliveryId"], "delivered")["attempts"]
    assert daemon.stop() == 0


def test_retry_keeps_the_delivery_id_when_the_receiver_answers_503(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A failed attempt is repeated with the same delivery id and the same body."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    receiver.answers = [500, 302]
    daemon = start_daemon("-f", "hooks.yaml")

    daemon.post_event(CONVERSATION)

    requests = receiver.wait_for(3)
    assert len({request.headers["x-chatthing-delivery-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    detail = daemon.wait_for_status(requests[0].json["deliveryId"], "delivered")
    assert [attempt["status"] for attempt in detail["attempts"]] == [500, 302, 200] or detail["attempts"] == 3


def test_waiting_deliveries_arrive_after_a_kill(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """What was answered 202 is delivered by the next daemon when this one is killed."""
    patient = {"attempts": 5, "schedule": ["2s"]}
    (tmp_path / "hooks.yaml").write_text(hooks_yaml("http://127.0.0.1:9", retry=patient))
    daemon = start_daemon("-f", "hooks.yaml")
    ids = {daemon.post_event(CONVERSATION).json()["events"][0]["id"] for _ in range(20)}
    assert len(ids) == 20
    daemon.stop(signal.SIGKILL)
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url, retry=patient))

    start_daemon("-f", "hooks.yaml")

    requests = receiver.wait_for(20)
    assert len({request.headers["x-chatthing-delivery-id"] for request in requests}) == 20


def test_hostile_text_arrives_exact_when_a_template_places_it(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Quotes, line breaks, emoji, braces and 100 kB of them cannot break the receiver's JSON, header or URL."""
    name = 'Bo"t\r\nX-Evil: 1 \\ {{conversation.id}} 😀 '
    message = name * 3000
    payload = {
        "enabled": True,
        "method": "PUT",
        "headers": {"X-Bot": "{{conversation.botName}}"},
        "body": '{"bot": "{{conversation.botName}}", "message": "{{ conversation.initialMessage }}"}',
    }
    url = f"{receiver.url}/in/{{{{conversation.botName}}}}?q={{{{conversation.initialMessage}}}}"
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url, url=url, custom_payload=payload))
    daemon = start_daemon("-f", "hooks.yaml")
    conversation = {**CONVERSATION["conversation"], "botName": name, "initialMessage": message}

    answer = daemon.post_event({**CONVERSATION, "conversation": conversation})

    assert answer.status_code == 202, answer.text
    (request,) = receiver.wait_for(1)
    assert request.method == "PUT"
    assert request.json == {"bot": name, "message": message}
    assert request.headers["x-bot"].startswith('Bo"t X-Evil: 1')
    assert "x-evil" not in request.headers
    assert request.path.startswith("/in/Bo%22t%0D%0AX-Evil%3A%201")
    assert len(request.path) < 10_000


def test_disabled_hook_keeps_what_waits_until_it_is_enabled_again(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Disabling parks the waiting deliveries, new events make none, enabling resumes the parked ones."""
    yaml = tmp_path / "hooks.yaml"
    yaml.write_text(hooks_yaml("http://127.0.0.1:9", retry={"attempts": 5, "schedule": ["300ms"]}))
    daemon = start_daemon("-f", "hooks.yaml")
    assert daemon.post_event(CONVERSATION).json()["events"][0]["deliveries"] == 1
    yaml.write_text(hooks_yaml(receiver.url, enabled=False))
    daemon.wait_for_log("snapshot.swapped", serial=2)
    assert daemon.post_event(CONVERSATION).json()["events"][0]["deliveries"] == 0
    assert receiver.requests == []

    yaml.write_text(hooks_yaml(receiver.url))

    assert len(receiver.wait_for(1)) == 1


def test_duplicate_event_is_delivered_once_when_it_is_posted_again(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A repeated id answers as the first time, with `duplicate`, even after a restart, and delivers nothing more."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")
    first = daemon.post_event({**CONVERSATION, "id": "evt-1"}).json()
    receiver.wait_for(1)
    daemon.stop()
    daemon = start_daemon("-f", "hooks.yaml")

    second = daemon.post_event({**CONVERSATION, "id": "evt-1"}).json()

    assert first["events"] == [{"id": "evt-1", "duplicate": False, "deliveries": 1}]
    assert second["events"] == [{"id": "evt-1", "duplicate": True, "deliveries": 1}]
    daemon.post_event({**CONVERSATION, "id": "evt-2"})
    receiver.wait_for(2)
    assert len(receiver.requests) == 2


def test_log_names_what_each_line_concerns(tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]) -> None:
    """Delivery, event and webhook on every line of a delivery's life; accepted and delivered only for debugging."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml", "--log-level", "debug")
    receiver.answers = [503]
    (event,) = daemon.post_event(CONVERSATION).json()["events"]
    delivered = daemon.wait_for_log("delivery.delivered")
    daemon.stop()
    lines = {line["event"]: line for line in map(json.loads, daemon.raw_log)}
    assert (lines["event.accepted"]["event_id"], lines["event.accepted"]["level"]) == (event["id"], "debug")
    for name, level in (("attempt.failed", "info"), ("delivery.delivered", "debug")):
        line = lines[name]
        assert (line["level"], line["hook"], line["event_id"]) == (level, "support-bot/crm", event["id"])
        assert line["delivery_id"] == delivered["delivery_id"]
        assert line["hook_id"] == delivered["hook_id"]
        assert line["duration_ms"] >= 0
    assert (lines["attempt.failed"]["attempt"], lines["delivery.delivered"]["attempt"]) == (1, 2)
    assert lines["attempt.failed"]["error"] == "http-503"
