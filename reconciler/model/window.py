"""How many attempts one webhook may have in flight, as its receiver bears it."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Window"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A webhook's concurrency: halved when its receiver times out, up by one for each window of answers.

    `limit` is the configured most. `size` is a fraction so that it can grow by `1 / size` an answer.
    """

    limit: int
    size: float
    shrunk_ms: int = -1

    @classmethod
    def of(cls, limit: int) -> Window:
        """A full window."""
        return cls(limit=limit, size=float(limit))

    @property
    def room(self) -> int:
        """How many attempts may be in flight."""
        return max(1, min(self.limit, int(self.size)))

    @property
    def is_full(self) -> bool:
        """Whether nothing holds it below its limit."""
        return self.size >= self.limit

    def after_answer(self) -> Window:
        """The receiver has answered in time, whatever it said."""
        if self.is_full:
            return self
        return replace(self, size=min(float(self.limit), self.size + 1 / self.size))

    def after_timeout(self, *, started_ms: int, now_ms: int) -> Window:
        """An attempt has timed out. What had started before the last halving is late news: it counts once."""
        if started_ms <= self.shrunk_ms:
            return self
        return replace(self, size=max(1.0, self.size / 2), shrunk_ms=now_ms)

    def with_limit(self, limit: int) -> Window:
        """The window under a changed configuration."""
        return self if limit == self.limit else replace(self, limit=limit, size=min(self.size, float(limit)))
