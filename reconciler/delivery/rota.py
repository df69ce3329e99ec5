"""Whose turn it is: fair between hooks, first attempts before retries, and the quick never shut out by the slow."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from reconciler.delivery.lane import RETRY_TURN

if TYPE_CHECKING:
    from reconciler.delivery.lane import Held, Lane

__all__ = ["SLOTS", "Rota", "Turn"]

SLOTS = 512
"""Attempts in flight to hooks that are quick, and as many to those that are slow."""
CROWDED = 4
"""When less than one slot in so many is free, a hook that has any takes no more than its part of the free ones."""
PART = 8
"""The part of the free slots that one hook may have."""


class Turn(NamedTuple):
    """An attempt to be made."""

    lane: Lane
    held: Held


class _Share:
    """The slots of the quick hooks, or of the slow ones, and the queues for them.

    First attempts go first. Retries get every tenth turn in which both wait, and always find a tenth of the slots
    free of first attempts; first attempts always find half of the slots free of retries, which are the ones that
    mostly go to receivers that hang.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.room = {False: slots - slots // RETRY_TURN, True: slots // 2}
        self.busy = {False: 0, True: 0}
        self.queues: dict[bool, deque[Lane]] = {False: deque(), True: deque()}
        self.turns = 0

    @property
    def in_flight(self) -> int:
        return self.busy[False] + self.busy[True]

    def has_room(self, *, retry: bool) -> bool:
        """Whether one more attempt of this kind may be made."""
        return self.busy[retry] < self.room[retry] and self.in_flight < self.slots

    @property
    def fair(self) -> int:
        """From how many attempts in flight on a hook must leave what is free to others."""
        free = self.slots - self.in_flight
        return self.slots if free * CROWDED > self.slots else max(1, free // PART)

    def could_take(self, lane: Lane) -> bool:
        """Whether there is room for all that the lane has in flight."""
        return (
            self.busy[False] + lane.first.busy <= self.room[False]
            and self.busy[True] + lane.retries.busy <= self.room[True]
            and self.in_flight + lane.in_flight <= self.slots
        )


class Rota:
    """Hands out turns: each hook with work in its turn, and each hook's own work oldest first.

    Slow hooks have slots of their own, and no others; a hook that turns out to be slow moves there with what it has
    in flight, if there is room for it. So receivers that hang, one or hundreds, hold the slots that the others need
    only until that is noticed. Until then it helps that the last slots go to hooks with little in flight.
    """

    def __init__(self, slots: int = SLOTS) -> None:
        self.slots = 2 * slots
        self._shares = {False: _Share(slots), True: _Share(slots)}
        self._quick, self._slow = self._shares[False], self._shares[True]

    @property
    def in_flight(self) -> int:
        """How many turns have been taken and not ended."""
        return self._quick.in_flight + self._slow.in_flight

    @property
    def is_awaited(self) -> bool:
        """Whether any hook waits for a turn; it need not be one that could be had."""
        quick, slow = self._quick.queues, self._slow.queues
        return bool(quick[False] or quick[True] or slow[False] or slow[True])

    def offer(self, lane: Lane) -> None:
        """Put the hook in the queue for each kind of work that it could start now."""
        if lane.slow is not lane.filed_slow:
            self._refile(lane)
        if lane.is_open and lane.has_room:
            queues = self._shares[lane.slow].queues
            for retry, work in ((False, lane.first), (True, lane.retries)):
                if work.held and not work.queued:
                    work.queued = True
                    queues[retry].append(lane)

    def take(self) -> Turn | None:
        """The next turn, or None when nobody could start anything."""
        return self._take_from(self._quick) or self._take_from(self._slow)

    def end(self, turn: Turn) -> None:
        """The attempt is over; its hook may start another."""
        lane, retry = turn.lane, turn.held.is_retry
        lane.work(retry=retry).busy -= 1
        self._shares[lane.filed_slow].busy[retry] -= 1
        self.offer(lane)

    def _refile(self, lane: Lane) -> None:
        """Count the lane's attempts in flight among those of its like, if these have room.

        It changes queues when its turn comes.
        """
        before, after = self._shares[lane.filed_slow], self._shares[lane.slow]
        if not after.could_take(lane):
            return
        for retry, work in ((False, lane.first), (True, lane.retries)):
            before.busy[retry] -= work.busy
            after.busy[retry] += work.busy
        lane.filed_slow = lane.slow

    def _take_from(self, share: _Share) -> Turn | None:
        share.turns += 1
        retries_turn = share.turns % RETRY_TURN == 0
        for retry in (retries_turn, not retries_turn):
            if share.has_room(retry=retry):
                turn = self._take(share, retry=retry)
                if turn is not None:
                    return turn
        return None

    def _take(self, share: _Share, *, retry: bool) -> Turn | None:
        queue = share.queues[retry]
        for _ in range(len(queue)):
            lane = queue.popleft()
            work = lane.work(retry=retry)
            work.queued = False
            if not (lane.is_open and lane.has_room and work.held):
                continue
            if lane.slow is not lane.filed_slow:
                self._refile(lane)
            own = self._shares[lane.slow]
            if lane.filed_slow is not lane.slow or not own.has_room(retry=retry):
                work.queued = True
                own.queues[retry].append(lane)
                continue
            if lane.in_flight >= own.fair:
                continue  # the end of one of its attempts offers it again
            lane.turns += 1
            other = lane.retries
            if not retry and other.held and lane.turns % RETRY_TURN == 0 and own.has_room(retry=True):
                work = other
            turn = Turn(lane, work.held.popleft())
            work.busy += 1
            own.busy[turn.held.is_retry] += 1
            self.offer(lane)
            return turn
        return None
