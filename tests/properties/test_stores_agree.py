"""Reconciling comes to the same on every store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.control.export import export_state
from reconciler.control.reconcile import Allowance, apply
from reconciler.control.rotate import rotate
from reconciler.store.connect import open_store
from reconciler.store.memory import MemoryStore
from reconciler.store.port import Access
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.model.resource import Desired
    from reconciler.store.port import Store

HANDLES = ["p", "q", "r"]
HOOKS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["conversation.started", "conversation.claimed"]),
        "url": st.just("https://x.example.com"),
    },
    optional={"moved_from": st.sampled_from(HANDLES), "secret_version": st.integers(1, 2), "enabled": st.booleans()},
)
BOTS = st.fixed_dictionaries(
    {"webhooks": st.dictionaries(st.sampled_from(HANDLES), HOOKS)},
    optional={"moved_from": st.sampled_from(["a", "b"]), "data_sources": st.just({"d": {}})},
)
CONFIGURATIONS = st.dictionaries(st.sampled_from(["a", "b"]), BOTS)
EVERYTHING = Allowance(addresses=frozenset(f"{bot}/{hook}" for bot in "ab" for hook in "pqr"), all=True)


@settings(max_examples=25, deadline=None)
@given(steps=st.lists(CONFIGURATIONS, min_size=1, max_size=4))
def test_memory_and_sqlite_hold_the_same_state(
    steps: list[Any], declare: Callable[..., Desired], new_mint: Any, tmp_path_factory: Any
) -> None:
    """After any sequence of applies, with renames in chains and swaps, and a rotation: the same rows, id by id."""

    async def run(store: Store) -> list[bytes]:
        mint = new_mint()
        keyring = Keyring([b"k" * 32], mint=mint)
        exports = []
        for number, bots in enumerate(steps):
            desired = declare(bots)
            await apply(store, desired, keyring=keyring, mint=mint, now_ms=number, allow=EVERYTHING)
            exports.append(export_state(await store.read_state()))
        hooks = [key.address for key, resource in (await store.read_state()).resources.items() if resource.id]
        if hooks:
            await rotate(store, hooks[0], keyring=keyring, mint=mint, now_ms=99)
            exports.append(export_state(await store.read_state()))
        await store.close()
        return exports

    async def both(folder: Path) -> None:
        sqlite = await open_store(f"sqlite:{folder}/reconciler.db", Access.WRITE)
        assert await run(MemoryStore()) == await run(sqlite)

    asyncio.run(both(tmp_path_factory.mktemp("stores")))
