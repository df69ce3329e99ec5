"""Problems as text for people, JSON for scripts, annotations for GitHub, SARIF for code scanners."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, assert_never

from reconciler import __version__
from reconciler.problem import Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Place

__all__ = ["Format", "as_objects", "render", "summary"]

Format: TypeAlias = Literal["text", "json", "github", "sarif"]

_INFORMATION_URI = "https://pypi.org/project/webhook-reconciler/"
_SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_WIDTH_MIN = 40
_WIDE = frozenset("WF")
_RED, _YELLOW, _CYAN, _BOLD, _RESET = "\033[31m", "\033[33m", "\033[36m", "\033[1m", "\033[0m"
# Controls, and what turns the direction of text or hides in it: a file must not be able to write on the terminal.
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]")


def render(problems: Sequence[Problem], form: Format, *, color: bool = False, width: int = 100) -> str:
    """All problems in one text, in the order given; empty text for none, an empty list in JSON.

    `color` and `width` concern text alone.
    """
    match form:
        case "text":
            return "\n".join(_text(problem, color=color, width=max(width, _WIDTH_MIN)) for problem in problems)
        case "json":
            return json.dumps(as_objects(problems), ensure_ascii=False, indent=2)
        case "github":
            return "\n".join(_annotation(problem) for problem in problems)
        case "sarif":
            return json.dumps(_sarif(problems), ensure_ascii=False, indent=2)
        case _:
            assert_never(form)


def as_objects(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """The problems as JSON objects: what stands under `problems` wherever the program answers in JSON."""
    return [
        {
            "file": problem.place.file,
            "line": problem.place.line,
            "column": problem.place.column,
            "length": problem.length,
            "severity": problem.severity.value,
            "code": problem.code,
            "message": problem.message,
            "suggestion": problem.suggestion,
            "source": problem.source,
            "also": _place(problem.also),
        }
        for problem in problems
    ]


def summary(problems: Sequence[Problem]) -> str:
    """How many of what: `2 errors, 1 warning`, or `no problems`."""
    errors = sum(1 for problem in problems if problem.is_error)
    counted = [_counted(errors, "error"), _counted(len(problems) - errors, "warning")]
    return ", ".join(part for part in counted if part) or "no problems"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}" if count else ""


def _place(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else {"file": place.file, "line": place.line, "column": place.column}


def _text(problem: Problem, *, color: bool, width: int) -> str:
    """The head line, then the line of the file with a caret, then the suggestion."""
    tone = _RED if problem.is_error else _YELLOW
    place = problem.place
    head = f"{_safe(place.file)}:{place.line}:{place.column}"
    label = f"{problem.severity.value}[{problem.code}]"
    lines = [f"{_paint(head, _BOLD, color)}: {_paint(label, tone, color)}: {_safe(problem.message)}"]
    margin = " " * (len(str(place.line)) + 2)
    if problem.source:
        source, before, under = _window(problem, width - len(margin) - 3)
        lines.append(f" {place.line} | {source}")
        lines.append(f"{margin}| {' ' * before}{_paint('^' * under, tone, color)}")
    if problem.suggestion:
        lines.append(f"{margin}= {_paint(_safe(problem.suggestion), _CYAN, color)}")
    return "\n".join(lines)


def _window(problem: Problem, width: int) -> tuple[str, int, int]:
    """The part of the source line that fits, the cells before the caret, and how many it underlines."""
    line = problem.source.replace("\t", " ")
    start = problem.place.column - 1
    length = max(1, min(problem.length, len(line) - start))
    first = 0
    if _cells(line) > width:
        first = max(0, min(start - width // 3, len(line) - width + 1))
    shown = line[first:]
    while _cells(shown) > width - 2:
        shown = shown[: max(1, len(shown) - max(1, (_cells(shown) - width + 2) // 2))]
    lead = "…" if first else ""
    tail = "…" if first + len(shown) < len(line) else ""
    before = _cells(lead) + _cells(line[first:start])
    under = max(1, _cells(line[start : min(start + length, first + len(shown))]))
    return f"{lead}{_safe(shown)}{tail}", before, under


def _cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in _WIDE else 1
        for character in text
    )


def _paint(text: str, tone: str, color: bool) -> str:  # noqa: FBT001 - passed through from render
    return f"{tone}{text}{_RESET}" if color else text


def _safe(text: str) -> str:
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text)


def _annotation(problem: Problem) -> str:
    """A workflow command; see GitHub's documentation of them for the escapes."""
    place = problem.place
    last = place.column + max(problem.length - 1, 0)
    properties = {
        "file": place.file,
        "line": place.line,
        "col": place.column,
        "endColumn": last,
        "title": problem.code,
    }
    shown = ",".join(f"{name}={_escape_property(str(value))}" for name, value in properties.items())
    message = f"{problem.message} ({problem.suggestion})" if problem.suggestion else problem.message
    return f"::{problem.severity.value} {shown}::{_escape_data(message)}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(problems: Sequence[Problem]) -> dict[str, Any]:
    codes = sorted({problem.code for problem in problems})
    driver = {
        "name": "webhook-reconciler",
        "version": __version__,
        "informationUri": _INFORMATION_URI,
        "rules": [{"id": code} for code in codes],
    }
    results = [_sarif_result(problem, codes.index(problem.code)) for problem in problems]
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": results}
    return {"$schema": _SARIF_SCHEMA, "version": "2.1.0", "runs": [run]}


def _sarif_result(problem: Problem, rule: int) -> dict[str, Any]:
    message = f"{problem.message} ({problem.suggestion})" if problem.suggestion else problem.message
    result: dict[str, Any] = {
        "ruleId": problem.code,
        "ruleIndex": rule,
        "level": "error" if problem.severity is Severity.ERROR else "warning",
        "message": {"text": message},
        "locations": [_sarif_location(problem.place, problem.length)],
    }
    if problem.also is not None:
        result["relatedLocations"] = [_sarif_location(problem.also, 1)]
    return result


def _sarif_location(place: Place, length: int) -> dict[str, Any]:
    region = {"startLine": place.line, "startColumn": place.column, "endColumn": place.column + max(length, 1)}
    uri = place.file.replace("\\", "/").replace("%", "%25").replace(" ", "%20")
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
