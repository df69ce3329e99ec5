"""The only code that draws chance: ids, secrets, keys and jitter."""

from __future__ import annotations

import base64
import os
import random  # noqa: TID251 - the one importer; jitter needs no secrecy
from typing import Protocol

__all__ = ["Mint", "SystemMint"]

_ID_DIGITS = 20
_POOL_BYTES = 1_000


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

    __slots__ = ("_drawn", "_taken")

    def __init__(self) -> None:
        self._drawn = ""
        self._taken = 0

    def new_id(self, now_ms: int) -> str:
        taken = self._taken
        if taken + _ID_DIGITS > len(self._drawn):
            # Two ids an event: asking the system once for a hundred of them saves a call each.
            self._drawn = os.urandom(_POOL_BYTES).hex()  # noqa: TID251 - the one reader
            taken = 0
        self._taken = taken + _ID_DIGITS
        digits = f"{now_ms & 0xFFFF_FFFF_FFFF:012x}{self._drawn[taken : taken + _ID_DIGITS]}"
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-7{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

    def hook_id(self) -> str:
        digits = os.urandom(16).hex()  # noqa: TID251 - the one reader
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"

    def trigger_secret(self) -> str:
        return self.bytes(16).hex()

    def signing_secret(self) -> str:
        return "whsec_" + base64.b64encode(self.bytes(32)).decode("ascii")

    def bytes(self, count: int) -> bytes:
        return os.urandom(count)  # noqa: TID251 - the one reader

    def jitter(self) -> float:
        return random.random()  # noqa: S311 - spreads retries, protects nothing
