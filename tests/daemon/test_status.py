"""What a running daemon says of itself to a person and to a script."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONVERSATION: dict[str, Any] = {
    "event": "conversation.started",
    "conversation": {"id": "abc", "botId": "b", "channelType": "web", "createdAt": "2026-03-10T12:00:00.000Z"},
}


def test_status_names_the_webhooks_that_are_not_well(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any], wait_until: Any
) -> None:
    """One receiver wants nothing any more, one fails; both are listed with what helps, the worse one first."""
    hook = {"type": "conversation.started", "enabled": True, "retry": {"attempts": 2, "schedule": ["1h"]}}
    hooks = {name: {**hook, "url": f"{receiver.url}/{name}"} for name in ("one", "other")}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": {"b": {"webhooks": hooks}}}))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.answers = [410, 500]
    assert daemon.post_event(CONVERSATION).status_code == 202

    def told() -> Any:
        document = json.loads(reconcile("status", "--server", daemon.url, "--json").stdout)
        return document if len(document["hooks"]["attention"]) == 2 else None

    document = wait_until(told)
    gone, failing = document["hooks"]["attention"]
    assert (gone["health"], failing["health"]) == ("gone", "failing")
    assert {gone["address"], failing["address"]} == {"b/one", "b/other"}
    assert document["hooks"]["health"] == {"failing": 1, "gone": 1}
    assert all(one["since"] and one["waiting"] == 1 for one in document["hooks"]["attention"])
    assert document["queue"]["oldest_waiting_ms"] == 0
    text = reconcile("status", "--server", daemon.url).stdout
    assert "webhooks  2 outgoing, 0 triggers, 1 failing, 1 gone\n" in text
    assert f"reconcile test {gone['address']}" in text


def test_status_names_a_webhook_that_does_well_but_is_paused(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any], wait_until: Any
) -> None:
    """A success that comes after the 429 makes it healthy, yet nothing goes out: that is listed as well."""
    url = f"{receiver.url}/{{{{conversation.id}}}}"
    hook = {"type": "conversation.started", "enabled": True, "url": url, "concurrency": 2}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": {"b": {"webhooks": {"one": hook}}}}))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.retry_after_s = 600
    receiver.held.add("/slow")
    receiver.refuse("/busy", 429)
    conversation = CONVERSATION["conversation"]
    events = [{**CONVERSATION, "conversation": {**conversation, "id": name}} for name in ("slow", "busy")]
    assert daemon.post_event(events).status_code == 202

    def told(health: str) -> Any:
        hooks = json.loads(reconcile("status", "--server", daemon.url, "--json").stdout)["hooks"]
        return hooks if [one["health"] for one in hooks["attention"]] == [health] else None

    wait_until(lambda: told("failing"))
    receiver.release.set()
    hooks = wait_until(lambda: told("healthy"))
    (one,) = hooks["attention"]
    assert (one["address"], one["since"], hooks["attention_count"]) == ("b/one", None, 1)
    text = reconcile("status", "--server", daemon.url).stdout
    assert f"b/one  healthy, 1 waiting; asked to be left alone until {one['paused_until']}; clears by itself" in text
