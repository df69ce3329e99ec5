"""The parts of a template, and how a text is read into them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from reconciler.model.reference import Reference, split_references

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Part", "Resolved", "Text", "Token", "read_parts"]

# Quotes and backslashes cannot stand in a token: in a JSON body they belong to the JSON around it.
_TOKEN = re.compile(r'\{\{([^{}"\\\x00-\x1f\x7f]*)\}\}')


class Text(NamedTuple):
    """Literal text."""

    text: str


class Resolved(NamedTuple):
    """What a reference stood for. Inert: never scanned for tokens or references again."""

    text: str

    def __repr__(self) -> str:
        return "Resolved(…)"  # may be a secret


class Token(NamedTuple):
    """A `{{dot.path}}`. `source` is its exact spelling, `path` what stands inside without the blanks around it."""

    source: str
    path: str

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's steps; a decimal one indexes an array."""
        return tuple(self.path.split("."))


Part: TypeAlias = Text | Token | Reference | Resolved


def read_parts(text: str) -> Iterator[Part]:
    """References first, then the tokens in what is literal. ValueError for a malformed reference."""
    for piece in split_references(text):
        if isinstance(piece, Reference):
            yield piece
        else:
            yield from _read_tokens(piece)


def _read_tokens(text: str) -> Iterator[Text | Token]:
    position = 0
    for match in _TOKEN.finditer(text):
        path = match[1].strip()
        if not path:
            continue
        if match.start() > position:
            yield Text(text[position : match.start()])
        yield Token(match[0], path)
        position = match.end()
    if position < len(text):
        yield Text(text[position:])
