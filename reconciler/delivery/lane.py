"""What the dispatcher knows of one hook: what it holds for it, what the store may still have, what keeps it shut."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reconciler.model.delivery import Claim

__all__ = ["AHEAD_MAX", "AHEAD_MS", "RETRY_TURN", "Held", "Lane", "Work"]

AHEAD_MS = 250
"""How much work is claimed ahead for a hook: about what it takes in this time, so that claims are few and fresh."""
AHEAD_MAX = 256
PACE_MS = 500.0
"""What a hook's attempts are taken to last before the first one is over: so long that receivers which hang from the
start do not fill the house with what is claimed ahead for them."""
_PACE_WEIGHT = 0.2
RETRY_TURN = 10
"""Every tenth turn is the retries'."""


class Held(NamedTuple):
    """A claim that waits here for its attempt, which must end before its lease does."""

    claim: Claim
    lease_until_ms: int

    @property
    def is_retry(self) -> bool:
        """Whether an attempt was made in this round already."""
        return self.claim.attempt > 1


@dataclass(slots=True)
class Work:
    """One kind of a hook's work, first attempts or retries.

    `held` is claimed and waits. `more` says that the store may have some that is due. `told_ms` is the due time
    that was last put on the timetable for it.
    """

    held: deque[Held] = field(default_factory=deque)
    more: bool = False
    told_ms: int = 0
    queued: bool = False


@dataclass(slots=True, eq=False)
class Lane:
    """A hook's own lane. It is open unless the hook is disabled, gone, or wants to be left alone for a while."""

    hook_id: str
    concurrency: int = 1
    timeout_ms: int = 0
    enabled: bool = False
    gone: bool = False
    blocked_until_ms: int | None = None
    in_flight: int = 0
    pace_ms: float = PACE_MS
    turns: int = 0
    wakes: int = 0
    first: Work = field(default_factory=Work)
    retries: Work = field(default_factory=Work)

    @property
    def is_open(self) -> bool:
        """Whether attempts may be started."""
        return self.enabled and not self.gone and self.blocked_until_ms is None

    @property
    def has_room(self) -> bool:
        """Whether one more attempt may be in flight."""
        return self.in_flight < self.concurrency

    @property
    def held(self) -> int:
        """How many claims wait here."""
        return len(self.first.held) + len(self.retries.held)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with this lane."""
        return not (self.in_flight or self.first.held or self.retries.held)

    @property
    def wanted(self) -> int:
        """How many claims to ask for now; 0 while enough wait, so that each question is worth asking."""
        if not (self.is_open and (self.first.more or self.retries.more)):
            return 0
        held = self.held
        free = self.concurrency - self.in_flight
        ahead = min(AHEAD_MAX, int(self.concurrency * AHEAD_MS / self.pace_ms))
        return free + ahead - held if held < free or held * 2 < ahead else 0

    def work(self, *, retry: bool) -> Work:
        """The work of one kind."""
        return self.retries if retry else self.first

    def hold(self, held: Held) -> None:
        """Take in a claim."""
        self.work(retry=held.is_retry).held.append(held)

    def empty(self) -> list[Held]:
        """Give up all claims that wait here."""
        given = [*self.first.held, *self.retries.held]
        self.first.held.clear()
        self.retries.held.clear()
        return given

    def paced(self, duration_ms: float) -> None:
        """Learn from an attempt how long this hook's attempts last."""
        self.pace_ms += _PACE_WEIGHT * (max(1.0, duration_ms) - self.pace_ms)
