"""The one ASGI application: the two hot paths by hand, everything else by a router."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from starlette.routing import Route, Router

from reconciler.web import ingest, trigger
from reconciler.web.access import Access, Scope
from reconciler.web.answers import NOT_FOUND, UNAVAILABLE, send_answer
from reconciler.web.configuration import FILES_BYTES_MAX, Configuration
from reconciler.web.deliveries import Deliveries
from reconciler.web.endpoint import Endpoint
from reconciler.web.health import Health
from reconciler.web.hooks import Hooks
from reconciler.web.openapi import OpenApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as AsgiScope

    from reconciler.web.direct import DirectRequest
    from reconciler.web.services import Services

__all__ = ["build_app", "routes"]

API = "/api/v1"

_EVENTS, _PUBLIC = ingest.PATH.encode("ascii"), trigger.PREFIX.encode("ascii")

log = structlog.get_logger(__name__)


def build_app(services: Services) -> ASGIApp:
    """The application that answers for `services`."""
    return _App(services)


class _App:
    """Dispatch by path. Every endpoint answers for its own exceptions; none of them gets as far as this."""

    def __init__(self, services: Services) -> None:
        access = Access(services.tokens)
        self._ingest = ingest.Ingest(services, access)
        self._trigger = trigger.Trigger(services)
        self._router = Router(routes(services, access), redirect_slashes=False, default=_not_found)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _decline(scope, receive, send)
            return
        path: str = scope["path"]
        endpoint: ASGIApp
        if path == ingest.PATH:
            endpoint = self._ingest
        elif path.startswith(trigger.PREFIX):
            endpoint = self._trigger
        else:
            endpoint = self._router
        try:
            await endpoint(scope, receive, send)
        except asyncio.CancelledError:
            # The server stops and its patience has ended: whoever waits shall come back. What is stored stays so.
            log.warning("request.cut-off")
            await send_answer(send, UNAVAILABLE)

    def direct(self, path: bytes) -> Callable[[DirectRequest], None] | None:
        """Who takes requests with this path past ASGI (`web.protocol`): the two hot ones."""
        if path == _EVENTS:
            return self._ingest.take
        return self._trigger.take if path.startswith(_PUBLIC) else None


def routes(services: Services, access: Access) -> list[Route]:
    """Every path but the two hot ones, with the scope its token needs."""
    hooks, deliveries = Hooks(services), Deliveries(services)
    configuration, health = Configuration(services), Health(services)
    read, admin = Scope.READ, Scope.ADMIN
    one_hook, one_delivery = f"{API}/hooks/{{bot}}/{{hook}}", f"{API}/deliveries/{{id}}"
    files = FILES_BYTES_MAX
    table: list[tuple[str, Endpoint]] = [
        ("/healthz", Endpoint(access, None, "GET", health.healthz)),
        ("/readyz", Endpoint(access, None, "GET", health.readyz)),
        ("/metrics", Endpoint(access, None, "GET", health.metrics)),
        ("/-/reload", Endpoint(access, admin, "POST", configuration.reload)),
        (f"{API}/openapi.json", Endpoint(access, read, "GET", OpenApi().document)),
        (f"{API}/status", Endpoint(access, read, "GET", configuration.status)),
        (f"{API}/plan", Endpoint(access, read, "POST", configuration.plan, body_bytes_max=files)),
        (f"{API}/apply", Endpoint(access, admin, "POST", configuration.apply, body_bytes_max=files)),
        (f"{API}/hooks", Endpoint(access, read, "GET", hooks.list)),
        (one_hook, Endpoint(access, read, "GET", hooks.show)),
        (f"{one_hook}/test", Endpoint(access, admin, "POST", hooks.test)),
        (f"{one_hook}/rotate", Endpoint(access, admin, "POST", hooks.rotate)),
        (f"{API}/deliveries", Endpoint(access, read, "GET", deliveries.list)),
        (f"{API}/deliveries/retry", Endpoint(access, admin, "POST", deliveries.retry_many)),
        (one_delivery, Endpoint(access, read, "GET", deliveries.show)),
        (f"{one_delivery}/retry", Endpoint(access, admin, "POST", deliveries.retry)),
    ]
    return [Route(path, endpoint) for path, endpoint in table]


async def _not_found(_scope: AsgiScope, _receive: Receive, send: Send) -> None:
    await send_answer(send, NOT_FOUND)


async def _decline(scope: AsgiScope, receive: Receive, send: Send) -> None:
    """Lifespan has nothing to do here, and there are no websockets."""
    if scope["type"] != "lifespan":
        await send({"type": "websocket.close"})
        return
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
