"""Drift says what does not run as it was applied, why, and what clears it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.plan.drift import Shut, drift_of
from reconciler.plan.make import make
from reconciler.plan.plan import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

HOOK = {"type": "conversation.started", "url": "https://a.example.com/", "enabled": True}
SINCE = "2026-03-10T12:00:00Z"


def test_the_gravest_cause_is_told(declare: Callable[..., Any], applied: Callable[..., Any]) -> None:
    """Gone before an open breaker before failing; one of them a webhook; none for a disabled one."""
    hooks = dict.fromkeys(("fine", "gone", "shut", "failing"), HOOK) | {"off": HOOK | {"enabled": False}}
    state = applied(declare({"bot": {"webhooks": hooks}}))
    failing = Observation(waiting=3, failing_since=SINCE)
    observed = {
        "id-bot/gone": Observation(gone_since=SINCE, failing_since=SINCE),
        "id-bot/shut": failing,
        "id-bot/failing": failing,
        "id-bot/off": failing,
    }
    shut = dict.fromkeys(("id-bot/gone", "id-bot/shut", "id-bot/off", "id-bot/forgotten"), Shut(SINCE, 12))
    found = drift_of(state, observed, shut)
    assert [(drift.address, drift.code, drift.since) for drift in found] == [
        ("bot/failing", "failing", SINCE),
        ("bot/gone", "gone", SINCE),
        ("bot/shut", "breaker-open", SINCE),
    ]
    assert found[2].message.startswith("12 attempts in a row failed")
    assert found[2].message.endswith("3 deliveries wait")


def test_a_breaker_is_told_of_where_the_store_has_seen_nothing(
    declare: Callable[..., Any], applied: Callable[..., Any]
) -> None:
    """What the daemon knows needs no history in the store."""
    state = applied(declare({"bot": {"webhooks": {"a": HOOK}}}))
    assert [drift.code for drift in drift_of(state, {}, {"id-bot/a": Shut(None, 10)})] == ["breaker-open"]
    assert drift_of(state, {}) == ()


def test_what_the_plan_itself_mends_is_said(declare: Any, applied: Any) -> None:
    """Another URL gives a gone webhook a chance again; another time-out does not."""
    hook = {"type": "conversation.started", "url": "https://a.example.com", "enabled": True}
    state = applied(declare({"bot": {"webhooks": {"x": hook}}}))
    gone = {"id-bot/x": Observation(gone_since="2026-03-10T12:00:00Z")}

    def clears(**edits: Any) -> str:
        desired = declare({"bot": {"webhooks": {"y": {**hook, "moved_from": "x", **edits}}}})
        (drift,) = make(desired, state, observed=gone).drift
        return drift.clears

    assert clears(url="https://b.example.com") == "applying this plan"
    assert clears(enabled=False) == "applying this plan"
    assert "a changed url" in clears(timeout="5s")
