"""Canonical specs: defaults filled in, one spelling for one meaning, stable under repetition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.hook import EventType, Retry
from reconciler.model.spec import (
    OUTGOING_DEFAULTS,
    canonical_bot,
    canonical_data_source,
    canonical_webhook,
    overlap_ms_of,
    retry_of,
    sync_timeout_ms_of,
    timeout_ms_of,
)

OUTGOING = {"type": "conversation.started", "url": "https://crm.example.com/"}
TRIGGER = {"type": "sync.trigger", "data_source": "docs"}


def test_every_default_is_filled_in_when_a_webhook_says_nothing() -> None:
    """A minimal webhook and one that spells out the contract's defaults are the same."""
    spelled: dict[str, Any] = {
        **OUTGOING,
        "enabled": False,
        "description": "",
        "timeout": "10s",
        "retry": {"attempts": 5, "schedule": ["30s", "1m", "2m", "4m", "8m"], "jitter": 0.1},
        "concurrency": 8,
        "signing": {"secret_header": True, "standard_webhooks": True},
        "custom_payload": {"enabled": False, "method": "POST", "headers": {}, "body": None},
        "secret": None,
        "secret_version": 1,
        "rotation": {"overlap": "0s"},
        "protected": False,
    }
    assert canonical_webhook(OUTGOING) == spelled
    assert canonical_webhook(spelled) == spelled
    assert {key: spelled[key] for key in OUTGOING_DEFAULTS} == OUTGOING_DEFAULTS


def test_a_trigger_has_no_keys_of_deliveries() -> None:
    """What calls nobody has no URL, retry or signing."""
    assert canonical_webhook(TRIGGER) == {
        **TRIGGER,
        "enabled": False,
        "description": "",
        "secret_version": 1,
        "rotation": {"overlap": "0s"},
        "protected": False,
    }


@pytest.mark.parametrize("kind", list(EventType))
def test_only_sync_webhooks_have_a_data_source(kind: EventType) -> None:
    """A conversation has none, not even an empty one."""
    raw = TRIGGER if kind.is_incoming else {**OUTGOING, "type": kind.value}
    assert ("data_source" in canonical_webhook(raw)) == (kind.is_incoming or kind.is_sync)


def test_equal_meanings_have_equal_specs_when_spelled_differently() -> None:
    """Durations, numbers and the order of headers do not tell specs apart."""
    one = {
        **OUTGOING,
        "timeout": "10000ms",
        "retry": {"attempts": 5.0, "schedule": ["30s", "60s", "120s", "240s", "480s"]},
        "rotation": {"overlap": "0d"},
        "custom_payload": {"headers": {"B": "2", "A": "1"}},
    }
    other = {**OUTGOING, "custom_payload": {"headers": {"A": "1", "B": "2"}, "method": "POST", "enabled": True}}
    assert canonical_webhook(one) == canonical_webhook(other)
    assert list(canonical_webhook(one)["custom_payload"]["headers"]) == ["A", "B"]


def test_a_custom_payload_is_in_force_when_it_is_written_and_not_switched_off() -> None:
    """The block says it; `enabled: false` keeps the fields."""
    written = canonical_webhook({**OUTGOING, "custom_payload": {"body": "x"}})["custom_payload"]
    kept = canonical_webhook({**OUTGOING, "custom_payload": {"body": "x", "enabled": False}})["custom_payload"]
    assert (written["enabled"], kept["enabled"], kept["body"]) == (True, False, "x")


def test_ids_and_names_are_the_handle_when_left_out() -> None:
    """For bots and data sources alike."""
    assert canonical_bot({}, "support-bot") == {"id": "support-bot", "name": "support-bot"}
    assert canonical_bot({"id": "b-1"}, "support-bot") == {"id": "b-1", "name": "support-bot"}
    assert canonical_data_source({"name": "Docs"}, "docs") == {"id": "docs", "name": "Docs", "sync": None}


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ({"command": ["a", "b"]}, {"command": ["a", "b"], "timeout": "15m"}),
        ({"command": ["a"], "timeout": "3600s"}, {"command": ["a"], "timeout": "1h"}),
        (
            {"http": {"url": "https://x.example"}},
            {"http": {"url": "https://x.example", "method": "POST", "headers": {}}, "timeout": "15m"},
        ),
    ],
)
def test_a_sync_has_its_defaults(raw: dict[str, Any], canonical: dict[str, Any]) -> None:
    """Method, headers and time-out, for either kind."""
    spec = canonical_data_source({"sync": raw}, "docs")
    assert spec["sync"] == canonical
    assert canonical_data_source(spec, "docs") == spec


def test_figures_are_read_from_a_spec_in_milliseconds() -> None:
    """The daemon's units, whatever was written."""
    spec = canonical_webhook(
        {**OUTGOING, "timeout": "250ms", "retry": {"attempts": 2, "schedule": ["1m"]}, "rotation": {"overlap": "1d"}}
    )
    assert retry_of(spec) == Retry(attempts=2, schedule_ms=(60_000,), jitter=0.1)
    assert (timeout_ms_of(spec), overlap_ms_of(spec)) == (250, 86_400_000)
    source = canonical_data_source({"sync": {"command": ["a"], "timeout": "2m"}}, "docs")
    assert sync_timeout_ms_of(source) == 120_000
    assert sync_timeout_ms_of(canonical_data_source({}, "docs")) == 900_000


durations = st.builds("{}{}".format, st.integers(1, 9_999), st.sampled_from(["ms", "s", "m", "h", "d"]))
webhooks = st.fixed_dictionaries(
    {
        "type": st.sampled_from([kind.value for kind in EventType if not kind.is_incoming]),
        "url": st.just("https://x/"),
    },
    optional={
        "enabled": st.booleans(),
        "timeout": durations,
        "retry": st.fixed_dictionaries(
            {},
            optional={
                "attempts": st.integers(1, 9),
                "schedule": st.lists(durations, min_size=1, max_size=3),
                "jitter": st.floats(0, 1),
            },
        ),
        "custom_payload": st.fixed_dictionaries(
            {},
            optional={"enabled": st.booleans(), "headers": st.dictionaries(st.text(), st.text()), "body": st.text()},
        ),
        "secret": st.just({"env": "A"}),
        "signing": st.fixed_dictionaries({}, optional={"secret_header": st.booleans()}),
        "rotation": st.fixed_dictionaries({}, optional={"overlap": durations}),
    },
)


@given(webhooks)
def test_a_canonical_spec_comes_back_unchanged(raw: dict[str, Any]) -> None:
    """Reading an applied state again changes nothing, so a second plan is empty."""
    spec = canonical_webhook(raw)
    assert canonical_webhook(spec) == spec
