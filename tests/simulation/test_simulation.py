"""Fleets of workers on made-up networks, in virtual time: whatever happens, the laws of the ledger hold."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from simulation.simulate import CALM, DAY, SHORT, simulate

from reconciler.delivery import attempt
from reconciler.delivery.lane import Lane
from reconciler.model import breaker, outcome
from reconciler.model.breaker import Breaker
from reconciler.model.delivery import DeliveryStatus
from reconciler.store.memory.contents import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEEDS_A_TEST = 20
SEEDS_TO_FIND = 150
"""Within so many worlds a broken law must show."""


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """Thousands of failed attempts need no log."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


def play_many(seeds: int) -> None:
    """One world after the other."""
    for seed in range(seeds):
        simulate(seed)


@pytest.mark.parametrize("first", range(0, 160, SEEDS_A_TEST))
def test_no_trouble_breaks_a_law(first: int) -> None:
    """Kills, standstills, outages, swaps and receivers of every mood: nothing is lost, doubled, early or too many."""
    for seed in range(first, first + SEEDS_A_TEST):
        counts = simulate(seed, SHORT)
        assert counts["delivered"] > 0


@pytest.mark.parametrize("first", range(1_000, 1_040, SEEDS_A_TEST))
def test_without_trouble_each_attempt_is_sent_and_recorded_once(first: int) -> None:
    """Several workers and bad receivers, but no worker dies or loses its lease: no request is one too many."""
    for seed in range(first, first + SEEDS_A_TEST):
        counts = simulate(seed, CALM)
        assert counts["lost"] == 0
        assert counts["sends"] == counts["settled"] + counts["cut_off"]


def test_a_day_passes_in_seconds() -> None:
    """24 hours of traffic on the default schedule, with a death or a standstill every few minutes."""
    counts = simulate(0, DAY)
    assert counts["accepted"] > 5_000
    assert counts["openings"] > 5


def test_a_seed_tells_the_whole_story() -> None:
    """The same seed gives the same world, so that what it finds can be looked at again."""
    assert simulate(7) == simulate(7)
    assert simulate(7) != simulate(8)


# -- a law that cannot be broken is none -----------------------------------------------------------------------


def _forget_fences(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Row, "held_by", lambda row, _: row.status is DeliveryStatus.SENDING)


def _claim_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Row, "claimable", lambda row, now_ms: row.due_ms is not None and row.due_ms <= now_ms + 20_000)


def _never_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(breaker, "FAILURES_TO_OPEN", 1_000_000)


def _probe_with_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Breaker, "room", lambda _, wanted, now_ms: wanted)


def _hurry(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcome, "wait_ms", lambda retry, *_: retry.schedule_ms[0] // 3)


def _ignore_retry_after(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(outcome, "retry_after_ms", lambda *_, **__: None)


def _crowd(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "has_room", property(lambda _: True))


def _one_more(patch: pytest.MonkeyPatch) -> None:
    decide: Any = attempt.decide

    def generous(*, retry: Any, **more: Any) -> Any:
        return decide(retry=replace(retry, attempts=retry.attempts + 1), **more)

    patch.setattr(attempt, "decide", generous)


def _send_what_is_disabled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "is_open", property(lambda lane: not lane.gone and lane.blocked_until_ms is None))


def _overlook_gone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lane, "is_open", property(lambda lane: lane.enabled and lane.blocked_until_ms is None))


@pytest.mark.parametrize(
    "sabotage",
    [
        _forget_fences,
        _claim_twice,
        _never_open,
        _probe_with_all,
        _hurry,
        _ignore_retry_after,
        _crowd,
        _one_more,
        _send_what_is_disabled,
        _overlook_gone,
    ],
)
def test_a_broken_part_is_found(sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: Any) -> None:
    """Each fault that is put into the program on purpose breaks a law within a few worlds."""
    sabotage(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        play_many(SEEDS_TO_FIND)
