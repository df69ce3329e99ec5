"""Telling that files may have changed: inotify through watchdog where it works, and a poll that always does.

inotify misses bind mounts, network file systems and the symlink swap of a mounted ConfigMap; the caller therefore
asks for the files' digest after every wake-up, and wakes at least every `POLL_S` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog
from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from watchdog.observers.api import BaseObserver

    from reconciler.clock import Clock

__all__ = ["POLL_S", "FileWatch"]

POLL_S = 5.0
QUIET_S = 0.25
"""Changes come in bursts (an editor's rename-over, a `git pull`); act once they have paused for this long …"""
QUIET_MAX_S = 2.0
"""… or gone on for this long."""

_READS = frozenset({"opened", "closed_no_write"})

log = structlog.get_logger(__name__)


class _Touch(FileSystemEventHandler):
    """Sets an asyncio event from watchdog's thread, for everything but reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop, touched: asyncio.Event) -> None:
        self._loop = loop
        self._touched = touched

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in _READS:
            with contextlib.suppress(RuntimeError):  # the loop has closed; nobody is waiting any more
                self._loop.call_soon_threadsafe(self._touched.set)


class FileWatch:
    """Wakes its caller when files below `paths` may have changed. Use as a context manager, within a loop."""

    def __init__(self, paths: Sequence[str], clock: Clock) -> None:
        self._paths = paths
        self._clock = clock
        self._touched = asyncio.Event()
        self._observer: BaseObserver | None = None

    def __enter__(self) -> Self:
        handler = _Touch(asyncio.get_running_loop(), self._touched)
        observer = Observer()
        try:
            for folder, recursive in _folders(self._paths):
                observer.schedule(handler, folder, recursive=recursive)
            observer.start()
        except OSError as error:  # the instance limit of inotify, a folder that is not there yet
            log.warning("watching.degraded", reason=str(error), poll_s=POLL_S)
            return self
        self._observer = observer
        return self

    def __exit__(self, *_: object) -> None:
        if self._observer is not None:
            self._observer.stop()
            self._observer.join(timeout=QUIET_MAX_S)

    @property
    def is_alive(self) -> bool:
        """Whether inotify still tells; without it the poll goes on alone."""
        return self._observer is not None and self._observer.is_alive()

    def touch(self) -> None:
        """Wake the waiter as if a file had changed."""
        self._touched.set()

    async def changed(self) -> None:
        """Return after a burst of changes has paused, or when it is time to poll."""
        if not await self._clock.wait(self._touched, POLL_S):
            return
        deadline_s = self._clock.monotonic_s() + QUIET_MAX_S
        while self._touched.is_set() and self._clock.monotonic_s() < deadline_s:
            self._touched.clear()
            await self._clock.wait(self._touched, QUIET_S)
        self._touched.clear()


def _folders(paths: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The folders to watch: a folder with all below it, a file through its parent (renames replace the file)."""
    wanted: dict[str, bool] = {}
    for path in map(Path, paths):
        ends = {path.absolute(), path.resolve()}
        for end in ends:
            folder, recursive = (end, True) if end.is_dir() else (end.parent, False)
            wanted[str(folder)] = wanted.get(str(folder), False) or recursive
    yield from sorted(wanted.items())
