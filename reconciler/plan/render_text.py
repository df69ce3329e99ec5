"""A plan for a terminal: one block a change, the dangerous ones first, one summary line at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.plan.escape import harmless, harmless_line
from reconciler.plan.lines import line_diff
from reconciler.plan.plan import Action
from reconciler.plan.words import (
    drift_to_read,
    field_place,
    field_value,
    fields_to_read,
    is_long_text,
    kind_words,
    place_words,
    summary_line,
    traffic_words,
    verb,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reconciler.plan.plan import Change, FieldChange, Plan

__all__ = ["render_text"]

_SYMBOLS = {
    Action.DELETE: "-",
    Action.REPLACE: "±",
    Action.ROTATE: "*",
    Action.RENAME: ">",
    Action.UPDATE: "~",
    Action.CREATE: "+",
}
_COLOURS = {
    Action.DELETE: "31",
    Action.REPLACE: "31",
    Action.ROTATE: "35",
    Action.RENAME: "36",
    Action.UPDATE: "33",
    Action.CREATE: "32",
}
_LINE_COLOURS = {"-": "31", "+": "32", "@": "2"}
_WORDS_WIDTH_MIN = 20
_PATH_WIDTH_MAX = 32
"""Beyond it a long path no longer moves the values of all others to the right."""


def render_text(plan: Plan, *, color: bool = False, width: int | None = None) -> str:
    """The plan as text, ending in a line break. `width` breaks fields that would not fit into two lines."""
    return "\n".join([*_lines(plan, _Paint(color=color), width), ""])


class _Paint:
    """Colours, or none."""

    __slots__ = ("_color",)

    def __init__(self, *, color: bool) -> None:
        self._color = color

    def __call__(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._color and code and text else text


def _lines(plan: Plan, paint: _Paint, width: int | None) -> Iterator[str]:
    for change in plan.changes:
        yield from _block(plan, change, paint, width)
        yield ""
    drifting, others = drift_to_read(plan)
    for drift in drifting:
        since = f" since {drift.since}" if drift.since else ""
        yield f"{paint('1;33', f'drift {harmless(drift.address)}')}  {paint('2', f'{drift.code}{since}')}"
        yield from _words("    ", harmless(drift.message), width)
        yield from _words("    cleared by: ", harmless(drift.clears), width)
        yield ""
    if others:
        first, *following = _words("drift ", others, width)
        yield from (first.replace("drift", paint("1;33", "drift"), 1), *following, "")
    for guard in plan.guards:
        subject = harmless(guard.address) if guard.address else "the whole plan"
        yield f"{paint('1;31', f'guard {subject}')}  {paint('2', guard.code)}"
        yield from _words("    ", harmless(guard.message), width)
        yield f"    to allow it: {harmless(guard.allow)}"
        yield ""
    yield paint("1", summary_line(plan))


def _block(plan: Plan, change: Change, paint: _Paint, width: int | None) -> Iterator[str]:
    head = f"{_SYMBOLS[change.action]} {verb(change.action)} {kind_words(change.kind)} {harmless(change.address)}"
    details = [harmless(change.type)] if change.type else []
    if place := place_words(change.file, change.line):
        details.append(place)
    is_wide = width is not None and len("  ".join((head, *details))) > width
    painted = (paint(f"1;{_COLOURS[change.action]}", head), "  ".join(paint("2", detail) for detail in details))
    yield ("\n    " if is_wide else "  ").join(filter(None, painted))
    for message in _messages(plan, change):
        first, *others = _words("    ! ", message, width)
        yield first.replace("!", paint("1;33", "!"), 1)
        yield from others
    fields = fields_to_read(change)
    paths = [harmless(field.path) for field in fields]
    long = [is_long_text(field) for field in fields]
    aligned = [len(path) for path, is_long in zip(paths, long, strict=True) if not is_long]
    path_width = max((length for length in aligned if length <= _PATH_WIDTH_MAX), default=0)
    for field, path, is_long in zip(fields, paths, long, strict=True):
        if is_long:
            yield f"    {path}{_where(change, field, paint)}"
            yield from _text(field, paint)
        elif change.action is Action.CREATE:
            yield f"    {path:<{path_width}}  {field_value(field, field.after)}"
        elif change.action is Action.DELETE:
            yield f"    {path:<{path_width}}  {field_value(field, field.before)}"
        else:
            yield from _edit(field, f"    {path:<{path_width}}", _where(change, field, paint), paint, width)


def _where(change: Change, field: FieldChange, paint: _Paint) -> str:
    place = field_place(change, field)
    return f"  {paint('2', place)}" if place else ""


def _messages(plan: Plan, change: Change) -> Iterator[str]:
    """What one should know before deciding on a change."""
    yield from (harmless(warning.message) for warning in change.warnings)
    if traffic := traffic_words(change, plan.observed.get(change.address)):
        yield traffic


def _words(lead: str, text: str, width: int | None) -> Iterator[str]:
    """A sentence after `lead`, broken between words where it is wider than the terminal."""
    if width is None or len(lead) + len(text) <= width:
        yield lead + text
        return
    from textwrap import wrap  # noqa: PLC0415 - only on a terminal

    indent = " " * len(lead)
    lines = wrap(text, max(width - len(lead), _WORDS_WIDTH_MIN), break_long_words=False, break_on_hyphens=False)
    yield from (f"{indent if number else lead}{line}" for number, line in enumerate(lines))


def _text(field: FieldChange, paint: _Paint) -> Iterator[str]:
    before = field.before if isinstance(field.before, str) else ""
    after = field.after if isinstance(field.after, str) else ""
    for sign, text in line_diff(before, after):
        shown = f"… {text}" if sign == "@" else f"{sign} {harmless_line(text)}"
        yield paint(_LINE_COLOURS.get(sign, ""), f"        {shown}".rstrip())


def _edit(field: FieldChange, path: str, where: str, paint: _Paint, width: int | None) -> Iterator[str]:
    before, after = field_value(field, field.before), field_value(field, field.after)
    line = f"{path}  {before} → {after}"
    if width is None or len(line) <= width:
        yield f"{line}{where}"
        return
    yield f"{path.rstrip()}{where}"
    yield paint("31", f"        - {before}")
    yield paint("32", f"        + {after}")
