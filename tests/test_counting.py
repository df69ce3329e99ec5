"""The hot path's counters say what prometheus-client's own would."""

from __future__ import annotations

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from reconciler import counting

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # as the program does
BOUNDS = (0.005, 0.25, 1.0, 10.0)
amounts = st.one_of(st.sampled_from((0.0, *BOUNDS)), st.floats(0, 1e6))


@given(st.lists(st.tuples(st.sampled_from("ab"), amounts)))
def test_a_histogram_is_exposed_as_the_librarys_own(steps: list[tuple[str, float]]) -> None:
    """Buckets, counts and sums are the same, on a bound and beyond the last one too."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = counting.Histogram("took_seconds", "How long.", bounds=BOUNDS, registry=ours, label="outcome")
    slow = prometheus_client.Histogram("took_seconds", "How long.", ["outcome"], buckets=BOUNDS, registry=theirs)
    for label, amount in steps:
        fast.observe(amount, label)
        slow.labels(label).observe(amount)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(amounts))
def test_a_histogram_without_a_label_is_there_from_the_start(steps: list[float]) -> None:
    """Before anything was observed it shows zeros, as the library's own does."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = counting.Histogram("took_seconds", "How long.", bounds=BOUNDS, registry=ours)
    slow = prometheus_client.Histogram("took_seconds", "How long.", buckets=BOUNDS, registry=theirs)
    for amount in steps:
        fast.observe(amount)
        slow.observe(amount)
    assert generate_latest(ours) == generate_latest(theirs)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5))))
def test_counts_are_exposed_as_the_librarys_own(steps: list[tuple[str, int]]) -> None:
    """Known values are there from the start, others from their first step."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    fast = counting.Counts("posts", "How many.", "outcome", "ab", registry=ours)
    slow = prometheus_client.Counter("posts", "How many.", ["outcome"], registry=theirs)
    for label in "ab":
        slow.labels(label)
    for label, count in steps:
        fast.add(label, count)
        slow.labels(label).inc(count)
    assert generate_latest(ours) == generate_latest(theirs)
