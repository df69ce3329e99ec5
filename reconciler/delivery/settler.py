"""Writing down what became of claims: many at a time, in order, and again until the store takes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.clock import Clock
    from reconciler.delivery.attempt import Attempted
    from reconciler.model.delivery import Claim
    from reconciler.store.port import Store

__all__ = ["Settler"]

SETTLE_EVERY_S = 0.01
"""The pause after each write, in which outcomes gather: a hundred writes a second serve any load."""
SETTLE_MAX = 1000
"""Outcomes a write."""
UNSETTLED_MAX = 10_000
"""Outcomes that may wait to be written before no more attempts are started."""
BACKOFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""The waits after writes that failed; the last one repeats."""
FINAL_TRIES = 3
"""How often a write is tried when the program is about to end; what is lost then is attempted again."""

log = structlog.get_logger(__name__)


class Settler:
    """Takes outcomes and unattempted claims, and writes them.

    `recorded` hears of each batch of outcomes, and which of them still counted, once it is durable. `recovered` is
    called when the store takes writes again.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        owner: str,
        recorded: Callable[[Sequence[Attempted], Sequence[bool]], None],
        recovered: Callable[[], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._owner = owner
        self._recorded = recorded
        self._recovered = recovered
        self._outcomes: list[Attempted] = []
        self._returns: list[Claim] = []
        self._failures = 0
        self._some = asyncio.Event()
        self._finishing = asyncio.Event()

    @property
    def unsettled(self) -> int:
        """How many outcomes wait to be written."""
        return len(self._outcomes)

    @property
    def is_stuck(self) -> bool:
        """Whether attempts should wait, because their outcomes could not be written."""
        return self._failures > 0 or len(self._outcomes) >= UNSETTLED_MAX

    def settle(self, attempted: Attempted) -> None:
        """Have an outcome written soon."""
        self._outcomes.append(attempted)
        self._some.set()

    def give_back(self, claims: Sequence[Claim]) -> None:
        """Have unattempted claims released soon."""
        if claims:
            self._returns.extend(claims)
            self._some.set()

    def finish(self) -> None:
        """Write what there is, then end."""
        self._finishing.set()
        self._some.set()

    async def run(self) -> None:
        """Write until `finish`."""
        while True:
            await self._clock.wait(self._some, None)
            self._some.clear()
            await self._write()
            if self._finishing.is_set():
                if not (self._outcomes or self._returns):
                    return
                if self._failures >= FINAL_TRIES:
                    log.error("outcomes.lost", outcomes=len(self._outcomes), claims=len(self._returns))
                    return
            if self._outcomes or self._returns:
                self._some.set()
            await self._clock.wait(self._finishing, SETTLE_EVERY_S)

    async def _write(self) -> None:
        try:
            await self._write_outcomes()
            await self._write_returns()
        except ReconcilerError as error:
            wait_s = BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)]
            self._failures += 1
            log.warning(
                "outcomes.waiting",
                code=error.code,
                reason=error.message,
                outcomes=len(self._outcomes),
                again_in_s=wait_s,
            )
            self._some.set()
            await self._clock.wait(asyncio.Event() if self._finishing.is_set() else self._finishing, wait_s)
            return
        if self._failures:
            self._failures = 0
            log.info("outcomes.written-again")
            self._recovered()

    async def _write_outcomes(self) -> None:
        batch = self._outcomes[:SETTLE_MAX]
        if not batch:
            return
        # After a lease was lost the same delivery may have come here again: the store takes one outcome of each.
        if len({each.settlement.delivery_id for each in batch}) < len(batch):
            batch = _up_to_repetition(batch)
        kept = await self._store.settle([each.settlement for each in batch], now_ms=self._clock.now_ms())
        del self._outcomes[: len(batch)]
        self._recorded(batch, kept)

    async def _write_returns(self) -> None:
        batch = self._returns[:SETTLE_MAX]
        if not batch:
            return
        returned = [(claim.delivery_id, claim.hook_id, claim.fence.claims) for claim in batch]
        await self._store.release(returned, owner=self._owner, due_ms=self._clock.now_ms())
        del self._returns[: len(batch)]


def _up_to_repetition(batch: Sequence[Attempted]) -> list[Attempted]:
    """The outcomes before the first one whose delivery has another one before it."""
    seen: set[str] = set()
    for place, each in enumerate(batch):
        if each.settlement.delivery_id in seen:
            return list(batch[:place])
        seen.add(each.settlement.delivery_id)
    return list(batch)
