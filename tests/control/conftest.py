"""A reconciler at hand: a store in memory and a way to apply bots to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.control.reconcile import Allowance, Applied, apply, plan_against
from reconciler.model.resource import Key, Kind
from reconciler.store.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from reconciler.mint import Mint
    from reconciler.model.resource import Desired, Resource, State
    from reconciler.plan.plan import Plan
    from reconciler.store.seal import Keyring


@dataclass(slots=True, kw_only=True)
class Bench:
    """Applies bots, as `declare` takes them, to one store."""

    declare: Callable[..., Desired]
    keyring: Keyring
    mint: Mint
    store: MemoryStore = field(default_factory=MemoryStore)
    now_ms: int = 1_000_000

    def apply(self, bots: Mapping[str, Any], *, allow: Allowance | None = None, **more: Any) -> Applied:
        """Apply and tell what came of it."""
        desired = self.declare(bots)
        return asyncio.run(
            apply(
                self.store,
                desired,
                keyring=self.keyring,
                mint=self.mint,
                now_ms=self.now_ms,
                allow=allow or Allowance(),
                **more,
            )
        )

    def plan(self, bots: Mapping[str, Any]) -> Plan:
        """Plan only."""
        return asyncio.run(plan_against(self.store, self.declare(bots), now_ms=self.now_ms))

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run something asynchronous to its end."""
        return asyncio.run(work)

    @property
    def state(self) -> State:
        """The state as it is stored."""
        return asyncio.run(self.store.read_state())

    def hook(self, address: str) -> Resource:
        """An applied webhook."""
        return self.state.resources[Key(Kind.WEBHOOK, address)]


@pytest.fixture
def bench(declare: Callable[..., Desired], keyring: Keyring, mint: Mint) -> Bench:
    """An empty store to apply to."""
    return Bench(declare=declare, keyring=keyring, mint=mint)
