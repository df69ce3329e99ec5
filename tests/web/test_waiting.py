"""Which of what waits is overdue."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.store.port import HookReadiness
from reconciler.web.waiting import oldest_due_ms

if TYPE_CHECKING:
    from collections.abc import Callable


def test_parked_deliveries_are_not_overdue(web: Callable[..., None]) -> None:
    """What waits for a disabled, a gone or a deleted hook waits where it should; the rest counts, in both lanes."""

    async def body(web: Any) -> None:
        snapshot = web.services.snapshot
        enabled, gone, disabled = (
            snapshot.addresses[f"support/{name}"].id for name in ("new-chat", "new-chat-too", "silent")
        )
        ready = [
            HookReadiness(enabled, 500, 400),
            HookReadiness(gone, 1, None),
            HookReadiness(disabled, None, 2),
            HookReadiness("deleted", 3, 3),
        ]
        assert oldest_due_ms(ready, snapshot, {gone}) == 400
        assert oldest_due_ms(ready, snapshot, ()) == 1
        assert oldest_due_ms(ready[1:], snapshot, {gone}) is None
        assert oldest_due_ms([], replace(snapshot, outgoing={}), ()) is None

    web(body)
