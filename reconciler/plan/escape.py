"""Names and values made harmless to look at: no control characters, nothing invisible, no reversed text."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["harmless", "harmless_line", "inline_value"]

_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Printable by Unicode's categories, and nothing to look at: fillers, joiners, variation selectors."""
_BARE = re.compile(r"[A-Za-z0-9_./:@%+?&=#~$!{}\-]+")
_WORDS = {"None": "(none)", "True": "true", "False": "false"}
_WORDS_WITH_MEANING = frozenset({"true", "false", "null"})
_NUMBER = re.compile(r"[-+]?\.?[0-9][0-9_.eE+-]*")


def harmless(text: str) -> str:
    r"""The text with every character that does not show spelled out, as `\n` or `\u202e`."""
    if text.isprintable() and (text.isascii() or not _BLANK.search(text)):
        return text
    return "".join(each if each.isprintable() and not _BLANK.match(each) else _spelled(each) for each in text)


def harmless_line(text: str) -> str:
    """A line of a text, with the blanks at its end spelled out as well: they may be all that differs."""
    shown = harmless(text)
    kept = shown.rstrip(" ")
    return kept + "\\x20" * (len(shown) - len(kept))


def inline_value(value: Any) -> str:
    """A JSON value on one line. Strings stand bare where that cannot mislead, else in double quotes."""
    if isinstance(value, str):
        return value if _is_bare(value) else _quoted(value)
    match value:
        case {"env": str()} | {"file": str()} if len(value) == 1:
            shown = _reference(value)
        case dict():
            shown = ", ".join(f"{inline_value(str(name))}: {inline_value(value[name])}" for name in sorted(value))
            shown = f"{{{shown}}}"
        case list() | tuple():
            shown = f"[{', '.join(inline_value(each) for each in value)}]"
        case _:
            shown = _WORDS.get(str(value), str(value))
    return shown


def _reference(mapping: dict[str, str]) -> str:
    """A secret's reference, in the spelling that references have inside strings."""
    ((scheme, name),) = mapping.items()
    return harmless(f"${{{scheme}:{name}}}")


def _is_bare(text: str) -> bool:
    return _BARE.fullmatch(text) is not None and text not in _WORDS_WITH_MEANING and _NUMBER.fullmatch(text) is None


def _quoted(text: str) -> str:
    return '"' + harmless(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _spelled(character: str) -> str:
    code = ord(character)
    match character:
        case "\n":
            return "\\n"
        case "\r":
            return "\\r"
        case "\t":
            return "\\t"
    if code <= 0xFF:  # noqa: PLR2004 - the widths of Python's and JSON's own spellings
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"  # noqa: PLR2004 - as above
