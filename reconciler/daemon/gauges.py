"""The figures that only the whole process knows: set when somebody is about to read them, lag all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.daemon.live import Outcome

if TYPE_CHECKING:
    import asyncio

    from reconciler.clock import Clock
    from reconciler.daemon.live import Live
    from reconciler.metrics import Metrics

__all__ = ["Gauges"]

LAG_EVERY_S = 0.5


class Gauges:
    """Joins what is served with what is shown of it."""

    def __init__(self, *, live: Live, metrics: Metrics, clock: Clock) -> None:
        self._live = live
        self._metrics = metrics
        self._clock = clock

    def measure(self) -> None:
        """Bring everything up to date that changes by itself or has no moment of its own."""
        live, metrics, now_ms = self._live, self._metrics, self._clock.now_ms()
        metrics.set_secret_ages({kind: (now_ms - ms) / 1000 for kind, ms in live.secrets_made_ms.items()})
        metrics.state_current.set(live.store_problem is None)
        metrics.files_good.set(live.following.is_good)
        plan = live.following.plan if live.following.outcome is Outcome.WAITING else None
        metrics.changes_waiting.set(0 if plan is None else len(plan.changes))

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask for a timer again and again, and count how late it comes, until `stopping` is set."""
        started_s = self._clock.monotonic_s()
        while not await self._clock.wait(stopping, LAG_EVERY_S):
            now_s = self._clock.monotonic_s()
            self._metrics.loop_lag_seconds.observe(max(0.0, now_s - started_s - LAG_EVERY_S))
            started_s = now_s
