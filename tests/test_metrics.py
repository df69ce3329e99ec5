"""What is counted, and that labels stay few."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.daemon.live import Outcome
from reconciler.metrics import Metrics, outcome_class
from reconciler.model.delivery import AttemptError, DeliveryStatus
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable


def samples(metrics: Metrics) -> dict[str, float]:
    """Every sample, by its name with its labels in order."""
    text = metrics.exposition().decode()
    return {
        sample.name + "".join(f" {key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (200, None, "2xx"),
        (404, None, "4xx"),
        (599, None, "5xx"),
        (None, "timeout", "timeout"),
        (None, None, "internal"),
    ],
)
def test_an_attempt_is_classed_by_its_answer_or_its_error(
    status: int | None, error: str | None, expected: str
) -> None:
    """So that the label has a dozen values and not hundreds."""
    assert outcome_class(status, error) == expected


def test_every_verb_moves_its_figure() -> None:
    """Each counts what its name says, under the name that alert rules use."""
    metrics = Metrics()
    metrics.accepted("sync.success", 3)
    metrics.duplicate()
    metrics.rejected("invalid")
    metrics.triggered("queued")
    metrics.attempted("2xx", 0.2)
    metrics.ended("delivered", 2)
    metrics.egress_refused("delivery")
    metrics.synced("failure", 2.0)
    metrics.committed(7, 0.001)
    metrics.reloaded("applied")
    metrics.guards_refused(["protected", "traffic", "protected"])
    metrics.executed(12)
    metrics.executed(15)
    metrics.in_flight.inc()
    metrics.leases_lost.inc(4)
    found = samples(metrics)
    assert (
        found.items()
        >= {
            "reconciler_events_accepted_total event=sync.success": 3,
            "reconciler_events_duplicate_total": 1,
            "reconciler_events_rejected_total reason=invalid": 1,
            "reconciler_triggers_total outcome=queued": 1,
            "reconciler_attempts_total outcome=2xx": 1,
            "reconciler_attempt_duration_seconds_count outcome=2xx": 1,
            "reconciler_deliveries_total status=delivered": 2,
            "reconciler_egress_refusals_total purpose=delivery": 1,
            "reconciler_syncs_total outcome=failure": 1,
            "reconciler_sync_duration_seconds_sum": 2,
            "reconciler_store_commit_operations_sum": 7,
            "reconciler_store_commit_duration_seconds_count": 1,
            "reconciler_reloads_total outcome=applied": 1,
            "reconciler_guard_refusals_total guard=protected": 1,
            "reconciler_guard_refusals_total guard=traffic": 1,
            "reconciler_store_statements_total": 15,
            "reconciler_deliveries_in_flight": 1,
            "reconciler_leases_lost_total": 4,
        }.items()
    )


def test_every_known_label_is_there_from_the_start() -> None:
    """An alert sees a first failure only where there was a 0 before it; the sets are those of the program."""
    found = samples(Metrics())
    expected: dict[str, Iterable[str]] = {
        "events_accepted_total event": set(EventType) - {EventType.SYNC_TRIGGER},
        "deliveries_total status": set(DeliveryStatus) - {DeliveryStatus.PENDING, DeliveryStatus.SENDING},
        "attempts_total outcome": {"2xx", "3xx", "4xx", "5xx", *AttemptError},
        "reloads_total outcome": set(Outcome) - {Outcome.NOT_FOLLOWING},
        "guard_refusals_total guard": {"protected", "traffic", "mass-delete", "empty-configuration"},
        "events_rejected_total reason": {"store-unavailable", "unauthorized", "forbidden", "invalid"},
        "triggers_total outcome": {"queued", "joined", "not_found", "unavailable"},
        "syncs_total outcome": {"success", "failure", "deferred", "lost"},
        "egress_refusals_total purpose": {"delivery", "test", "sync"},
    }
    missing = [
        f"{name}={value}"
        for name, values in expected.items()
        for value in map(str, values)
        if found.get(f"reconciler_{name}={value}") != 0
    ]
    assert missing == []
    assert not [name for name in found if "_created" in name]


def test_what_is_set_is_shown_and_what_is_gone_is_not() -> None:
    """Gauges over sets forget the members that are no longer there."""
    metrics = Metrics()
    metrics.set_hooks({("sync.trigger", True): 2, ("sync.failure", False): 1})
    metrics.set_hooks({("sync.trigger", True): 3})
    metrics.set_secret_ages({"sync.failure": 60.0})
    metrics.set_breakers({"open": 2})
    metrics.set_queue({"pending": 5}, oldest_waiting_s=-3.0)
    found = samples(metrics)
    assert found["reconciler_hooks enabled=true type=sync.trigger"] == 3
    assert "reconciler_hooks enabled=false type=sync.failure" not in found
    assert found["reconciler_secret_age_seconds type=sync.failure"] == 60
    assert [found[f"reconciler_breakers state={state}"] for state in ("closed", "open", "half_open")] == [0, 2, 0]
    assert found["reconciler_queue_depth status=pending"] == 5
    assert found["reconciler_oldest_waiting_seconds"] == 0


def test_two_instances_share_nothing() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.duplicate()
    assert samples(second)["reconciler_events_duplicate_total"] == 0


def test_every_family_says_what_it_is() -> None:
    """Own names have the prefix and a help text that ends in a full stop."""
    text = Metrics().exposition().decode()
    families = list(text_string_to_metric_families(text))
    own = [family for family in families if family.name.startswith("reconciler_")]
    assert len(own) > 25
    assert all(family.documentation.endswith(".") for family in own)
    assert {family.name.split("_")[0] for family in families} <= {"reconciler", "process", "python"}
