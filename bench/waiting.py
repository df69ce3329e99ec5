"""Deliveries that wait already when the daemon starts, put into its store through the store's own door."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from typing import TYPE_CHECKING

from end_to_end import TOKEN, reconcile
from wire import event

from reconciler.mint import SystemMint
from reconciler.model.delivery import NewDelivery, NewEvent
from reconciler.model.resource import Kind
from reconciler.store.connect import open_store
from reconciler.store.port import Access

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reconciler.store.port import Store

__all__ = ["apply", "fill", "store_url"]

TOGETHER = 1_000
"""Events a transaction, as the largest post has."""


def store_url(folder: Path) -> str:
    """Where a daemon that runs in `folder` keeps its store."""
    return f"sqlite:{folder}/state/reconciler.db"


def apply(folder: Path, configuration: str) -> None:
    """Apply a configuration in a new folder, without a daemon."""
    folder.mkdir(exist_ok=True)
    (folder / "hooks.yaml").write_text(configuration, encoding="utf-8")
    subprocess.run(
        [str(reconcile()), "--yes"],
        cwd=folder,
        env=os.environ | {"RECONCILER_ADMIN_TOKEN": TOKEN},
        check=True,
        capture_output=True,
    )


def fill(folder: Path, waiting: Mapping[str, int]) -> float:
    """Make so many deliveries wait for each webhook, by address, in turns; the seconds that it took."""
    started_s = time.monotonic()
    asyncio.run(_fill(folder, dict(waiting)))
    return time.monotonic() - started_s


async def _fill(folder: Path, waiting: dict[str, int]) -> None:
    async with await open_store(store_url(folder), Access.DAEMON) as store:
        hooks = await _hook_ids(store)
        _, serial = await store.read_serial()
        mint, made = SystemMint(), 0
        now_ms = time.time_ns() // 1_000_000  # noqa: TID251 - a measurement reads the clock
        batch: list[NewEvent] = []
        while any(waiting.values()):
            for address in [address for address, left in waiting.items() if left]:
                waiting[address] -= 1
                head, tail = event(int(address.partition("/")[0].removeprefix("bot-")))
                batch.append(
                    NewEvent(
                        id=mint.new_id(now_ms),
                        type="conversation.started",
                        payload=head + b"%08d" % made + tail,
                        received_ms=now_ms,
                        deliveries=(NewDelivery(mint.new_id(now_ms), hooks[address]),),
                    )
                )
                made += 1
                if len(batch) == TOGETHER:
                    await store.accept(batch, serial=serial)
                    batch = []
        await store.accept(batch, serial=serial)


async def _hook_ids(store: Store) -> dict[str, str]:
    state = await store.read_state()
    return {
        key.address: resource.id
        for key, resource in state.resources.items()
        if key.kind is Kind.WEBHOOK and resource.id is not None
    }
