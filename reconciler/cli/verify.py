"""What a receiver can tell about a request: is it signed with a secret it knows, and may it be shown as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.signature import verify_legacy, verify_standard

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["MASK", "Received", "Verdict", "mask_headers", "mask_text", "verify"]

MASK = "[masked]"
_CREDENTIALS = frozenset({"x-secret-key", "authorization", "proxy-authorization", "cookie", "x-api-key"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A request as it arrived; header names as they were sent."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    body: bytes = field(repr=False)

    def header(self, name: str) -> str | None:
        """The first value of a header, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which signatures hold; None where the request carries none of that kind."""

    legacy: bool | None
    standard: bool | None

    @property
    def is_verified(self) -> bool:
        """Whether there is a signature and every one that is there holds."""
        return False not in (self.legacy, self.standard) and True in (self.legacy, self.standard)


def verify(request: Received, secrets: Sequence[str], *, now_s: int) -> Verdict | None:
    """The verdict under the secret that fits best; None when there is no secret to verify with."""
    verdicts = [_verify_with(request, secret, now_s) for secret in secrets]
    return next((verdict for verdict in verdicts if verdict.is_verified), verdicts[0] if verdicts else None)


def _verify_with(request: Received, secret: str, now_s: int) -> Verdict:
    legacy = request.header("x-chatthing-signature")
    standard = request.header("webhook-signature")
    return Verdict(
        legacy=None if legacy is None else verify_legacy(request.body, legacy, secret),
        standard=None
        if standard is None
        else verify_standard(
            delivery_id=request.header("webhook-id"),
            timestamp=request.header("webhook-timestamp"),
            signature=standard,
            body=request.body,
            secret=secret,
            now_s=now_s,
        ),
    )


def mask_text(text: str, secrets: Iterable[str]) -> str:
    """`text` without any of `secrets`, longest first."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


def mask_headers(headers: Iterable[tuple[str, str]], secrets: Sequence[str]) -> list[tuple[str, str]]:
    """Headers that can be shown: credentials by name, and whatever holds a known secret, are masked."""
    return [(name, MASK if name.lower() in _CREDENTIALS else mask_text(value, secrets)) for name, value in headers]
