"""The difference of two texts, line by line, with a little of what stands around it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Line", "line_diff"]

CONTEXT = 2
"""Unchanged lines shown on either side of a change."""
COMPARED_MAX = 2_000
"""Differing lines on one side beyond which they are shown as a block: matching them up would cost their square."""


class Line(NamedTuple):
    """A line of a diff: `-`, `+`, a blank for context, or `@` with a count of the lines left out."""

    sign: str
    text: str


def line_diff(before: str, after: str) -> list[Line]:
    """What to take away and what to add to get from one text to the other; an empty text has no lines.

    A line break at the end shows, as the empty line it makes, only where it is what differs.
    """
    if not before or not after or before.endswith("\n") == after.endswith("\n"):
        before, after = before.removesuffix("\n"), after.removesuffix("\n")
    old, new = (text.split("\n") if text else [] for text in (before, after))
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = _compared(old[head : len(old) - tail], new[head : len(new) - tail])
    lines = [Line(" ", text) for text in old[:head]]
    lines += middle
    lines += [Line(" ", text) for text in old[len(old) - tail :]]
    return _shortened(lines)


def _compared(old: list[str], new: list[str]) -> list[Line]:
    if not old or not new or max(len(old), len(new)) > COMPARED_MAX:
        return [Line("-", text) for text in old] + [Line("+", text) for text in new]
    from difflib import SequenceMatcher  # noqa: PLC0415 - half of what importing this package would cost

    lines: list[Line] = []
    for tag, old_from, old_to, new_from, new_to in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line(" ", text) for text in old[old_from:old_to]]
        else:
            lines += [Line("-", text) for text in old[old_from:old_to]]
            lines += [Line("+", text) for text in new[new_from:new_to]]
    return lines


def _shortened(lines: list[Line]) -> list[Line]:
    """Long runs of context give way to a count."""
    near = [False] * len(lines)
    for at, line in enumerate(lines):
        if line.sign != " ":
            for index in range(max(0, at - CONTEXT), min(len(lines), at + CONTEXT + 1)):
                near[index] = True
    shown: list[Line] = []
    left_out: list[Line] = []
    for line, is_near in zip(lines, near, strict=True):
        if is_near:
            shown += [*_counted(left_out), line]
            left_out = []
        else:
            left_out.append(line)
    return shown + _counted(left_out)


def _counted(lines: list[Line]) -> list[Line]:
    return [Line("@", f"{len(lines)} lines the same")] if len(lines) > 1 else lines
