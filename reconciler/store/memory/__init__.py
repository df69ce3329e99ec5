"""The store as a readable model: what every verb means, in plain Python. For tests and for `memory:`."""

from reconciler.store.memory.contents import Contents
from reconciler.store.memory.store import MemoryStore

__all__ = ["Contents", "MemoryStore"]
