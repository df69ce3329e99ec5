"""What `/metrics` says of a running daemon is what has happened to it."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

CONVERSATION = {
    "id": "c1",
    "event": "conversation.started",
    "conversation": {"id": "abc", "botId": "b", "channelType": "web", "createdAt": "2026-03-10T12:00:00.000Z"},
}


def hooks(url: str, **more: Any) -> str:
    """A hook that is delivered to, one that may not be, one that is parked, and a trigger whose syncs fail."""
    outgoing = {"type": "conversation.started", "enabled": True, "retry": {"attempts": 2, "schedule": ["50ms"]}}
    bot = {
        "data_sources": {"docs": {"sync": {"command": ["false"]}}},
        "webhooks": {
            "good": {**outgoing, "url": f"{url}/good", "protected": True},
            "forbidden": {**outgoing, "url": "http://10.1.2.3/"},
            "published": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
            "asleep": {**outgoing, "url": f"{url}/asleep", "enabled": False},
            **more,
        },
    }
    return json.dumps({"version": 1, "bots": {"b": bot}})


def scrape(daemon: Any) -> tuple[str, Mapping[str, float]]:
    """The exposition, and every sample by its name with its labels in order."""
    text = httpx2.get(f"{daemon.url}/metrics", timeout=30).text
    return text, {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.fixture
def observed(
    tmp_path: Path,
    receiver: Any,
    start_daemon: Callable[..., Any],
    reconcile: Callable[..., Any],
    wait_until: Callable[..., Any],
) -> tuple[str, Mapping[str, float]]:
    """What is shown after a little of everything."""
    (tmp_path / "hooks.yaml").write_text(hooks(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")
    receiver.answers += [500]
    assert daemon.post_event(CONVERSATION).status_code == 202
    receiver.wait_for(2)
    assert daemon.post_event(CONVERSATION).json()["duplicates"] == 1
    assert daemon.post_event({"event": "nonsense"}).status_code == 422
    assert httpx2.post(f"{daemon.url}/api/v1/events", json=CONVERSATION, timeout=30).status_code == 401
    trigger = reconcile("url", "b/published").stdout.strip().partition("/api/")[2]
    assert httpx2.get(f"{daemon.url}/api/{trigger}", timeout=30).status_code == 200
    assert httpx2.get(f"{daemon.url}/api/{trigger}x", timeout=30).status_code == 404
    daemon.wait_for_log("sync.ended")
    with daemon.client as client:
        for text in ("{", json.dumps({"version": 1})):
            (tmp_path / "hooks.yaml").write_text(text)
            client.post("/-/reload")
        ended = client.get("/api/v1/deliveries").json()["items"]
    assert {(one["hook"], one["status"]) for one in ended} == {("b/good", "delivered"), ("b/forbidden", "refused")}

    def shown() -> tuple[str, Mapping[str, float]] | None:
        text, found = scrape(daemon)
        return (text, found) if found["reconciler_event_loop_lag_seconds_count"] else None

    scraped: tuple[str, Mapping[str, float]] = wait_until(shown)
    return scraped


def test_every_figure_is_that_of_what_has_happened(observed: tuple[str, Mapping[str, float]]) -> None:
    """Events, attempts, deliveries, triggers, syncs, the queue, the store, reloads, guards and secrets."""
    _, found = observed
    exactly = {
        "reconciler_events_accepted_total event=conversation.started": 1,
        "reconciler_events_duplicate_total": 1,
        "reconciler_events_rejected_total reason=invalid": 1,
        "reconciler_events_rejected_total reason=unauthorized": 1,
        "reconciler_ingest_duration_seconds_count": 2,
        "reconciler_attempts_total outcome=2xx": 1,
        "reconciler_attempts_total outcome=5xx": 1,
        "reconciler_attempts_total outcome=egress": 1,
        "reconciler_attempt_duration_seconds_count outcome=2xx": 1,
        "reconciler_first_attempt_delay_seconds_count": 2,
        "reconciler_deliveries_total status=delivered": 1,
        "reconciler_deliveries_total status=refused": 1,
        "reconciler_egress_refusals_total purpose=delivery": 1,
        "reconciler_deliveries_in_flight": 0,
        "reconciler_leases_lost_total": 0,
        "reconciler_breakers state=closed": 3,
        "reconciler_breakers state=open": 0,
        "reconciler_queue_depth status=pending": 0,
        "reconciler_queue_depth status=delivered": 1,
        "reconciler_oldest_waiting_seconds": 0,
        "reconciler_triggers_total outcome=queued": 1,
        "reconciler_triggers_total outcome=not_found": 1,
        "reconciler_syncs_total outcome=failure": 1,
        "reconciler_syncs_running": 0,
        "reconciler_generation": 2,
        "reconciler_serial": 1,
        "reconciler_store_up": 1,
        "reconciler_state_current": 1,
        "reconciler_reloads_total outcome=applied": 1,
        "reconciler_reloads_total outcome=invalid": 1,
        "reconciler_reloads_total outcome=waiting": 1,
        "reconciler_files_good": 1,
        "reconciler_guard_refusals_total guard=protected": 1,
        "reconciler_guard_refusals_total guard=empty-configuration": 1,
        "reconciler_hooks enabled=true type=sync.trigger": 1,
        "reconciler_hooks enabled=false type=conversation.started": 1,
    }
    assert {name: found.get(name) for name in exactly} == exactly
    assert found["reconciler_changes_waiting"] >= 5
    assert 0 < found["reconciler_secret_age_seconds type=conversation.started"] < 600
    assert found["reconciler_store_commit_duration_seconds_count"] >= 5
    assert found["reconciler_store_commit_operations_sum"] >= found["reconciler_store_commit_operations_count"]
    assert found["reconciler_store_statements_total"] > found["reconciler_store_commit_duration_seconds_count"]
    assert found["reconciler_event_loop_lag_seconds_count"] >= 1


def test_no_label_names_what_there_may_be_many_of(observed: tuple[str, Mapping[str, float]]) -> None:
    """No address, id or URL is a label's value, and no label is unknown."""
    text, _ = observed
    labels: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith("reconciler_"):
            for sample in family.samples:
                for key, value in sample.labels.items():
                    labels.setdefault(key, set()).add(value)
    known = {"event", "reason", "outcome", "status", "state", "purpose", "type", "enabled", "guard", "version", "le"}
    assert set(labels) <= known | {"notice"}
    values = set().union(*(labels[key] for key in labels if key not in ("version", "le")))
    assert not [value for value in values if "/" in value or any(character.isdigit() for character in value[1:])]


def test_promtool_finds_nothing_to_complain_of(observed: tuple[str, Mapping[str, float]], promtool: str) -> None:
    """Names, units, types and help texts follow Prometheus' practice."""
    done = subprocess.run(
        [promtool, "check", "metrics"], input=observed[0], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
