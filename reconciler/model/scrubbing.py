"""Taking secrets out of what a receiver, a sync or a program said, before it is kept or shown."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

from reconciler.model.encoding import quote_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["MARK", "scrub", "scrub_bytes"]

MARK = "[secret]"
"""What stands where a secret stood."""

_SHORT = 4
"""Shorter texts (a resolved `1`, say) are taken out only where they stand alone, or nothing would stay readable."""

_NESTED, _NESTED_CHARACTERS_MAX = 2, 1_024
"""How often a secret may be escaped; longer ones (a file's text) only once, for their forms are kept in memory."""

_PLAIN = re.compile("[A-Za-z0-9]+")
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")

_PARTIAL = 6
"""How much of a secret must stand at the very end, where what was kept is cut, to be taken for its beginning."""


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text without any of the secrets, as they are or escaped for JSON, URLs or HTML."""
    return scrub_bytes(text.encode("utf-8", "surrogatepass"), secrets).decode("utf-8", "surrogatepass")


def scrub_bytes(data: bytes, secrets: Iterable[str], *, cut: bool = True) -> bytes:
    """As `scrub`, for a body; where it may have been `cut`, also a secret's beginning at the end."""
    known = _known(tuple(secrets))
    # A plain search for what all forms share is far cheaper than the pattern, and nearly always there is nothing.
    for trace in known.traces:
        if trace in data:
            data = _pattern(known.forms).sub(MARK.encode(), data)
            break
    if not cut:
        return data
    tail = data[-known.longest :]
    if not any(beginning in tail for beginning in known.beginnings):
        return data
    overlap = max((_overlap(data, form) for form in known.forms if len(form) > _PARTIAL), default=0)
    return data[: len(data) - overlap] + MARK.encode() if overlap else data


class _Known(NamedTuple):
    """All forms of some secrets, longest first, and what tells cheaply that there is none of them.

    Without one of the `traces` nothing holds a form; without one of the `beginnings` in its last `longest` bytes
    nothing ends in a part of one.
    """

    forms: tuple[bytes, ...]
    traces: tuple[bytes, ...]
    beginnings: tuple[bytes, ...]
    longest: int


@lru_cache(maxsize=16_384)
def _known(secrets: tuple[str, ...]) -> _Known:
    """Kept for as many webhooks as are likely to be busy at a time."""
    forms: set[bytes] = set()
    traces: set[bytes] = set()
    for secret in filter(None, secrets):
        own = _forms(secret)
        # No spelling changes ASCII letters and digits outside a %XX; too few of them are no trace.
        plain = max(_PLAIN.findall(_PERCENT.sub(" ", secret)), key=len, default="").encode("ascii")
        traces |= {plain} if len(plain) >= _SHORT else own
        forms |= own
    return _Known(
        forms=tuple(sorted(forms, key=lambda form: (-len(form), form))),
        traces=tuple(sorted(traces)),
        beginnings=tuple(sorted({form[:_PARTIAL] for form in forms if len(form) > _PARTIAL})),
        longest=max(map(len, forms), default=0),
    )


@lru_cache(maxsize=256)
def _pattern(forms: tuple[bytes, ...]) -> re.Pattern[bytes]:
    """One pattern for all forms. Slow to compile, and needed only for the few receivers that echo a secret."""
    alternatives = (
        re.escape(form) if len(form) >= _SHORT else rb"(?<![A-Za-z0-9])%b(?![A-Za-z0-9])" % re.escape(form)
        for form in forms
    )
    return re.compile(b"|".join(alternatives))


def _forms(secret: str) -> set[bytes]:
    """How a secret may be echoed: as it is, escaped for a format, and escaped once more with what holds it."""
    texts = {secret}
    for _ in range(_NESTED if len(secret) <= _NESTED_CHARACTERS_MAX else 1):
        texts |= {spelling for text in texts for spelling in _spellings(text)}
    return {text.encode("utf-8", "surrogatepass") for text in texts}


def _spellings(text: str) -> Iterator[str]:
    """The text within JSON, HTML and URLs, as different writers put it."""
    plain = text.encode("utf-8", "surrogatepass")
    for escaped in (text, html.escape(text), html.escape(text, quote=False)):
        for ascii_only in (True, False):
            written = json.dumps(escaped, ensure_ascii=ascii_only)[1:-1]
            yield from (escaped, written, written.replace("/", "\\/"))  # PHP's json_encode
    for quoted in (quote(plain, safe=""), quote(plain), quote_plus(plain), quote_url(text)):
        yield from (quoted, _PERCENT.sub(lambda match: match[0].lower(), quoted))


def _overlap(data: bytes, form: bytes) -> int:
    """The length of the longest beginning of `form` that `data` ends in, 0 if it is too short to tell."""
    beginning = form[:_PARTIAL]
    start = data.find(beginning, max(0, len(data) - len(form) + 1))
    while start >= 0 and not form.startswith(data[start:]):
        start = data.find(beginning, start + 1)
    return len(data) - start if start >= 0 else 0
