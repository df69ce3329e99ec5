"""What the YAML parser could not read, said so that the next step is plain."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.config.document import Document
    from reconciler.problem import Problem

__all__ = ["explain", "undecodable"]

_UNPRINTABLE = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|\ufeff")
_BINARY_SHARE = 0.1

_ADVICE = {
    "mapping values are not allowed in this context": (
        "a second `: ` stands in this line: put the text in quotes, or check the indentation"
    ),
    "could not find expected ':'": "this key has no `:` after it",
    "did not find expected key": "this does not belong to the mapping above it: check the indentation and the quotes",
    "did not find expected '-' indicator": "this does not belong to the list above it: check the indentation",
    "did not find expected <document start>": "the document has ended before this: remove it, or check the brackets",
    "did not find expected node content": "a value is missing here",
    "found unexpected end of stream": "a quote is opened here and never closed",
    "did not find expected ',' or '}'": "a `,` or `}` is missing before this",
    "did not find expected ',' or ']'": "a `,` or `]` is missing before this",
}


def undecodable(document: Document, error: UnicodeDecodeError) -> Problem:
    """A file that is not UTF-8: another encoding, or not a text at all."""
    content: bytes = error.object
    index = len(content[: error.start].decode("utf-8-sig", errors="replace"))
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        what = "the file is UTF-16: save it as UTF-8"
    elif b"\0" in content[:4096]:
        what = "this is a binary file, not YAML"
    else:
        what = f"the byte 0x{content[error.start]:02x} is not UTF-8: save the file as UTF-8"
    return document.problem(min(index, len(document.text)), "not-utf-8", what)


def explain(document: Document, error: Any) -> Problem:
    """The problem behind one of PyYAML's errors, at the character where it shows."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if mark is None:
        return _unprintable(document)
    text, index = document.text, mark.index
    unquoted = _unquoted(document, index)
    if unquoted is not None:
        return unquoted
    problem = str(error.problem or error)
    if text[index : index + 1] == "\t" or "tab character" in problem:
        message = "a tab stands where YAML allows only blanks: indent with blanks"
        return document.problem(index, "yaml-tab", message)
    if problem == "found character that cannot start any token":
        message = f"text cannot begin with `{text[index : index + 1]}`: put it in quotes"
    elif problem == "found unexpected end of stream" and error.context_mark is not None:
        index = error.context_mark.index
        message = _ADVICE[problem]
    else:
        message = _ADVICE.get(problem, f"this is not YAML: {problem}")
    return document.problem(index, "yaml-syntax", message)


def _unquoted(document: Document, index: int) -> Problem | None:
    """A template or reference without quotes, which YAML takes for the start of a mapping."""
    text = document.text
    line_start = text.rfind("\n", 0, index) + 1
    before = text[line_start:index]
    if text[index : index + 1] == "{" and before.endswith("$"):
        message = "a reference like ${env:NAME} inside {…} or […] must be in quotes, the whole value with it"
        return document.problem(index - 1, "unquoted-reference", message)
    opened = index if text[index : index + 2] == "{{" else line_start + before.rfind("{{")
    between = text[opened:index]
    if (
        opened >= line_start
        and (opened == index or "}}" in between)
        and not re.search(r"[\"']\s*$", text[line_start:opened])
    ):
        message = "a template like {{conversation.id}} is read as a mapping here: put the whole value in quotes"
        return document.problem(opened, "unquoted-template", message)
    return None


def _unprintable(document: Document) -> Problem:
    found = _UNPRINTABLE.search(document.text)
    index = found.start() if found else 0
    sample = document.text[:4096]
    if len(_UNPRINTABLE.findall(sample)) > _BINARY_SHARE * len(sample):
        return document.problem(index, "control-character", "this is a binary file, not YAML")
    character = f"U+{ord(document.text[index]):04X}" if found else "one"
    return document.problem(
        index, "control-character", f"control characters may not stand in YAML; this is {character}"
    )
