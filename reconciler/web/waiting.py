"""How long deliveries have been waiting that should not be: a parked hook's are where they belong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from reconciler.model.snapshot import Snapshot
    from reconciler.store.port import HookReadiness

__all__ = ["oldest_due_ms"]


def oldest_due_ms(ready: Iterable[HookReadiness], snapshot: Snapshot, gone: Collection[str]) -> int | None:
    """The earliest due time of a delivery whose hook is enabled and not gone; None where nothing waits."""
    due = [
        due_ms
        for hook_id, first_ms, retry_ms in ready
        if hook_id not in gone and (hook := snapshot.outgoing.get(hook_id)) is not None and hook.enabled
        for due_ms in (first_ms, retry_ms)
        if due_ms is not None
    ]
    return min(due, default=None)
