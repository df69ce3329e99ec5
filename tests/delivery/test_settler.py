"""How outcomes get to the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler.delivery.attempt import Attempted
from reconciler.delivery.settler import Settler
from reconciler.model.delivery import Attempt, Claim, DeliveryStatus, Fence, Settlement
from reconciler.model.outcome import Decision

if TYPE_CHECKING:
    from collections.abc import Sequence


def outcome(delivery_id: str, claims: int) -> Attempted:
    """A success under the fence of so many claims."""
    fence = Fence(claims, "me")
    record = Attempt(number=1, round=1, started_ms=0, duration_ms=5, status=200)
    return Attempted(
        claim=Claim(
            delivery_id=delivery_id,
            hook_id="h",
            event_id="e",
            event_type="conversation.started",
            payload=b"{}",
            attempt=1,
            round=1,
            created_ms=0,
            fence=fence,
        ),
        decision=Decision(status=DeliveryStatus.DELIVERED, outcome="2xx"),
        settlement=Settlement(delivery_id=delivery_id, fence=fence, status=DeliveryStatus.DELIVERED, attempt=record),
        record=record,
    )


class Listening:
    """A store that only listens."""

    def __init__(self) -> None:
        self.calls: list[list[tuple[str, int]]] = []

    async def settle(self, settlements: Sequence[Settlement], *, now_ms: int) -> list[bool]:
        self.calls.append([(each.delivery_id, each.fence.claims) for each in settlements])
        return [True] * len(settlements)


def test_a_delivery_is_settled_once_a_call_even_when_it_came_twice(world: Any) -> None:
    """A worker that stood still can hold two outcomes of one delivery, the first under a lost lease."""

    async def go() -> None:
        clock, store, recorded = world().clock, Listening(), []
        anything: Any = store
        settler = Settler(
            store=anything,
            clock=clock,
            owner="me",
            recorded=lambda batch, kept: recorded.append((len(batch), len(kept))),
            recovered=lambda: None,
        )
        for delivery_id, claims in (("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2)):
            settler.settle(outcome(delivery_id, claims))
        task = asyncio.create_task(settler.run())
        settler.finish()
        await clock.advance(1)
        await task
        assert store.calls == [[("a", 1), ("b", 1)], [("a", 2), ("c", 1), ("b", 2)]]
        assert recorded == [(2, 2), (3, 3)]

    asyncio.run(go())
