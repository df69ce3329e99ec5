"""The listening socket and the HTTP server behind it, with the bounds on what clients may hold."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
from typing import TYPE_CHECKING

import uvicorn

from reconciler.errors import UsageError
from reconciler.web.protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

__all__ = ["bind", "http_server", "raise_file_limit", "url_of"]

KEEP_ALIVE_S = 75
CONNECTIONS_MAX = 4096
BACKLOG = 2048
FILES_WANTED = 65_536


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens, so that callers queue from now on; UsageError where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"cannot listen on {host}:{port}: {_reason(error)}; choose another --host or --port"
        ) from error
    listener.setblocking(False)
    return listener


def _reason(error: OSError | OverflowError) -> str:
    """Why in the system's words; of a name that is not found, in the resolver's, whose numbers are negative."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno) if error.errno > 0 else error.strerror or "no such address"
    return str(error)


def url_of(listener: socket.socket) -> str:
    """The address under which this machine reaches the socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every connection in and out is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES_WANTED if hard == resource.RLIM_INFINITY else min(FILES_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def http_server(app: ASGIApp) -> uvicorn.Server:
    """The server for `app`; setting its `should_exit` stops it."""
    config = uvicorn.Config(
        app,
        loop="none",
        http=BoundedProtocol,
        ws="none",
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        limit_concurrency=CONNECTIONS_MAX,
        backlog=BACKLOG,
        timeout_graceful_shutdown=5,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: this program has one way to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
