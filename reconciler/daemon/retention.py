"""Keeping the store finite: what ended long ago goes, what waits for a hook that may never return expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from reconciler.clock import Clock
    from reconciler.daemon.options import ServeOptions
    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import Store

__all__ = ["keep_finite"]

PRUNE_EVERY_S = 60.0
PRUNE_ROWS = 1_000
"""Rows a transaction: small, so that deliveries hardly notice."""
PRUNE_PAUSE_S = 0.05

log = structlog.get_logger(__name__)


async def keep_finite(
    store: Store, snapshot: Callable[[], Snapshot], *, options: ServeOptions, clock: Clock, stopping: asyncio.Event
) -> None:
    """Prune once a minute, in small steps, until `stopping` is set."""
    while not await clock.wait(stopping, PRUNE_EVERY_S):
        try:
            await _prune(store, snapshot, options=options, clock=clock, stopping=stopping)
        except ReconcilerError as error:
            log.warning("retention.postponed", code=error.code, reason=error.message)


async def _prune(
    store: Store, snapshot: Callable[[], Snapshot], *, options: ServeOptions, clock: Clock, stopping: asyncio.Event
) -> None:
    gone = frozenset(await store.gone())
    removed = expired = 0
    while True:
        now_ms = clock.now_ms()
        pruned = await store.prune(
            ended_before_ms=now_ms - options.retention_ms,
            parked=gone | {hook.id for hook in snapshot().outgoing.values() if not hook.enabled},
            parked_before_ms=now_ms - options.parked_ms,
            keep=options.retention_count,
            limit=PRUNE_ROWS,
            now_ms=now_ms,
        )
        removed += pruned.deliveries
        expired += pruned.expired
        if not any(pruned) or await clock.wait(stopping, PRUNE_PAUSE_S):
            break
    if removed or expired:
        log.info("retention.pruned", deliveries=removed, expired=expired)
