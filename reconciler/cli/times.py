"""Times and durations as people type and read them. Nothing here knows what time it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from reconciler.errors import UsageError
from reconciler.model.duration import parse_duration

if TYPE_CHECKING:
    from typing import Any

__all__ = ["DURATION", "ago", "parse_since"]

_UNITS = (("day", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000))


class _DurationType(click.ParamType["int", "str | int"]):
    """A duration such as `250ms`, `2s`, `7d`, as milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = _DurationType()


def ago(ms: int | None, now_ms: int) -> str:
    """How long ago (or until when) in the largest unit that fits: `3 min ago`, `in 30 s`, `never`."""
    if ms is None:
        return "never"
    distance = abs(now_ms - ms)
    for unit, size in _UNITS:
        if distance >= size:
            count = distance // size
            words = f"{count} {unit}{'s' if unit == 'day' and count != 1 else ''}"
            return f"{words} ago" if ms <= now_ms else f"in {words}"
    return "just now" if ms <= now_ms else "now"


def parse_since(text: str, now_ms: int) -> int:
    """The start of a span: an age (`1h`, `7d`) or an ISO 8601 time; UsageError for anything else."""
    from reconciler.web.times import parse_time

    try:
        return parse_time(text, now_ms=now_ms)
    except ValueError as error:
        raise UsageError(str(error)) from None
