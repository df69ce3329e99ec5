"""Taking secrets out of what a receiver, a sync or a program said, before it is kept or shown."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MARK", "scrub", "scrub_bytes"]

MARK = "[secret]"
"""What stands where a secret stood."""

_SHORT = 4
"""Shorter texts (a resolved `1`, say) are taken out only where they stand alone, or nothing would stay readable."""

_PARTIAL = 6
"""How much of a secret must stand at the very end, where what was kept is cut, to be taken for its beginning."""


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without any of the secrets, as they are or escaped for JSON, URLs or HTML."""
    return scrub_bytes(text.encode("utf-8", "surrogatepass"), secrets).decode("utf-8", "surrogatepass")


def scrub_bytes(data: bytes, secrets: Iterable[str], *, cut: bool = True) -> bytes:
    """As `scrub`, for a body; where it may have been `cut`, also a secret's beginning at the end."""
    forms = _forms_of(tuple(secrets))
    # A plain search for each form is far cheaper than the pattern, and nearly always there is nothing.
    for form in forms:
        if form in data:
            data = _pattern(forms).sub(MARK.encode(), data)
            break
    if not cut:
        return data
    overlap = max((_overlap(data, form) for form in forms if len(form) > _PARTIAL), default=0)
    return data[: len(data) - overlap] + MARK.encode() if overlap else data


@lru_cache(maxsize=16_384)
def _forms_of(secrets: tuple[str, ...]) -> tuple[bytes, ...]:
    """All forms of all secrets, longest first. Kept for as many webhooks as are likely to be busy at a time."""
    every = {form for secret in secrets if secret for form in _forms(secret)}
    return tuple(sorted(every, key=lambda form: (-len(form), form)))


@lru_cache(maxsize=256)
def _pattern(forms: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """One pattern for all forms. Slow to compile, and needed only for the few receivers that echo a secret."""
    alternatives = (
        re.escape(form) if len(form) >= _SHORT else rb"(?<![A-Za-z0-9])%b(?![A-Za-z0-9])" % re.escape(form)
        for form in forms
    )
    return re.compile(b"|".join(alternatives))


def _forms(secret: str) -> Iterator[bytes]:
    """How a secret may be echoed."""
    plain = secret.encode("utf-8", "surrogatepass")
    texts = {secret, html.escape(secret), html.escape(secret, quote=False)}
    texts |= {
        json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in tuple(texts) for ascii_only in (True, False)
    }
    texts |= {text.replace("/", "\\/") for text in tuple(texts)}  # PHP's json_encode
    encoded = {quote(plain, safe=""), quote(plain), quote_plus(plain)}
    encoded |= {re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), text) for text in tuple(encoded)}
    yield from (text.encode("utf-8", "surrogatepass") for text in texts | encoded)


def _overlap(data: bytes, form: bytes) -> int:
    """The length of the longest beginning of `form` that `data` ends in, 0 if it is too short to tell."""
    beginning = form[:_PARTIAL]
    start = data.find(beginning, max(0, len(data) - len(form) + 1))
    while start >= 0 and not form.startswith(data[start:]):
        start = data.find(beginning, start + 1)
    return len(data) - start if start >= 0 else 0
