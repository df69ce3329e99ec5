"""Values written for the place where they stand: JSON, a URL, a header, a form, plain text.

An encoder takes a JSON value and returns its text, or None where such a value cannot stand. Numbers that JSON
cannot write raise ValueError, values nested beyond the interpreter's stack RecursionError.
"""

from __future__ import annotations

import re
from json import JSONEncoder
from json.encoder import encode_basestring as json_string
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "HEADER_VALUE_BYTES_MAX",
    "URL_VALUE_BYTES_MAX",
    "Encoder",
    "as_form",
    "as_header",
    "as_json",
    "as_json_key",
    "as_json_text",
    "as_text",
    "as_url",
    "clean_header",
    "json_string",
    "percent_encode",
    "quote_url",
    "well_formed",
]

Encoder: TypeAlias = "Callable[[object], str | None]"

URL_VALUE_BYTES_MAX = 2 * 1024
"""Where a value in a URL is cut, in UTF-8 bytes before it is percent-encoded."""

HEADER_VALUE_BYTES_MAX = 4 * 1024
"""Where a value in a header is cut, in UTF-8 bytes."""

_write_json = JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

# C0, DEL, C1, and the separators that Unicode (and so some parser) counts as line ends.
_HEADER_BREAKERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_NOT_UNRESERVED = re.compile(rb"[^A-Za-z0-9\-._~]")
_NOT_FOR_URL = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+")
_PERCENT = tuple(b"%%%02X" % byte for byte in range(256))


def as_json(value: object) -> str:
    """The value as JSON."""
    return _write_json(value)


def as_json_text(value: object) -> str:
    """The value's text as the inside of a JSON string; null is nothing."""
    return json_string(as_text(value))[1:-1]


def as_json_key(value: object) -> str:
    """The value's text as a JSON string, which alone may be a key."""
    return json_string(as_text(value))


def as_text(value: object) -> str:
    """A string as it is, null as nothing, everything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else _write_json(value)


def as_form(value: object) -> str:
    """The value's text for a form body, a blank as `%20`."""
    return percent_encode(as_text(value))


def as_url(value: object) -> str | None:
    """A scalar's text with everything but unreserved characters percent-encoded, cut; null is nothing."""
    if isinstance(value, dict | list):
        return None
    return percent_encode(_cut(as_text(value), URL_VALUE_BYTES_MAX))


def as_header(value: object) -> str | None:
    """A scalar's text on one line, cut; null is nothing."""
    if isinstance(value, dict | list):
        return None
    return _cut(clean_header(as_text(value)), HEADER_VALUE_BYTES_MAX)


def clean_header(text: str) -> str:
    """Text with each run of control characters and line separators become one blank."""
    return _HEADER_BREAKERS.sub(" ", text)


def percent_encode(text: str) -> str:
    """Everything but RFC 3986's unreserved characters percent-encoded, as UTF-8."""
    return _NOT_UNRESERVED.sub(_percent, well_formed(text).encode()).decode("ascii")


def quote_url(text: str) -> str:
    """What somebody typed as part of a URL, well-formed: reserved characters and good `%XX` stay as they are."""
    return _NOT_FOR_URL.sub(lambda match: percent_encode(match[0]), text)


def well_formed(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate becomes U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _percent(match: re.Match[bytes]) -> bytes:
    return _PERCENT[match[0][0]]


def _cut(text: str, bytes_max: int) -> str:
    """The longest beginning of whole characters that fits."""
    if len(text) * 4 <= bytes_max:
        return text
    encoded = well_formed(text[:bytes_max]).encode()
    return (
        text
        if len(encoded) <= bytes_max and len(text) <= bytes_max
        else encoded[:bytes_max].decode("utf-8", "ignore")
    )
