"""`reconcile serve`: find or make what the daemon stands on, and run it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
import uvloop

from reconciler.clock import SystemClock
from reconciler.daemon.listener import bind, raise_file_limit
from reconciler.daemon.process import Daemon, Ground
from reconciler.daemon.tokens import configured_tokens, made_token, require_safe_binding
from reconciler.delivery.egress import EgressGuard
from reconciler.delivery.sender import HttpSender
from reconciler.errors import ReconcilerError, UsageError
from reconciler.logs import configure_logs
from reconciler.metrics import Metrics
from reconciler.mint import SystemMint
from reconciler.model.backoff import longest_wait_ms
from reconciler.model.outcome import RETRY_AFTER_MS_MAX
from reconciler.model.resource import Kind
from reconciler.model.spec import canonical_webhook, retry_of
from reconciler.store.connect import companions, open_store
from reconciler.store.port import Access, Latest
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.daemon.options import ServeOptions
    from reconciler.store.port import Store

__all__ = ["serve"]

YOUNG_OBJECTS = 50_000
"""How many containers more than were freed call the collector of cycles: some 10 MB. What is in flight comes and goes
by the thousand and has no cycles; looking through it at Python's own 700 takes a twelfth of a busy daemon's time."""

log = structlog.get_logger(__name__)


def serve(options: ServeOptions) -> int:
    """Run the daemon until it is told to stop; the exit code. Raises what makes a start impossible."""
    configure_logs(level=options.log_level, format=options.log_format)
    raise_file_limit()
    gc.freeze()  # what was imported stays
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(options, os.environ))
    except BaseExceptionGroup as group:
        known, rest = group.split(ReconcilerError)
        if known is not None and rest is None:
            raise _first(known) from None
        raise


async def _serve(options: ServeOptions, environ: Mapping[str, str]) -> int:
    clock, mint = SystemClock(), SystemMint()
    tokens = configured_tokens(environ)
    require_safe_binding(options.host, tokens)
    metrics = Metrics()
    listener = bind(options.host, options.port)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listener.close)
        store = await open_store(options.store, Access.DAEMON, observer=metrics.committed)
        stack.push_async_callback(store.close)
        tokens = tokens or _embedded_token(options, mint)
        keyring = await _keyring(options, environ, store, mint)
        freed = await store.free_leases(latest=await _latest(store, clock.now_ms()))
        if freed:
            log.info("leases.freed", count=freed)
        sender = HttpSender(EgressGuard([ipaddress.ip_network(net, strict=False) for net in options.allow_targets]))
        stack.push_async_callback(sender.close)
        ground = Ground(
            options=options,
            environ=environ,
            store=store,
            keyring=keyring,
            sender=sender,
            clock=clock,
            mint=mint,
            metrics=metrics,
            tokens=tokens,
            owner=mint.hook_id(),
        )
        return await Daemon(ground).run(listener)


def _embedded_token(options: ServeOptions, mint: SystemMint) -> dict[str, str]:
    beside = companions(options.store)
    if beside is None:
        raise UsageError("this store has no place for a token file: set RECONCILER_ADMIN_TOKEN")
    token, made = made_token(beside.token, mint)
    if made:
        log.info("token.made", path=str(beside.token))
    return {"admin": token}


async def _keyring(options: ServeOptions, environ: Mapping[str, str], store: Store, mint: SystemMint) -> Keyring:
    """The keyring; the default file is made only while no secret is sealed under another key."""
    beside = companions(options.store)
    state = await store.read_state()
    keyring = Keyring.load(
        environ_value=environ.get("RECONCILER_KEY"),
        key_file=None if options.key_file is None else Path(options.key_file),
        beside=None if beside is None else beside.key,
        create=not any(resource.secret for resource in state.resources.values()),
        mint=mint,
    )
    if keyring.made is not None:
        log.info("key.made", path=str(keyring.made), advice="back it up: it opens the store's secrets")
    return keyring


async def _latest(store: Store, now_ms: int) -> list[Latest]:
    """When deliveries can be due at the latest: what is due later was written under a clock that was wrong."""
    latest = []
    for key, item in (await store.read_state()).resources.items():
        if key.kind is Kind.WEBHOOK and item.id is not None and "url" in item.spec:
            wait_ms = longest_wait_ms(retry_of(canonical_webhook(item.spec)))
            asked_ms = max(wait_ms, RETRY_AFTER_MS_MAX)
            latest.append(Latest(item.id, now_ms, now_ms + wait_ms, now_ms + asked_ms))
    return latest


def _first(group: BaseExceptionGroup[ReconcilerError]) -> ReconcilerError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
