"""A test request and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Trial"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a test request came to. `status` is None and `error` set when no complete answer came.

    `headers` and `body` are the receiver's; they, `url` and `message` are scrubbed of secrets. `unresolved` are the
    tokens that were sent literally.
    """

    address: str
    delivery_id: str
    method: str
    url: str
    status: int | None
    error: str | None
    message: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    duration_ms: int
    unresolved: tuple[str, ...]

    @property
    def is_success(self) -> bool:
        """Whether the receiver answered 2xx."""
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004 - the class of success
