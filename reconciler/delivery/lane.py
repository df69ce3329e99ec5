"""What the dispatcher knows of one hook: what waits here and in the store, and how its receiver does."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reconciler.model.breaker import CLOSED, Breaker, Tripped
from reconciler.model.delivery import DeliveryStatus
from reconciler.model.window import Window

if TYPE_CHECKING:
    from reconciler.model.delivery import Claim
    from reconciler.model.hook import OutgoingHook
    from reconciler.model.outcome import Decision
    from reconciler.model.template import Template

__all__ = ["AHEAD_MAX", "AHEAD_MS", "RETRY_TURN", "SLOW_MS", "Held", "Lane", "Work"]

AHEAD_MS = 250
"""How much work is claimed ahead for a hook: about what it takes in this time, so that claims are few and fresh."""
AHEAD_MAX = 256
PACE_MS = 500.0
"""What a hook's attempts are taken to last before the first one is over: so long that receivers which hang from the
start do not fill the house with what is claimed ahead for them."""
SLOW_MS = 1_000
"""A hook whose attempts last so long, or none of whose attempts has ended for so long, is slow."""
_PACE_WEIGHT = 0.2
_SLOW_AHEAD = 8
"""For a slow hook one claim waits here, and one more for so many free places."""
RETRY_TURN = 10
"""Every tenth turn is the retries'."""


class Held(NamedTuple):
    """A claim that waits here for its attempt, which must end before its lease does."""

    claim: Claim
    lease_until_ms: int

    @property
    def is_retry(self) -> bool:
        """Whether an attempt was made already, in this round or an earlier one."""
        return self.claim.is_retry


@dataclass(slots=True)
class Work:
    """One kind of a hook's work, first attempts or retries.

    `held` is claimed and waits. `more` says that the store may have some that is due, `backlog` that it may have more
    than what has come in the last few milliseconds. `told_ms` is the due time that was last put on the timetable for
    it. `busy` counts its attempts in flight.
    """

    held: deque[Held] = field(default_factory=deque)
    more: bool = False
    backlog: bool = False
    told_ms: int = 0
    queued: bool = False
    busy: int = 0

    def stocked(self) -> None:
        """The store may have any amount of it."""
        self.more = self.backlog = True

    def asked(self, wanted: int, got: int, *, woken: bool) -> None:
        """The store gave so much of what it was asked for: less means that it has no more.

        `woken` since the question was put, it may have what came since then.
        """
        if wanted:
            self.backlog = got >= wanted
            self.more = self.backlog or (self.more and woken)


@dataclass(slots=True, eq=False)
class Lane:
    """A hook's own lane. It is open unless the hook is disabled, gone, or to be left alone for a while.

    `limit` is how many attempts may be in flight as its breaker and its window have it. `blocked_until_ms` is set
    while the receiver asked for a pause (`throttled_until_ms`) or the breaker is open. `reserved` is room for claims
    that come with what is being accepted. `filed_slow` is for the rota: as what it counts this lane's attempts.
    """

    hook_id: str
    timeout_ms: int = 0
    enabled: bool = False
    gone: bool = False
    url: Template | None = None
    blocked_until_ms: int | None = None
    throttled_until_ms: int = 0
    breaker: Breaker = CLOSED
    shut_since_ms: int = 0
    window: Window = field(default_factory=lambda: Window.of(1))
    limit: int = 1
    pace_ms: float = PACE_MS
    slow: bool = False
    filed_slow: bool = False
    progress_ms: int = 0
    turns: int = 0
    wakes: int = 0
    reserved: int = 0
    first: Work = field(default_factory=Work)
    retries: Work = field(default_factory=Work)

    @property
    def is_open(self) -> bool:
        """Whether attempts may be started."""
        return self.enabled and not self.gone and self.blocked_until_ms is None

    @property
    def in_flight(self) -> int:
        """How many attempts are being made."""
        return self.first.busy + self.retries.busy

    @property
    def has_room(self) -> bool:
        """Whether one more attempt may be in flight."""
        return self.first.busy + self.retries.busy < self.limit

    @property
    def held(self) -> int:
        """How many claims wait here."""
        return len(self.first.held) + len(self.retries.held)

    @property
    def is_idle(self) -> bool:
        """Whether nothing would be lost with this lane."""
        return not (self.in_flight or self.first.held or self.retries.held or self.reserved)

    @property
    def wanted(self) -> int:
        """How many claims to ask for now; 0 while enough wait, so that each question is worth asking."""
        if not (self.is_open and (self.first.more or self.retries.more)):
            return 0
        held = self.held + self.reserved
        free = self.limit - self.in_flight
        if self.slow or self.breaker.openings:
            return max(0, self._slow_stock - held)
        ahead = self._ahead
        return max(0, free + ahead - held) if held < free or held * 2 < ahead else 0

    def reserve(self) -> bool:
        """Make room for one first attempt that is about to be accepted, if what is stored does not need it."""
        if not self.is_open or self.slow or self.breaker.openings or self.first.backlog:
            return False
        if self.first.more and not self.wanted:
            return False
        if self.held + self.reserved >= self.limit - self.in_flight + self._ahead:
            return False
        self.reserved += 1
        return True

    @property
    def _ahead(self) -> int:
        return min(AHEAD_MAX, int(self.limit * AHEAD_MS / self.pace_ms))

    @property
    def _slow_stock(self) -> int:
        """How many claims may wait for a slow hook: they come one by one, and hold up nobody else's."""
        free = self.limit - self.in_flight
        return 1 + free // _SLOW_AHEAD if free > 0 else 0

    def tripped(self, now_ms: int) -> Tripped | None:
        """The breaker for those who look at it, None while it is closed."""
        until_ms = self.breaker.open_until_ms
        if until_ms is None:
            return None
        return Tripped(self.breaker.state(now_ms), self.shut_since_ms, until_ms, self.breaker.failures)

    def paused_until(self, now_ms: int) -> int | None:
        """The end of the pause that the receiver asked for.

        None without one, and for a hook that is disabled or gone: whatever opens it again ends the pause, too.
        """
        if not self.enabled or self.gone or self.throttled_until_ms <= now_ms:
            return None
        return self.throttled_until_ms

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

    def surplus(self) -> list[Held]:
        """Give up the claims that wait here beyond what a slow hook may hold, the latest first."""
        given = []
        for work in (self.retries, self.first):
            while work.held and self.held > max(1, self._slow_stock):
                given.append(work.held.pop())
                work.stocked()
        return given

    # -- how the receiver does -------------------------------------------------------------------------------

    def describe(self, hook: OutgoingHook | None, *, gone: bool) -> None:
        """Follow the hook. Another URL, or a hook that is taken up again, is a receiver that nothing is known of."""
        enabled = hook is not None and hook.enabled
        if (enabled and not self.enabled) or (hook is not None and hook.url != self.url):
            self.renew()
        self.enabled, self.gone = enabled, gone
        if hook is not None:
            self.url, self.timeout_ms = hook.url, hook.timeout_ms
            if hook.concurrency != self.window.limit:
                self.window = (
                    Window.of(hook.concurrency) if self.window.is_full else self.window.with_limit(hook.concurrency)
                )
                if self.breaker.open_until_ms is None:
                    self.limit = self.window.room

    def renew(self) -> None:
        """Forget how the receiver did."""
        self.breaker, self.window = CLOSED, Window.of(self.window.limit)
        self.limit, self.pace_ms, self.slow = self.window.room, PACE_MS, False
        self.blocked_until_ms, self.throttled_until_ms = None, 0

    def start(self, now_ms: int) -> None:
        """An attempt starts."""
        if self.in_flight == 1:
            self.progress_ms = now_ms
        if self.breaker.open_until_ms is not None:
            self.breaker = self.breaker.after_start(now_ms)
            self.limit = self.breaker.room(self.window.room, now_ms)

    def abandon(self, now_ms: int) -> None:
        """An attempt was not made after all."""
        if self.breaker.probing:
            self.breaker = self.breaker.after_nothing()
            self.limit = self.breaker.room(self.window.room, now_ms)

    def learn(self, decision: Decision, *, started_ms: int, now_ms: int) -> None:
        """An attempt has ended."""
        self.progress_ms = now_ms
        self.pace_ms += _PACE_WEIGHT * (max(1.0, now_ms - started_ms) - self.pace_ms)
        self.slow = self.pace_ms >= SLOW_MS
        if decision.status is DeliveryStatus.DELIVERED:
            if self.breaker is CLOSED and self.window.is_full:
                return
            self.breaker = self.breaker.after_success()
            self.window = self.window.after_answer()
        else:
            self._learn_failure(decision, started_ms, now_ms)
        self.limit = self.breaker.room(self.window.room, now_ms)
        self._block(now_ms)

    def _learn_failure(self, decision: Decision, started_ms: int, now_ms: int) -> None:
        was_shut = self.breaker.openings > 0
        if decision.is_failure:
            self.breaker = self.breaker.after_failure(now_ms)
        else:
            self.breaker = self.breaker.after_nothing()
        if not was_shut and self.breaker.openings:
            self.shut_since_ms = now_ms
        if decision.is_overload:
            self.window = self.window.after_timeout(started_ms=started_ms, now_ms=now_ms)
        elif decision.is_answered:
            self.window = self.window.after_answer()
        self.throttled_until_ms = max(self.throttled_until_ms, decision.throttle_until_ms or 0)

    def pause_ended(self, now_ms: int) -> bool:
        """Whether the lane was left alone until now, and is so no more."""
        if self.blocked_until_ms is None or self.blocked_until_ms > now_ms:
            return False
        self.limit = self.breaker.room(self.window.room, now_ms)
        self._block(now_ms)
        return self.blocked_until_ms is None

    def _block(self, now_ms: int) -> None:
        until_ms = max(self.throttled_until_ms, self.breaker.open_until_ms or 0)
        self.blocked_until_ms = until_ms if until_ms > now_ms else None

    def look(self, now_ms: int) -> bool:
        """Whether it turns out only now that the hook is slow: everything in flight has been so for long."""
        if self.slow or not self.in_flight or now_ms - self.progress_ms < SLOW_MS:
            return False
        self.slow = True
        return True
