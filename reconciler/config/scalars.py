"""Plain scalars as the core schema of YAML 1.2 reads them, and which of them other tools read differently."""

from __future__ import annotations

import math
import re

__all__ = ["CoreScalars", "Unrepresentable", "yaml11_reading"]

_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_OTHER_BASE = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_NOT_FINITE = frozenset({".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF"}) | frozenset(
    {".nan", ".NaN", ".NAN"}
)
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER_MAX = 2**63 - 1
_NUMBER_STARTS = frozenset("-+0123456789")

_YAML11_BOOLEAN = frozenset(
    spelling for word in ("y", "n", "yes", "no", "on", "off") for spelling in (word, word.capitalize(), word.upper())
)
_YAML11_NUMBERS = (
    (re.compile(r"[-+]?0[0-7_]+"), "an octal number"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a number in base 60"),
    (re.compile(r"[-+]?[0-9]+_[0-9_]*"), "a number"),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?"), "a date"),
)


class Unrepresentable:
    """Stands for a number that JSON cannot hold, until the reader reports it."""

    __slots__ = ()


class CoreScalars(dict[str, "str | int | float | bool | Unrepresentable | None"]):
    """Plain text to value, worked out once for each spelling; `suspects` are those that YAML 1.1 reads otherwise."""

    __slots__ = ("suspects",)

    def __init__(self) -> None:
        super().__init__()
        self.suspects: set[str] = set()

    def __missing__(self, text: str) -> str | int | float | bool | Unrepresentable | None:
        value = _resolve(text)
        if yaml11_reading(text) is not None:
            self.suspects.add(text)
        self[text] = value
        return value


def yaml11_reading(text: str) -> str | None:
    """What a YAML 1.1 reader makes of a plain scalar, in words, where that differs from what is read here."""
    if text in _YAML11_BOOLEAN:
        return "a boolean"
    if text[:1] in _NUMBER_STARTS:
        return next((reading for pattern, reading in _YAML11_NUMBERS if pattern.fullmatch(text)), None)
    return None


def _resolve(text: str) -> str | int | float | bool | Unrepresentable | None:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "-+.0123456789":
        return text
    if _INTEGER.fullmatch(text):
        # Python refuses to read integers of thousands of digits; nothing here needs more than twenty.
        value = int(text) if len(text) <= 20 else _INTEGER_MAX + 1  # noqa: PLR2004 - digits of 2**63 and a sign
        return value if abs(value) <= _INTEGER_MAX else Unrepresentable()
    if _OTHER_BASE.fullmatch(text):
        value = int(text, 0) if len(text) <= 24 else _INTEGER_MAX + 1  # noqa: PLR2004 - 0o and the digits of 2**63
        return value if value <= _INTEGER_MAX else Unrepresentable()
    if _FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else Unrepresentable()
    return Unrepresentable() if text in _NOT_FINITE else text
