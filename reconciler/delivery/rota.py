"""Whose turn it is: fair between hooks, first attempts before retries, and neither ever shut out by the other."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from reconciler.delivery.lane import RETRY_TURN

if TYPE_CHECKING:
    from reconciler.delivery.lane import Held, Lane

__all__ = ["SLOTS", "Rota", "Turn"]

SLOTS = 512
"""Attempts in flight, over all hooks."""


class Turn(NamedTuple):
    """An attempt to be made."""

    lane: Lane
    held: Held


class Rota:
    """Hands out turns: each hook with work in its turn, and each hook's own work oldest first.

    First attempts go first. Retries get every tenth turn in which both wait, and always find a tenth of the slots
    free of first attempts; first attempts always find half of the slots free of retries, which are the ones that
    mostly go to receivers that hang.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self._room = {False: slots - slots // RETRY_TURN, True: slots // 2}
        self._slots = slots
        self._busy = {False: 0, True: 0}
        self._queues: dict[bool, deque[Lane]] = {False: deque(), True: deque()}
        self._turns = 0

    @property
    def in_flight(self) -> int:
        """How many turns have been taken and not ended."""
        return self._busy[False] + self._busy[True]

    def offer(self, lane: Lane) -> None:
        """Put the hook in the queue for each kind of work that it could start now."""
        if lane.is_open and lane.has_room:
            for retry in (False, True):
                work = lane.work(retry=retry)
                if work.held and not work.queued:
                    work.queued = True
                    self._queues[retry].append(lane)

    def take(self) -> Turn | None:
        """The next turn, or None when nobody could start anything."""
        if self.in_flight >= self._slots:
            return None
        self._turns += 1
        retries_turn = self._turns % RETRY_TURN == 0
        for retry in (retries_turn, not retries_turn):
            if self._busy[retry] < self._room[retry]:
                turn = self._take(retry=retry)
                if turn is not None:
                    return turn
        return None

    def end(self, turn: Turn) -> None:
        """The attempt is over; its hook may start another."""
        self._busy[turn.held.is_retry] -= 1
        turn.lane.in_flight -= 1
        self.offer(turn.lane)

    def _take(self, *, retry: bool) -> Turn | None:
        queue = self._queues[retry]
        while queue:
            lane = queue.popleft()
            work = lane.work(retry=retry)
            work.queued = False
            if not (lane.is_open and lane.has_room and work.held):
                continue
            lane.turns += 1
            other = lane.retries
            if not retry and other.held and lane.turns % RETRY_TURN == 0 and self._busy[True] < self._room[True]:
                work = other
            turn = Turn(lane, work.held.popleft())
            lane.in_flight += 1
            self._busy[turn.held.is_retry] += 1
            self.offer(lane)
            return turn
        return None
