"""`/healthz`, `/readyz`, `/metrics`: for probes and scrapers, without a token, telling nothing private."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from reconciler.errors import ReconcilerError
from reconciler.metrics import CONTENT_TYPE
from reconciler.web.answers import Answer, json_answer
from reconciler.web.waiting import oldest_due_ms

if TYPE_CHECKING:
    from reconciler.web.endpoint import Call
    from reconciler.web.services import Services

__all__ = ["Health"]

STATS_FRESH_S = 5.0
"""How long counts over the whole store are shown again: anybody may scrape, and counting costs."""

ALIVE = json_answer({"status": "ok"})
READY = json_answer({"status": "ready"})

log = structlog.get_logger(__name__)


class Health:
    """The three endpoints."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._counted_s: float | None = None

    async def healthz(self, _call: Call) -> Answer:
        """The process answers: restarting it would not help with anything else."""
        return ALIVE

    async def readyz(self, _call: Call) -> Answer:
        """The process serves: it has a snapshot and can write."""
        reasons = await self._services.readiness()
        if not reasons:
            return READY
        return json_answer({"status": "not ready", "reasons": list(reasons)}, HTTPStatus.SERVICE_UNAVAILABLE)

    async def metrics(self, _call: Call) -> Answer:
        """Everything that is counted, with fresh figures of the store."""
        self._services.measure()
        self._count_breakers()
        await self._count_store()
        return Answer(HTTPStatus.OK, self._services.metrics.exposition(), content_type=CONTENT_TYPE.encode("ascii"))

    async def _count_store(self) -> None:
        services = self._services
        now_s = services.clock.monotonic_s()
        if self._counted_s is not None and now_s - self._counted_s < STATS_FRESH_S:
            return
        self._counted_s = now_s
        metrics = services.metrics
        try:
            stats, ready = await services.store.stats(), await services.store.ready()
        except ReconcilerError as error:
            log.warning("metrics.store-unavailable", code=error.code, reason=error.message)
            metrics.store_up.set(0)
            return
        metrics.store_up.set(int(await services.store_trouble() is None))
        now_ms = services.clock.now_ms()
        due_ms = oldest_due_ms(ready, services.snapshot, services.gone)
        metrics.set_queue(
            {status.value: count for status, count in stats.by_status.items()},
            oldest_waiting_s=0.0 if due_ms is None else (now_ms - due_ms) / 1000,
        )
        metrics.executed(int(stats.engine.get("statements", 0)))
        metrics.syncs_waiting.set(stats.syncs_waiting)
        metrics.syncs_running.set(stats.syncs_running)
        metrics.hooks_gone.set(stats.gone)

    def _count_breakers(self) -> None:
        counts = Counter(tripped.state.value.replace("-", "_") for tripped in self._services.breakers.values())
        counts["closed"] = max(0, len(self._services.snapshot.outgoing) - counts.total())
        self._services.metrics.set_breakers(counts)
