"""The only code that draws chance: ids, secrets, keys and jitter."""

from __future__ import annotations

import base64
import os
import random  # noqa: TID251 - the one importer; jitter needs no secrecy
from typing import Protocol

__all__ = ["Mint", "SystemMint"]

_ENDINGS = 128
"""Two ids an event: asking the system once for many saves a call each."""


class Mint(Protocol):
    """New ids, new secrets and jitter. Tests use a seeded one."""

    def new_id(self, now_ms: int) -> str:
        """A UUID of version 7 (RFC 9562): ordered by time, so that index pages fill in order."""
        ...

    def hook_id(self) -> str:
        """A UUID of version 4: a webhook's id stands in a public URL and tells nothing of its age."""
        ...

    def trigger_secret(self) -> str:
        """32 hexadecimal characters, 128 bits."""
        ...

    def signing_secret(self) -> str:
        """`whsec_` and the base64 of 32 random bytes, as Standard Webhooks asks."""
        ...

    def bytes(self, count: int) -> bytes:
        """`count` bytes fit for keys, salts and nonces."""
        ...

    def jitter(self) -> float:
        """A number in [0, 1), for spreading retries."""
        ...


class SystemMint:
    """Chance from the operating system."""

    __slots__ = ("_beginning", "_beginning_ms", "_endings")

    def __init__(self) -> None:
        self._beginning = ""
        self._beginning_ms = -1
        self._endings: list[str] = []

    def new_id(self, now_ms: int) -> str:
        if now_ms != self._beginning_ms:
            digits = f"{now_ms & 0xFFFF_FFFF_FFFF:012x}"
            self._beginning, self._beginning_ms = f"{digits[:8]}-{digits[8:]}-7", now_ms
        if not self._endings:
            drawn = os.urandom(16 * _ENDINGS).hex()  # noqa: TID251 - the one reader
            self._endings = [_ending(drawn[at : at + 32]) for at in range(0, 32 * _ENDINGS, 32)]
        return self._beginning + self._endings.pop()

    def hook_id(self) -> str:
        digits = os.urandom(16).hex()  # noqa: TID251 - the one reader
        return f"{digits[:8]}-{digits[8:12]}-4{_ending(digits)}"

    def trigger_secret(self) -> str:
        return self.bytes(16).hex()

    def signing_secret(self) -> str:
        return "whsec_" + base64.b64encode(self.bytes(32)).decode("ascii")

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)  # noqa: TID251 - the one reader

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, protects nothing


def _ending(digits: str) -> str:
    """The end of a UUID after its version, from 32 random digits: 74 of their bits, and the variant of RFC 9562."""
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
