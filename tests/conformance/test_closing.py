"""Closing finishes what was asked and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import StoreUnavailable

if TYPE_CHECKING:
    from reconciler.store.port import Store


async def test_what_was_asked_before_closing_is_done(store: Store, given: Any) -> None:
    """Closing waits for the operations that were under way."""
    tasks = [asyncio.ensure_future(store.accept([given.event(f"e{n}", "h")], serial=0)) for n in range(20)]
    await asyncio.sleep(0)  # noqa: TID251 - lets the tasks ask
    await store.close()
    answers = await asyncio.gather(*tasks)
    assert all(answer.deliveries == 1 for (answer,) in answers)


async def test_a_closed_store_refuses_and_can_be_closed_again(store: Store, given: Any) -> None:
    """Every verb says so; closing twice does nothing."""
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.accept([given.event("e", "h")], serial=0)
    with pytest.raises(StoreUnavailable):
        await store.read_state()


async def test_closing_leaks_nothing(harness: Any, given: Any) -> None:
    """No thread and no file descriptor outlives the store."""

    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    store = await harness.open()
    await store.close()
    before = held()
    for _ in range(3):
        async with await harness.open() as again:
            await again.accept([given.event("e", "h")], serial=0)
            await asyncio.gather(*(again.stats() for _ in range(8)))
    assert held() == before
