"""Durations as people write them: a whole number and one unit."""

from __future__ import annotations

import re

__all__ = ["format_duration", "parse_duration"]

_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_LONGEST_FIRST = sorted(_UNITS_MS.items(), key=lambda unit: -unit[1])
_SPELLING = re.compile(r"([0-9]{1,12})(ms|s|m|h|d)")


def parse_duration(text: str) -> int:
    """Milliseconds of a duration such as `250ms`, `30s`, `2m`, `12h` or `7d`; ValueError for anything else."""
    match = _SPELLING.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write a whole number and one of ms, s, m, h, d, such as 30s")
    return int(match[1]) * _UNITS_MS[match[2]]


def format_duration(ms: int) -> str:
    """The shortest exact spelling: the largest unit that divides it, so `60s` becomes `1m` and `90s` stays."""
    if ms == 0:
        return "0s"
    return next(f"{ms // size}{unit}" for unit, size in _LONGEST_FIRST if ms % size == 0)
