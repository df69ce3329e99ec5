"""One immutable view of the applied state, indexed for the daemon's questions. Swapped whole, never edited."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.hook import DataSource, EventType, OutgoingHook, TriggerHook

__all__ = ["Bot", "Snapshot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bot:
    """A bot with what hangs on it. `hooks` are its outgoing webhooks by event type, disabled ones included."""

    handle: str
    id: str
    name: str
    data_sources: Mapping[str, DataSource]
    hooks: Mapping[EventType, tuple[OutgoingHook, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What the daemon serves. `generation` counts swaps in this process, `serial` is the state's.

    `bots_by_name` holds a tuple because names need not be unique. `notify` is the webhook that hears notices; it is
    among `outgoing` too, but hangs on no bot.
    """

    generation: int
    lineage: str | None
    serial: int
    bots: Mapping[str, Bot] = field(default_factory=dict)
    bots_by_id: Mapping[str, Bot] = field(default_factory=dict)
    bots_by_name: Mapping[str, tuple[Bot, ...]] = field(default_factory=dict)
    outgoing: Mapping[str, OutgoingHook] = field(default_factory=dict)
    triggers: Mapping[str, TriggerHook] = field(default_factory=dict)
    data_sources: Mapping[str, DataSource] = field(default_factory=dict)
    addresses: Mapping[str, OutgoingHook | TriggerHook] = field(default_factory=dict)
    notify: OutgoingHook | None = None
