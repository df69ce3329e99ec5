"""Folding the log back into the database, beside the writer instead of in its way.

A checkpoint of the whole log writes and syncs for tens of milliseconds. So most of it is done on a thread with a
connection of its own while the writer goes on; the writer then folds in the little that was added meanwhile, after
which SQLite starts the log anew. Without that last step a log that is always written to would only grow.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import apsw

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Checkpointer"]

_PAGES: Final = 4_000
"""The length of the log, 16 MB, from which it is folded in."""


class Checkpointer:
    """Watches the writer's log. `connect` opens a connection that may write. Used by the writer's thread."""

    def __init__(self, writer: apsw.Connection, connect: Callable[[], apsw.Connection]) -> None:
        self._writer = writer
        self._connect = connect
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-checkpoint")
        self._running: Future[None] | None = None
        self._pages = 0
        self._next = _PAGES
        self.failures = 0
        writer.set_wal_hook(self._committed)

    def _committed(self, _connection: apsw.Connection, _schema: str, pages: int) -> int:
        """SQLite's report after each commit: the length of the log."""
        self._pages = pages
        return apsw.SQLITE_OK

    def step(self) -> None:
        """Between two transactions: start a checkpoint, or finish one."""
        if self._running is None:
            if self._pages >= self._next:
                self._running = self._thread.submit(self._fold)
        elif self._running.done():
            error = self._running.exception()
            self._running = None
            if error is None:
                self._finish()
            else:
                self._put_off()

    def _fold(self) -> None:
        connection = self._connect()
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        finally:
            connection.close()

    def _finish(self) -> None:
        try:
            length, folded = self._writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        except apsw.Error:
            self._put_off()
            return
        # A reader of an old moment keeps the rest of the log needed: look again when it has grown as much again.
        self._next = _PAGES if folded >= length else length + _PAGES

    def _put_off(self) -> None:
        """Nothing is lost by a checkpoint that fails; the log goes on growing until one succeeds."""
        self.failures += 1
        self._next = self._pages + _PAGES

    def close(self) -> None:
        """Wait for what is running."""
        self._thread.shutdown()
