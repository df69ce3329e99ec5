"""A sync that is asked for over HTTP, through the same guarded sender as deliveries.

The trigger's body goes along where the method carries one. Headers of ours name what is to be synced; those of the
configuration come first and win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

import reconciler
from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.encoding import quote_url
from reconciler.model.exchange import Request
from reconciler.model.rendering import path_start
from reconciler.sync.result import Failed, of_http

if TYPE_CHECKING:
    from reconciler.metrics import Metrics
    from reconciler.model.exchange import Sender
    from reconciler.model.hook import DataSource, HttpSync
    from reconciler.model.sync import SyncClaim
    from reconciler.sync.result import Result

__all__ = ["run_http"]

_BODILESS = frozenset({"GET", "HEAD", "DELETE"})


async def run_http(
    sync: HttpSync, source: DataSource, claim: SyncClaim, *, sender: Sender, metrics: Metrics | None = None
) -> Result:
    """Send the sync's one request and read its end from the answer."""
    try:
        reply = await sender.send(request_of(sync, source, claim))
    except EgressRefused as error:
        if metrics is not None:
            metrics.egress_refused("sync")
        return Failed(reason=error.message)
    except SendFailed as error:
        return Failed(reason=f"no answer from the sync's URL: {error.message}")
    return of_http(reply.status, reply.body)


def request_of(sync: HttpSync, source: DataSource, claim: SyncClaim) -> Request:
    """The request of a sync: what is configured, and the trigger's body."""
    body = b"" if sync.method in _BODILESS else claim.body
    given = {name.lower() for name, _ in sync.headers}
    own = {
        "User-Agent": f"webhook-reconciler/{reconciler.__version__}",
        "X-Reconciler-Bot": source.bot,
        "X-Reconciler-Data-Source": source.address.partition("/")[2],
        "X-Reconciler-Sync-Id": claim.sync_id,
    }
    if body:
        own["Content-Type"] = _content_type(body)
    headers = (*sync.headers, *((name, value) for name, value in own.items() if name.lower() not in given))
    return Request(
        method=sync.method, url=_well_formed(sync.url), headers=headers, body=body, timeout_ms=source.timeout_ms
    )


def _well_formed(url: str) -> str:
    """The URL with what a reference brought into its path or query percent-encoded where URLs cannot hold it."""
    at = path_start(url)
    return url if at is None else url[:at] + quote_url(url[at:])


def _content_type(body: bytes) -> str:
    """The trigger's body comes without its type; JSON is told from the rest by trying."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return "application/octet-stream"
    return "application/json"
