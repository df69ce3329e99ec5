"""A receiver that accepts every connection, reads whatever comes, and never answers."""

from __future__ import annotations

import asyncio
import sys

import uvloop
from wire import tell


class Silence(asyncio.Protocol):
    """One connection, which is left open."""


async def main() -> None:
    """Be silent until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Silence, "127.0.0.1", 0, backlog=1024)
    tell({"port": server.sockets[0].getsockname()[1]})
    await loop.run_in_executor(None, sys.stdin.readline)


if __name__ == "__main__":
    uvloop.run(main())
