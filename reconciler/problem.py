"""What is wrong with a configuration, and where: the one currency of the loader, the schema and the checks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["Place", "Problem", "Severity"]


class Severity(StrEnum):
    """Errors refuse a configuration; warnings are printed and let it pass."""

    ERROR = "error"
    WARNING = "warning"


class Place(NamedTuple):
    """A character in a file. Lines and columns count from 1, columns in code points."""

    file: str
    line: int
    column: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One mistake. `code` has a section in docs/problems.md; `suggestion` is the "did you mean" text.

    `source` is the line of the file the problem stands on (empty where there is none), `length` how many
    characters from `place.column` the caret underlines. `also` is a second place, for duplicates.
    """

    place: Place
    code: str
    message: str
    severity: Severity = Severity.ERROR
    suggestion: str | None = None
    source: str = ""
    length: int = 1
    also: Place | None = None

    @property
    def is_error(self) -> bool:
        """Whether this problem refuses the configuration."""
        return self.severity is Severity.ERROR
