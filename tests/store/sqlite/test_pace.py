"""The writer's pauses, on a clock of our own: long where company comes, short where everybody waits already."""

from __future__ import annotations

from bisect import bisect_right
from random import Random  # noqa: TID251 - seeded
from typing import TYPE_CHECKING

import pytest

from reconciler.store.sqlite.pace import PACE_MAX_S, Pace

if TYPE_CHECKING:
    from collections.abc import Callable

COMMIT_S = 0.0008
SECONDS = 2.0


def run(pending: list[float], after: Callable[[int, float], list[float]], pace: Pace) -> tuple[int, int]:
    """Commit what has arrived, again and again; how many commits and operations that were in SECONDS.

    `pending` are the times of arrival, in order; `after` makes those that follow once a commit of so many is done.
    """
    now_s, commits, operations = pending[0], 0, 0
    end_s = now_s + SECONDS
    while now_s < end_s:
        now_s = max(now_s, pending[0])
        pause_s = pace.pause_s(now_s)
        if pause_s:
            early = bisect_right(pending, now_s + pause_s / 2)
            now_s += pause_s
            pace.waited(pause_s, bisect_right(pending, now_s) - early)
        batch = bisect_right(pending, now_s)
        pace.committed(batch, now_s)
        now_s += COMMIT_S
        commits, operations = commits + 1, operations + batch
        pending = sorted(pending[batch:] + after(batch, now_s))
    return commits, operations


def arrivals(rate: float, burst: int, chance: Random, at_s: float = 0.0) -> list[float]:
    """Operations that come by themselves, so many at once, for as long as a run needs."""
    times, end_s = [], at_s + SECONDS + 1
    while at_s < end_s:
        at_s += chance.expovariate(rate / burst)
        times += [at_s] * burst
    return times


@pytest.mark.parametrize("burst", [1, 4])
@pytest.mark.parametrize("rate", [5_000.0, 8_000.0])
def test_at_a_steady_rate_commits_are_as_few_as_the_pace_has_it(rate: float, burst: int) -> None:
    """What comes by itself comes within the pause, alone or in bursts."""
    commits, operations = run(arrivals(rate, burst, Random(1)), lambda _, __: [], Pace())
    assert operations >= 0.98 * rate * SECONDS
    assert commits <= 1.3 * SECONDS / PACE_MAX_S


@pytest.mark.parametrize("clients", [8, 16, 32])
def test_clients_that_wait_for_the_commit_are_not_waited_for(clients: int) -> None:
    """Each sends its next operation a moment after its last one is answered: that moment is what sets their pace."""
    chance = Random(clients)

    def again(batch: int, done_s: float) -> list[float]:
        return sorted(done_s + chance.uniform(0.0002, 0.0012) for _ in range(batch))

    _, operations = run(again(clients, 0.0), again, Pace())
    round_s = COMMIT_S + 0.0012
    assert operations / SECONDS >= 0.75 * clients / round_s


def test_a_pause_that_was_given_up_is_tried_again() -> None:
    """Clients that waited make room for a steady stream, which is gathered as if they had never been."""
    pace, chance = Pace(), Random(3)

    def again(batch: int, done_s: float) -> list[float]:
        return sorted(done_s + chance.uniform(0.0002, 0.0012) for _ in range(batch))

    run(again(8, 0.0), again, pace)
    later = arrivals(6_000.0, 1, chance, SECONDS)
    commits, _ = run(later, lambda _, __: [], pace)
    assert commits <= 1.5 * SECONDS / PACE_MAX_S


def test_little_is_never_waited_for() -> None:
    """A lone client has its commit at once, and as many commits as operations."""
    commits, operations = run([0.0], lambda _, done_s: [done_s + 0.001], Pace())
    assert commits == operations >= 0.95 * SECONDS / (COMMIT_S + 0.001)
