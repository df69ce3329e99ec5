"""The service manager that started this process, if one did: systemd's notify protocol, which is a datagram socket.

`READY=1` once deliveries flow, `STOPPING=1` when they are being drained, `WATCHDOG=1` as long as the event loop
turns. Whoever started the process some other way left no address, and nothing is sent.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from reconciler.clock import Clock

__all__ = ["Supervisor"]

_MICROSECONDS = 1_000_000

log = structlog.get_logger(__name__)


class Supervisor:
    """Tells the service manager how things stand. No failure to tell it stops anything."""

    def __init__(self, environ: Mapping[str, str], *, pid: int) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self.watchdog_s = _watchdog_s(environ, pid) if self._address else None

    def ready(self, status: str) -> None:
        """Everything runs."""
        self._tell("READY=1", f"STATUS={status}")

    def stopping(self, status: str) -> None:
        """The end has begun."""
        self._tell("STOPPING=1", f"STATUS={status}")

    async def keep_awake(self, clock: Clock, stopping: asyncio.Event) -> None:
        """Say twice in each of the watchdog's periods that the event loop turns, until `stopping` is set."""
        if self.watchdog_s is not None:
            while not await clock.wait(stopping, self.watchdog_s / 2):
                self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in Linux's abstract namespace, where it begins with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.sendto("\n".join(lines).encode(), address)
        except OSError as error:
            log.warning("supervisor.not-told", message=lines[0], reason=error.strerror)


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """The watchdog's period, if there is one and it is this process's."""
    period, of = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(pid))
    return int(period) / _MICROSECONDS if period.isdigit() and int(period) and of == str(pid) else None
