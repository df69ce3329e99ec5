"""A YAML file as plain data, with the position of every key and value packed beside it."""

from __future__ import annotations

import re
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from reconciler.problem import Place, Problem, Severity

if TYPE_CHECKING:
    from array import array
    from collections.abc import Iterator, Sequence

__all__ = ["INDEX_BITS", "Document", "Path"]

Path = tuple["str | int", ...]
"""The way from the root of a document to a value: keys and list indices."""

INDEX_BITS = 23
"""Bits of a character index: 2**23 is above the 5 MB that a file may have."""

_INDEX_MASK = (1 << INDEX_BITS) - 1
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_TOKEN = re.compile(r"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\n]|'')*'|[\[\]{}]|[^\s#:,\[\]{}]+(?:[:#][^\s,\[\]{}]+)*")
_SOURCE_CHARS_AFTER = 400
_SOURCE_COLUMN_MAX = 2_000

# What a source line must not repeat: what stands where a secret's origin belongs, and credentials in a URL.
_LITERAL_SECRET = re.compile(
    r"(?i)((?:^|[\s{,\"'])[\w-]*secret(?!_version|_header)[\w-]*[\"']?\s*:\s*)"
    r"(?=\S)(?![\"']?\$\{)(?!\{\s*(?:env|file)\s*:\s*[\"']?[\w./-]+[\"']?\s*\}).*"
)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s\"'@]+@")


class Document:
    """One file: `name` as problems show it, `text`, and `data` in plain dicts, lists and scalars.

    `marks` holds, by the `id` of each container in `data`, one integer an entry in the container's own order: for a
    mapping the key's character index and the value's, for a list the value's. `data` must not be changed, or the
    two no longer match. Lines and columns are worked out only when somebody asks.
    """

    __slots__ = ("_lines", "_starts", "base_dir", "data", "marks", "name", "text")

    def __init__(self, *, name: str, text: str, base_dir: str) -> None:
        self.name = name
        self.text = text
        self.base_dir = base_dir
        self.data: Any = None
        self.marks: dict[int, array[int]] = {}
        self._lines: list[int] | None = None
        self._starts: list[int] | None = None

    def place(self, index: int) -> Place:
        """The line and column of a character."""
        if self._lines is None:
            self._lines = [0, *(found.end() for found in _LINE_BREAK.finditer(self.text))]
        line = bisect_right(self._lines, index)
        return Place(self.name, line, index - self._lines[line - 1] + 1)

    def entries(self, container: dict[str, Any]) -> Iterator[tuple[str, Any, int, int]]:
        """The entries of a mapping: key, value, the key's index, the value's."""
        for (key, value), mark in zip(container.items(), self.marks[id(container)], strict=True):
            yield key, value, mark >> INDEX_BITS, mark & _INDEX_MASK

    def key_index(self, container: Any, key: str | int) -> int | None:
        """Where an entry begins: its key in a mapping, itself in a list. None where there is no such entry."""
        if isinstance(container, dict):
            return self.marks[id(container)][list(container).index(key)] >> INDEX_BITS if key in container else None
        return self._mark(container, key)

    def value_index(self, container: Any, key: str | int) -> int | None:
        """Where an entry's value begins. None where there is no such entry."""
        mark = self._mark(container, key)
        return None if mark is None else mark & _INDEX_MASK

    def locate(self, path: Sequence[str | int], *, key: bool = False) -> int:
        """The index of the value at `path` (of its key with `key`), or of the nearest ancestor that exists."""
        container = self.data
        index = 0
        for position, step in enumerate(path):
            mark = self._mark(container, step)
            if mark is None:
                break
            last = position == len(path) - 1
            index = mark >> INDEX_BITS if key and last and isinstance(container, dict) else mark & _INDEX_MASK
            container = container[step]
        return index

    def value_end(self, index: int) -> int:
        """Where the value that begins at `index` has ended for certain: at the next key or value, or the end."""
        if self._starts is None:
            starts = {mark & _INDEX_MASK for marks in self.marks.values() for mark in marks}
            starts.update(mark >> INDEX_BITS for marks in self.marks.values() for mark in marks)
            self._starts = sorted(starts)
        after = bisect_right(self._starts, index)
        return self._starts[after] if after < len(self._starts) else len(self.text)

    def _mark(self, container: Any, key: str | int) -> int | None:
        if isinstance(container, dict):
            return self.marks[id(container)][list(container).index(key)] if key in container else None
        if isinstance(container, list) and isinstance(key, int) and 0 <= key < len(container):
            return self.marks[id(container)][key]
        return None

    def problem(
        self,
        index: int,
        code: str,
        message: str,
        *,
        severity: Severity = Severity.ERROR,
        suggestion: str | None = None,
        also: Place | None = None,
        length: int | None = None,
        hide: bool = False,
    ) -> Problem:
        """A problem at a character of this file, with its line, underlined for `length` or to the token's end.

        `hide` is for what may be a secret: neither the line nor the length of the token is told.
        """
        if hide:
            length = 1
        place = self.place(index)
        if length is None:
            token = _TOKEN.match(self.text, index)
            length = len(token.group()) if token else 1
        return Problem(
            place=place,
            code=code,
            message=message,
            severity=severity,
            suggestion=suggestion,
            source="" if hide else self.source(place),
            length=length,
            also=also,
        )

    def source(self, place: Place) -> str:
        """The line of a place as it may be shown: without its break, literal secrets or credentials.

        Nothing of a line so long that the place is far from its start.
        """
        if place.column > _SOURCE_COLUMN_MAX:
            return ""
        assert self._lines is not None
        start = self._lines[place.line - 1]
        end = self._lines[place.line] if place.line < len(self._lines) else len(self.text)
        line = self.text[start : min(end, start + place.column + _SOURCE_CHARS_AFTER)].rstrip("\r\n")
        return _CREDENTIALS.sub(_masked, _LITERAL_SECRET.sub(r"\1…", line))


def _masked(found: re.Match[str]) -> str:
    """As long as what it hides, so that a caret further along the line still points at what it means."""
    return "…" * (len(found[0]) - 1) + "@"
