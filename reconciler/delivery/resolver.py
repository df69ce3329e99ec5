"""Names to addresses, without letting one slow name server hold up the others.

An event loop's own look-ups share a pool of a few threads; that many receivers whose name servers hang would stop
every delivery that needs a new connection. Here each look-up has a thread of its own, which is a daemon thread: a
look-up that hangs delays neither the others nor the end of the program.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LOOKUPS_MAX", "AddressInfo", "Resolver"]

LOOKUPS_MAX = 64
"""Look-ups at a time; all who want the same name at once share one."""
PLACE_S = 0.25
"""How long a look-up keeps its place among those. The system waits half a minute for a name server that hangs, longer
than any attempt; that is waited for without a place."""
THREADS_MAX = 1024
"""Look-ups in all, with a place and without: as many as attempts can be in flight."""
TTL_S = 10.0
"""How long an answer counts. The system's own resolver may keep it for longer."""
NAMES_KEPT = 4096

AddressInfo: TypeAlias = "tuple[int, int, int, str, tuple[Any, ...]]"
"""What `socket.getaddrinfo` tells of an address: family, type, protocol, canonical name, socket address."""
_Name: TypeAlias = "tuple[str, int]"
_Found: TypeAlias = "Sequence[AddressInfo] | OSError"


class Resolver:
    """Asks the system, one thread a look-up. Numeric results only; every address the name has, in its order."""

    def __init__(self, lookup: Callable[..., Sequence[AddressInfo]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._known: dict[_Name, tuple[float, Sequence[AddressInfo]]] = {}
        self._asked: dict[_Name, asyncio.Future[_Found]] = {}
        self._waiting: deque[_Name] = deque()
        self._places: dict[_Name, asyncio.TimerHandle] = {}

    async def resolve(self, host: str, port: int) -> Sequence[AddressInfo]:
        """The addresses of `host`. Raises OSError where it has none."""
        name = (host, port)
        loop = asyncio.get_running_loop()
        until_s, addresses = self._known.get(name, (0.0, ()))
        if loop.time() < until_s:
            return addresses
        answer = self._asked.get(name)
        if answer is None:
            answer = self._asked[name] = loop.create_future()
            self._waiting.append(name)
            self._start_lookups(loop)
        found = await asyncio.shield(answer)  # others may wait for it, too
        if isinstance(found, OSError):
            raise found
        return found

    def forget(self) -> None:
        """Ask again next time."""
        self._known.clear()

    def _start_lookups(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._waiting and len(self._places) < LOOKUPS_MAX:
            if len(self._asked) - len(self._waiting) >= THREADS_MAX:
                return
            name = self._waiting.popleft()
            self._places[name] = loop.call_later(PLACE_S, self._leave_place, loop, name)
            thread = threading.Thread(target=self._ask, args=(loop, name), name=f"lookup-{name[0]}"[:64], daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system has no more threads for us; the next who asks may have one
                loop.call_soon(self._answered, loop, name, OSError(errno.EAGAIN, "no thread"))

    def _ask(self, loop: asyncio.AbstractEventLoop, name: _Name) -> None:
        """In a thread: look up, and tell the loop."""
        found: _Found
        try:
            found = [
                each
                for each in self._lookup(*name, socket.AF_UNSPEC, socket.SOCK_STREAM)
                if each[0] in (socket.AF_INET, socket.AF_INET6)
            ]
        except OSError as error:
            found = error
        except ValueError as error:  # a name that cannot be a host name: an empty label, one of 64 characters
            found = socket.gaierror(socket.EAI_NONAME, f"not a host name ({error.__class__.__name__})")
        try:
            loop.call_soon_threadsafe(self._answered, loop, name, found)
        except RuntimeError:
            return  # the loop has closed; nobody is waiting any more

    def _leave_place(self, loop: asyncio.AbstractEventLoop, name: _Name) -> None:
        """The look-up has ended, or hangs: let another begin."""
        timer = self._places.pop(name, None)
        if timer is not None:
            timer.cancel()
        self._start_lookups(loop)

    def _answered(self, loop: asyncio.AbstractEventLoop, name: _Name, found: _Found) -> None:
        if not isinstance(found, OSError):
            if len(self._known) >= NAMES_KEPT:
                del self._known[next(iter(self._known))]
            self._known[name] = (loop.time() + TTL_S, found)
        answer = self._asked.pop(name)
        self._leave_place(loop, name)
        if not answer.done():
            answer.set_result(found)
