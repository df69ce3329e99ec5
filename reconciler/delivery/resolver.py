"""Names to addresses, without letting one slow name server hold up the others.

An event loop's own look-ups share a pool of a few threads; that many receivers whose name servers hang would stop
every delivery that needs a new connection. Here each look-up has a thread of its own, which is a daemon thread: a
look-up that hangs delays neither the others nor the end of the program.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import TYPE_CHECKING, Any

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LOOKUPS_MAX", "ThreadResolver"]

LOOKUPS_MAX = 64
"""Look-ups at a time. The connector makes one for all requests that want the same name at once."""

_Found = list[tuple[str, int, socket.AddressFamily]]


class ThreadResolver(AbstractResolver):
    """Asks the system, one thread a look-up. Numeric results only; every address the name has, in its order."""

    def __init__(self, lookup: Callable[..., list[tuple[Any, ...]]] = socket.getaddrinfo) -> None:
        self._lookup = lookup
        self._room = asyncio.Semaphore(LOOKUPS_MAX)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        async with self._room:
            found = await self._in_thread(host, port, family)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)
            for address, port, family in found
        ]

    async def close(self) -> None:
        """Nothing is held: a look-up under way ends by itself, unheard."""

    async def _in_thread(self, host: str, port: int, family: socket.AddressFamily) -> _Found:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[_Found] = loop.create_future()

        def tell(found: _Found | OSError) -> None:
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: _Found | OSError
            try:
                found = [
                    (str(address[0]), int(address[1]), socket.AddressFamily(kind))
                    for kind, _, _, _, address in self._lookup(host, port, family, socket.SOCK_STREAM)
                    if kind in (socket.AF_INET, socket.AF_INET6)
                ]
            except OSError as error:
                found = error
            except ValueError as error:  # a name that cannot be a host name: an empty label, one of 64 characters
                found = socket.gaierror(socket.EAI_NONAME, f"not a host name ({error.__class__.__name__})")
            try:
                loop.call_soon_threadsafe(tell, found)
            except RuntimeError:
                return  # the loop has closed; nobody is waiting any more

        threading.Thread(target=ask, name=f"lookup-{host}"[:64], daemon=True).start()
        return await answer
