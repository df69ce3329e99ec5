"""Compiling a template for the place where it stands, and rendering it.

What stands where (inside a JSON string or outside, in a path or in a query) is decided once, here; rendering then
only looks up, encodes and joins.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from reconciler.errors import Unrenderable
from reconciler.model.encoding import (
    as_form,
    as_header,
    as_json,
    as_json_key,
    as_json_text,
    as_text,
    as_url,
    clean_header,
    json_string,
    percent_encode,
    quote_url,
    well_formed,
)
from reconciler.model.reference import Reference
from reconciler.model.syntax import Resolved, Text, Token

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reconciler.model.encoding import Encoder
    from reconciler.model.syntax import Part

__all__ = ["Compiled", "Rendered", "Site", "compile_parts", "is_json", "path_start"]


class Site(Enum):
    """Where a template stands, which decides how its tokens are encoded."""

    __hash__ = object.__hash__  # an enum's own is written in Python, and looked up for each delivery

    URL = "url"
    HEADER = "header"
    JSON = "json"
    FORM = "form"
    TEXT = "text"


class Rendered(NamedTuple):
    """The result, and the tokens that did not resolve, as they are spelled, each once, in order."""

    text: str
    unresolved: tuple[str, ...]


class _Slot(NamedTuple):
    """A token, ready: its steps with the array index each may be, its encoder, and its text while unresolved."""

    source: str
    steps: tuple[tuple[str, int], ...]
    encode: Encoder
    literal: str


_Piece: TypeAlias = "str | _Slot"
_MISSING = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A template for one site.

    `path_at` is where a URL's path begins, `watched` the indexes of the path segments that hold tokens.
    """

    pieces: tuple[_Piece, ...] = field(repr=False)
    constant: Rendered | None = field(repr=False)
    is_header: bool = False
    path_at: int = 0
    watched: tuple[int, ...] = ()

    def render(self, payload: Mapping[str, object]) -> Rendered:
        """The template filled from `payload`, a JSON object; Unrenderable where no safe result exists."""
        if self.constant is not None:
            return self.constant
        out: list[str] = []
        unresolved: dict[str, None] = {}
        try:
            for piece in self.pieces:
                if isinstance(piece, str):
                    out.append(piece)
                    continue
                value = _find(payload, piece.steps)
                text = None if value is _MISSING else piece.encode(value)
                if text is None:
                    unresolved[piece.source] = None
                    text = piece.literal
                out.append(text)
        except (RecursionError, ValueError):
            raise Unrenderable("a value is nested too deeply, or a number cannot be written as JSON") from None
        result = well_formed("".join(out))
        if self.watched:
            self._refuse_dot_segments(result)
        return Rendered(result.strip(" ") if self.is_header else result, tuple(unresolved))

    def _refuse_dot_segments(self, url: str) -> None:
        """A `.` or `..` made by a value would climb out of the path that was configured."""
        segments = _PATH_END.split(url[self.path_at :], maxsplit=1)[0].split("/")
        for index in self.watched:
            # Some servers cut `;parameters` off before they look for dots.
            name = segments[index].partition(";")[0]
            if name[:1] in ".%" and _ENCODED_DOT.sub(".", name) in {".", ".."}:
                raise Unrenderable("a value would make a path segment of the URL '.' or '..'")


def compile_parts(parts: Sequence[Part], site: Site) -> Compiled:
    """The parts, ready for rendering at `site`. Their references must have been resolved.

    Raises Unrenderable if no payload can be rendered safely: a URL with a token before its path.
    """
    if any(isinstance(part, Reference) for part in parts):
        raise ValueError("a template is rendered only after its references have been resolved")
    match site:
        case Site.URL:
            return _compile_url(parts)
        case Site.HEADER:
            write = _Writers(value=as_header, unresolved=clean_header, literal=clean_header, inert=clean_header)
            return _finish(_each(parts, write), is_header=True)
        case Site.JSON:
            return _finish(_json_pieces(parts))
        case Site.FORM:
            # A body that is one reference was written elsewhere, whole; otherwise a reference is a value.
            inert = str if len(parts) == 1 else percent_encode
            return _finish(_each(parts, _Writers(value=as_form, unresolved=_form_token, literal=str, inert=inert)))
        case Site.TEXT:
            return _finish(_each(parts, _Writers(value=as_text, unresolved=str, literal=str, inert=str)))


def is_json(parts: Sequence[Part]) -> bool:
    """Whether the template is JSON, with tokens and references in strings replaced by nothing, others by `""`."""
    roles = _json_roles(parts)
    if roles is None:
        return False
    sample = "".join(
        part.text if isinstance(part, Text) else _SAMPLES[role] for part, role in zip(parts, roles, strict=True)
    )
    return _parses(sample)


def path_start(url: str) -> int | None:
    """Where the path (or query, or fragment) of a URL begins; None where its authority has not ended."""
    scheme_end = url.find("://")
    match = _AUTHORITY_END.search(url, scheme_end + len("://")) if scheme_end >= 0 else None
    return match.start() if match else None


# -- common -----------------------------------------------------------------------------------------------------


def _finish(
    pieces: Sequence[_Piece], *, is_header: bool = False, path_at: int = 0, watched: tuple[int, ...] = ()
) -> Compiled:
    constant = None
    if all(isinstance(piece, str) for piece in pieces):
        text = well_formed("".join(str(piece) for piece in pieces))
        constant = Rendered(text.strip(" ") if is_header else text, ())
    return Compiled(pieces=tuple(pieces), constant=constant, is_header=is_header, path_at=path_at, watched=watched)


class _Writers(NamedTuple):
    """How a site writes values, tokens that do not resolve, literal text and resolved references."""

    value: Encoder
    unresolved: Callable[[str], str]
    literal: Callable[[str], str]
    inert: Callable[[str], str]


def _each(parts: Sequence[Part], write: _Writers) -> list[_Piece]:
    """The pieces of a site where only the kind of a part matters."""
    pieces: list[_Piece] = []
    for part in parts:
        if isinstance(part, Token):
            pieces.append(_slot(part, write.value, write.unresolved(part.source)))
        elif isinstance(part, Resolved):
            pieces.append(write.inert(part.text))
        elif isinstance(part, Text):
            pieces.append(write.literal(part.text))
    return pieces


def _slot(token: Token, encode: Encoder, literal: str) -> _Slot:
    steps = tuple((segment, _index(segment)) for segment in token.segments)
    return _Slot(token.source, steps, encode, literal)


def _index(segment: str) -> int:
    """The array index that a path segment spells, or -1."""
    return int(segment) if _INDEX.fullmatch(segment) else -1


def _find(payload: object, steps: tuple[tuple[str, int], ...]) -> object:
    value = payload
    for name, index in steps:
        if isinstance(value, dict):
            value = value.get(name, _MISSING)
        elif isinstance(value, list) and 0 <= index < len(value):
            value = value[index]
        else:
            return _MISSING
    return value


_INDEX = re.compile(r"[0-9]{1,9}")


def _form_token(source: str) -> str:
    """An unresolved token in a form: braces mean nothing there and stay readable."""
    return percent_encode(source).replace("%7B", "{").replace("%7D", "}")


# -- URL --------------------------------------------------------------------------------------------------------

_AUTHORITY_END = re.compile(r"[/?#\\]")
_PATH_END = re.compile(r"[?#]")
_ENCODED_DOT = re.compile("%2e", re.IGNORECASE)
_NOT_IN_AUTHORITY = re.compile(r"[\x00-\x20\x7f]")


def _compile_url(parts: Sequence[Part]) -> Compiled:
    """Scheme and authority stay as they are typed; from the path on everything is made well-formed."""
    pieces: list[_Piece] = []
    head, path_at = "", None
    for part in parts:
        if isinstance(part, Token):
            if path_at is None:
                raise Unrenderable(f"{part.source} stands before the path of the URL, where no token may")
            pieces.append(_slot(part, as_url, percent_encode(part.source)))
        elif isinstance(part, Text | Resolved):
            if path_at is not None:
                pieces.append(quote_url(part.text))
                continue
            head += part.text
            path_at = path_start(head)
            if path_at is not None:
                pieces.append(head[:path_at] + quote_url(head[path_at:]))
    if path_at is None:
        pieces, path_at = [head], len(head)
    if _NOT_IN_AUTHORITY.search(head[:path_at]):
        raise Unrenderable("the URL has a blank or a control character before its path")
    return _finish(pieces, path_at=path_at, watched=_watched(pieces, path_at))


def _watched(pieces: Sequence[_Piece], path_at: int) -> tuple[int, ...]:
    """The indexes of the path segments that hold tokens. Encoded values add no slash, so they stay the same."""
    watched: dict[int, None] = {}
    segment = 0
    for number, piece in enumerate(pieces):
        if not isinstance(piece, str):
            watched[segment] = None
            continue
        text = piece[path_at:] if number == 0 else piece
        path = _PATH_END.split(text, maxsplit=1)[0]
        segment += path.count("/")
        if len(path) < len(text):
            break
    return tuple(watched)


# -- JSON -------------------------------------------------------------------------------------------------------


class _Role(Enum):
    """Where in JSON a part stands."""

    LITERAL = "literal"
    INSIDE = "inside"
    VALUE = "value"
    KEY = "key"


_SAMPLES = {_Role.INSIDE: "", _Role.VALUE: '""', _Role.KEY: '""'}
# The rest of a string up to its closing quote. Escapes are whole, and surrogates paired, within one part: a token
# in the middle of one would change what it means.
_STRING_REST = re.compile(
    r'(?:[^"\\]+|\\(?:[^u]|u(?:(?![dD][89a-fA-F])[0-9a-fA-F]{4}|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*'
)


def _json_pieces(parts: Sequence[Part]) -> list[_Piece]:
    roles = _json_roles(parts)
    if roles is None:
        raise ValueError("not a JSON template; classify_body says which are")
    pieces: list[_Piece] = []
    for part, role in zip(parts, roles, strict=True):
        if isinstance(part, Token):
            encode, quote = _JSON_ENCODERS[role]
            pieces.append(_slot(part, encode, quote(part.source)))
        elif isinstance(part, Resolved):
            raw = role is _Role.VALUE and _parses(part.text)
            pieces.append(part.text if raw else _JSON_ENCODERS[role][1](part.text))
        elif isinstance(part, Text):
            pieces.append(part.text)
    return pieces


def _json_roles(parts: Sequence[Part]) -> list[_Role] | None:
    """Each part's role; None where a string escape is broken, so that there is no telling."""
    roles: list[_Role] = []
    inside = False
    for number, part in enumerate(parts):
        if isinstance(part, Text):
            roles.append(_Role.LITERAL)
            after = _after(part.text, inside=inside)
            if after is None:
                return None
            inside = after
        elif inside:
            roles.append(_Role.INSIDE)
        else:
            follower = parts[number + 1] if number + 1 < len(parts) else None
            is_key = isinstance(follower, Text) and follower.text.lstrip(" \t\r\n").startswith(":")
            roles.append(_Role.KEY if is_key else _Role.VALUE)
    return roles


def _after(text: str, *, inside: bool) -> bool | None:
    """Whether the end of `text` stands inside a string, when its start does or not; None for a broken escape."""
    position = 0
    while True:
        if not inside:
            quote = text.find('"', position)
            if quote < 0:
                return False
            position = quote + 1
        rest = _STRING_REST.match(text, position)
        position = rest.end() if rest else position
        if position == len(text):
            return True
        if text[position] != '"':
            return None
        position += 1
        inside = False


def _parses(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refuse_constant, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _inside(text: str) -> str:
    return json_string(text)[1:-1]


_JSON_ENCODERS: dict[_Role, tuple[Encoder, Callable[[str], str]]] = {
    _Role.INSIDE: (as_json_text, _inside),
    _Role.VALUE: (as_json, json_string),
    _Role.KEY: (as_json_key, json_string),
}
