"""A sync's life, and what the store is told of it.

::

    waiting ──claim──▶ running ──finish──▶ (gone; its event is accepted in the same transaction)
       ▲                  │
       └── release / lease expiry (a waiting one that arrived meanwhile absorbs it)

At most one sync of a data source runs and at most one waits; a trigger that arrives while one waits joins it and
its body replaces the waiting one's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from reconciler.model.delivery import Fence

__all__ = ["NewSync", "SyncClaim", "SyncTicket"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSync:
    """A trigger's call. `data_source` is an address, `hook_id` the trigger's, `body` at most 1 MiB.

    `calls` is how many calls of that trigger it stands for: those that came together are stored together.
    """

    id: str
    data_source: str
    hook_id: str
    requested_ms: int
    body: bytes = field(repr=False)
    calls: int = 1


class SyncTicket(NamedTuple):
    """What a trigger's call came to: the id of the sync that will run for it, and whether it joined one."""

    sync_id: str
    joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncClaim:
    """A sync that this worker may run until its lease ends."""

    sync_id: str
    data_source: str
    requested_ms: int
    body: bytes = field(repr=False)
    fence: Fence
