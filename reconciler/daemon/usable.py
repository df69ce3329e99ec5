"""Whether the store can be used, found out by using it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from reconciler.errors import ReconcilerError

if TYPE_CHECKING:
    from reconciler.clock import Clock
    from reconciler.store.port import Store

__all__ = ["USED_NOTE", "StoreCheck"]

USED_NOTE = "used"
FRESH_S = 5.0
"""How long a verdict holds: anybody may ask, and finding out costs a commit."""
PATIENCE_S = 2.0
"""How long a check may take before it counts as failed; below the time-out of a probe."""

UNREAD = "the store does not answer"
UNWRITTEN = "the store cannot be written"

log = structlog.get_logger(__name__)


class StoreCheck:
    """Reads, and writes a note: so a full disk shows before the next event is refused."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._found: str | None = None
        self._checked_s: float | None = None
        self._began_s: float | None = None

    async def trouble(self) -> str | None:
        """What keeps the store from being used, in words fit for anybody; None while nothing does."""
        now_s = self._clock.monotonic_s()
        if self._began_s is not None:  # somebody else is at it
            return UNREAD if now_s - self._began_s > PATIENCE_S else self._found
        if self._checked_s is not None and now_s - self._checked_s < FRESH_S:
            return self._found
        self._began_s = now_s
        try:
            self._found = await self._use()
        finally:
            self._began_s = None
            self._checked_s = self._clock.monotonic_s()
        return self._found

    async def _use(self) -> str | None:
        found: str | None = UNREAD
        try:
            await self._store.read_serial()
            found = UNWRITTEN
            await self._store.write_note(USED_NOTE, str(self._clock.now_ms()))
        except ReconcilerError as error:
            if found != self._found:
                log.warning("store.unavailable", code=error.code, reason=error.message)
            return found
        return None
