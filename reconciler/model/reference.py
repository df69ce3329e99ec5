"""References to what does not stand in the YAML: `${env:NAME}`, `${env:NAME:-default}`, `${file:path}`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast

__all__ = ["Reference", "split_references"]

_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPENING = re.compile(r"\$?\$\{")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A text that is looked up where it is used. `name` is a variable or a path; only `env` has a `default`."""

    scheme: Literal["env", "file"]
    name: str
    default: str | None = None

    def __str__(self) -> str:
        """The reference as it is written."""
        return "".join(("${", self.scheme, ":", self.name, "" if self.default is None else f":-{self.default}", "}"))


def split_references(text: str) -> tuple[str | Reference, ...]:
    """The text cut into literal pieces, with `$${` read as `${`, and references; ValueError where one is malformed.

    `${{` opens no reference: it is a dollar sign before a template token.
    """
    pieces: list[str | Reference] = []
    literal: list[str] = []
    position = 0
    for opening in _OPENING.finditer(text):
        start, after = opening.span()
        if start < position:  # stands inside the reference just read
            continue
        literal.append(text[position:start])
        if len(opening[0]) == len("$${") or text.startswith("{", after):
            literal.append("${")
            position = after
            continue
        close = text.find("}", after)
        reference = _read(text[after:close] if close >= 0 else None)
        if any(literal):
            pieces.append("".join(literal))
        literal = []
        pieces.append(reference)
        position = close + 1
    literal.append(text[position:])
    if any(literal):
        pieces.append("".join(literal))
    return tuple(pieces)


def _read(content: str | None) -> Reference:
    """The reference with this content; None stands for one that is never closed.

    Messages quote nothing after the scheme: somebody may have pasted a secret there.
    """
    if content is None:
        raise ValueError("a reference that begins with ${ has no closing }; write $${ for a literal ${")
    scheme, colon, rest = content.partition(":")
    if not colon or scheme not in {"env", "file"}:
        raise ValueError(
            "a reference is ${env:NAME}, ${env:NAME:-default} or ${file:path}; write $${ for a literal ${"
        )
    if scheme == "file":
        if not rest or "\0" in rest:
            raise ValueError("a ${file:…} reference needs a path")
        return Reference(scheme="file", name=rest)
    name, separator, default = rest.partition(":-")
    if _ENV_NAME.fullmatch(name) is None:
        raise ValueError(
            "the name in ${env:…} must be letters, digits and underscores, not beginning with a digit;"
            " a default follows after :-"
        )
    return Reference(scheme=cast("Literal['env']", scheme), name=name, default=default if separator else None)
