"""What the daemon counts, for Prometheus: bounded labels, one registry a process, cheap on the hot path.

Every label's values come from a closed set (event types, statuses, outcome classes); no address, id or URL is ever
one. Children are looked up once and kept, so counting costs an increment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

import reconciler
from reconciler import counting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CONTENT_TYPE", "Metrics", "outcome_class"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Buckets for what should take milliseconds: ingest, commits, the way from 202 to the first attempt."""
_ATTEMPT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Buckets for one exchange with a receiver; none takes longer than the longest time-out, 30 s."""
_SYNC_S = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_BATCH = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

EVENTS = (
    "sync.success",
    "sync.failure",
    "conversation.started",
    "conversation.escalated",
    "conversation.claimed",
    "conversation.released",
)
REJECTIONS = (
    "unauthorized",
    "forbidden",
    "method-not-allowed",
    "unsupported-media-type",
    "too-large",
    "invalid",
    "disconnected",
    "store-unavailable",
    "internal",
)
TRIGGERS = ("queued", "joined", "disabled", "not_found", "too_large", "disconnected", "unavailable")
ENDS = ("delivered", "exhausted", "refused", "cancelled", "expired")
OUTCOMES = (
    *("2xx", "3xx", "4xx", "5xx"),
    *("timeout", "dns", "connect", "tls", "disconnected", "protocol", "egress", "unrenderable", "internal"),
)
PURPOSES = ("delivery", "test", "sync")
SYNCS = ("success", "failure", "deferred", "lost")
RELOADS = ("current", "applied", "waiting", "invalid", "failed")
GUARDS = ("protected", "traffic", "mass-delete", "empty-configuration")
"""What a label may be. Each is there from the start with a count of 0: `increase` cannot see how a series begins."""

_BREAKER_STATES = ("closed", "open", "half_open")
_CLASS_DIVISOR = 100


def outcome_class(status: int | None, error: str | None) -> str:
    """The label of an attempt: `2xx` … `5xx` when it was answered, else the class of its error."""
    if status is None:
        return error or "internal"
    return f"{status // _CLASS_DIVISOR}xx"


_Family = TypeVar("_Family", bound=MetricWrapperBase)


class _ByLabel(dict[str, _Family]):
    """The children of a family with one label, each looked up once; `known` are there from the start."""

    def __init__(self, family: _Family, known: Iterable[str] = ()) -> None:
        super().__init__()
        self._family = family
        self.update((label, family.labels(label)) for label in known)

    def __missing__(self, label: str) -> _Family:
        child = self._family.labels(label)
        self[label] = child
        return child


class Metrics:
    """Everything that is counted. One instance a process, passed in where it is needed."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each that nobody asks for
        self.registry = registry or CollectorRegistry(auto_describe=True)
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        build = Gauge("reconciler_build_info", "The running version.", ["version"], registry=self.registry)
        build.labels(reconciler.__version__).set(1)
        self._make_ingest()
        self._make_deliveries()
        self._make_syncs()
        self._make_store()
        self._make_configuration()
        self.loop_lag_seconds = Histogram(
            "reconciler_event_loop_lag_seconds",
            "How much later than asked for the event loop wakes a timer.",
            buckets=_FAST_S,
            registry=self.registry,
        )

    # -- what there is ---------------------------------------------------------------------------------------

    def _make_ingest(self) -> None:
        registry = self.registry
        self._accepted = counting.Counts(
            "reconciler_events_accepted", "Events stored for the first time.", "event", EVENTS, registry=registry
        )
        self._duplicates = Counter(
            "reconciler_events_duplicate", "Events whose id was known already.", registry=registry
        )
        self._rejected = _ByLabel(
            Counter(
                "reconciler_events_rejected", "Posts of events that were not accepted.", ["reason"], registry=registry
            ),
            REJECTIONS,
        )
        self.ingest_seconds = counting.Histogram(
            "reconciler_ingest_duration_seconds",
            "From the end of the request's head to the answer, accepted posts only.",
            bounds=_FAST_S,
            registry=registry,
        )
        self._triggers = counting.Counts(
            "reconciler_triggers",
            "Calls of trigger URLs by what came of them.",
            "outcome",
            TRIGGERS,
            registry=registry,
        )

    def _make_deliveries(self) -> None:
        registry = self.registry
        self._ended = _ByLabel(
            Counter("reconciler_deliveries", "Deliveries that came to an end.", ["status"], registry=registry),
            ENDS,
        )
        self._attempts = counting.Counts(
            "reconciler_attempts",
            "Requests made, by class of answer or error.",
            "outcome",
            OUTCOMES,
            registry=registry,
        )
        self._attempt_seconds = counting.Histogram(
            "reconciler_attempt_duration_seconds",
            "One exchange with a receiver, from dialling to the end of its answer.",
            label="outcome",
            bounds=_ATTEMPT_S,
            registry=registry,
        )
        self.first_attempt_seconds = counting.Histogram(
            "reconciler_first_attempt_delay_seconds",
            "From accepting an event to the start of a delivery's first attempt.",
            bounds=_FAST_S,
            registry=registry,
        )
        self.in_flight = Gauge("reconciler_deliveries_in_flight", "Attempts being made right now.", registry=registry)
        self._depth = Gauge("reconciler_queue_depth", "Deliveries kept, by status.", ["status"], registry=registry)
        self.oldest_waiting_seconds = Gauge(
            "reconciler_oldest_waiting_seconds",
            "How long the delivery that is most overdue has been due; 0 when none is.",
            registry=registry,
        )
        self._breakers = Gauge("reconciler_breakers", "Breakers of hooks by state.", ["state"], registry=registry)
        self.leases_lost = Counter(
            "reconciler_leases_lost", "Outcomes that came too late to be recorded.", registry=registry
        )
        self._notices = Counter(
            "reconciler_notices",
            "Notices about webhooks, by kind and by whether they were sent, logged only, or too many.",
            ["notice", "outcome"],
            registry=registry,
        )
        self._egress_refusals = _ByLabel(
            Counter(
                "reconciler_egress_refusals",
                "Requests that the egress guard did not let out.",
                ["purpose"],
                registry=registry,
            ),
            PURPOSES,
        )

    def _make_syncs(self) -> None:
        registry = self.registry
        self._syncs = _ByLabel(
            Counter("reconciler_syncs", "Syncs that ended.", ["outcome"], registry=registry), SYNCS
        )
        self.sync_seconds = Histogram(
            "reconciler_sync_duration_seconds",
            "From the start of a sync to its end.",
            buckets=_SYNC_S,
            registry=registry,
        )
        self.syncs_running = Gauge("reconciler_syncs_running", "Syncs running right now.", registry=registry)
        self.syncs_waiting = Gauge("reconciler_syncs_waiting", "Syncs queued.", registry=registry)

    def _make_store(self) -> None:
        registry = self.registry
        self.commit_seconds = Histogram(
            "reconciler_store_commit_duration_seconds",
            "One transaction of the store's writer, its sync to disk included.",
            buckets=_FAST_S,
            registry=registry,
        )
        self.commit_operations = Histogram(
            "reconciler_store_commit_operations",
            "Operations committed together in one transaction.",
            buckets=_BATCH,
            registry=registry,
        )
        self._statements = Counter("reconciler_store_statements", "SQL statements executed.", registry=registry)
        self._statements_seen = 0
        self.store_up = Gauge(
            "reconciler_store_up", "1 when the store could last be read and written, else 0.", registry=registry
        )

    def _make_configuration(self) -> None:
        registry = self.registry
        self._reloads = _ByLabel(
            Counter("reconciler_reloads", "Looks at the followed files by outcome.", ["outcome"], registry=registry),
            RELOADS,
        )
        self.generation = Gauge(
            "reconciler_generation", "How often this process has swapped its snapshot.", registry=registry
        )
        self.serial = Gauge("reconciler_serial", "The serial of the state being served.", registry=registry)
        self._hooks = Gauge("reconciler_hooks", "Webhooks being served.", ["type", "enabled"], registry=registry)
        self.state_current = Gauge(
            "reconciler_state_current",
            "1 when the state in the store is the one being served, 0 when it cannot be.",
            registry=registry,
        )
        self.files_good = Gauge(
            "reconciler_files_good", "0 when the last look at the followed files found them wrong.", registry=registry
        )
        self.changes_waiting = Gauge(
            "reconciler_changes_waiting", "Changes of the followed files that wait for approval.", registry=registry
        )
        self.hooks_gone = Gauge("reconciler_hooks_gone", "Webhooks whose receiver answered 410.", registry=registry)
        self._guards = _ByLabel(
            Counter("reconciler_guard_refusals", "Applies that a guard refused.", ["guard"], registry=registry),
            GUARDS,
        )
        self._secret_age = Gauge(
            "reconciler_secret_age_seconds",
            "The age of the oldest generated secret among the webhooks of a type.",
            ["type"],
            registry=registry,
        )

    # -- counting --------------------------------------------------------------------------------------------

    def accepted(self, event: str, count: int = 1) -> None:
        """Count events stored for the first time."""
        self._accepted.add(event, count)

    def duplicate(self, count: int = 1) -> None:
        """Count events that were known already."""
        self._duplicates.inc(count)

    def rejected(self, reason: str) -> None:
        """Count a post that was not accepted: `unauthorized`, `too_large`, `invalid`, `unavailable` …."""
        self._rejected[reason].inc()

    def triggered(self, outcome: str) -> None:
        """Count a trigger's call: `queued`, `joined`, `disabled`, `not_found`, `too_large`, `unavailable` …."""
        self._triggers.add(outcome)

    def attempted(self, outcome: str, duration_s: float) -> None:
        """Count one request and how long it took; `outcome` comes from `outcome_class`."""
        self._attempts.add(outcome)
        self._attempt_seconds.observe(duration_s, outcome)

    def ended(self, status: str, count: int = 1) -> None:
        """Count deliveries that reached an end, by their status."""
        self._ended[status].inc(count)

    def noticed(self, notice: str, outcome: str) -> None:
        """Count a notice: `sent`, `logged` where nobody is to be told, or `suppressed`."""
        self._notices.labels(notice, outcome).inc()

    def egress_refused(self, purpose: str) -> None:
        """Count a refusal by the egress guard: `delivery`, `test` or `sync`."""
        self._egress_refusals[purpose].inc()

    def synced(self, outcome: str, duration_s: float) -> None:
        """Count a sync's end: `success`, `failure`, `deferred`, `lost` …."""
        self._syncs[outcome].inc()
        self.sync_seconds.observe(duration_s)

    def committed(self, operations: int, duration_s: float) -> None:
        """Count one transaction of the store's writer."""
        self.commit_seconds.observe(duration_s)
        self.commit_operations.observe(operations)

    def executed(self, statements: int) -> None:
        """Catch up with how many SQL statements the store says it has run since it was opened."""
        self._statements.inc(max(0, statements - self._statements_seen))
        self._statements_seen = statements

    def reloaded(self, outcome: str) -> None:
        """Count a look at the followed files."""
        self._reloads[outcome].inc()

    def guards_refused(self, guards: Iterable[str]) -> None:
        """Count an apply that guards refused, once for each guard's code."""
        for guard in set(guards):
            self._guards[guard].inc()

    # -- setting ---------------------------------------------------------------------------------------------

    def set_queue(self, by_status: Mapping[str, int], oldest_waiting_s: float) -> None:
        """Show what the store holds."""
        for status, count in by_status.items():
            self._depth.labels(str(status)).set(count)
        self.oldest_waiting_seconds.set(max(0.0, oldest_waiting_s))

    def set_breakers(self, counts: Mapping[str, int]) -> None:
        """Show how many breakers are `closed`, `open` and `half_open`; absent means none."""
        for state in _BREAKER_STATES:
            self._breakers.labels(state).set(counts.get(state, 0))

    def set_hooks(self, counts: Mapping[tuple[str, bool], int]) -> None:
        """Show how many webhooks there are by (type, enabled); what is absent is shown no more."""
        self._hooks.clear()
        for (kind, enabled), count in counts.items():
            self._hooks.labels(kind, "true" if enabled else "false").set(count)

    def set_secret_ages(self, oldest_s: Mapping[str, float]) -> None:
        """Show the age of the oldest generated secret by webhook type."""
        self._secret_age.clear()
        for kind, age_s in oldest_s.items():
            self._secret_age.labels(kind).set(age_s)

    # -- reading ---------------------------------------------------------------------------------------------

    def exposition(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
