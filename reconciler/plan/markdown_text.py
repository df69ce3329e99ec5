"""Text made harmless in GitHub's and GitLab's markdown: no markup, no mention, no link that it did not ask for."""

from __future__ import annotations

import html
import re

from reconciler.plan.escape import harmless

__all__ = ["code", "fenced", "html_code", "prose", "row"]

_BACKTICKS = re.compile(r"`+")
_SPAN = re.compile(r"`([^`]+)`")
_MARKUP = re.compile(r"([\\*_\[\]#|~$]|^[-+])")
_TRIGGERS = re.compile(r"([@#/.]|GH-|\bwww)")
"""What turns into a mention, a reference or a link once markup is done; a word joiner after it prevents that."""
_RISKY = re.compile(r"[@#]|://|GH-|\bwww")
"""Where none of these is, a dot or a slash begins nothing, and is left as it can be copied."""


def code(text: str) -> str:
    """A code span holding exactly this text, on one line."""
    shown = harmless(text)
    if not shown:
        return "``` ```"
    fence = "`" * (max((len(run) for run in _BACKTICKS.findall(shown)), default=0) + 1)
    padding = " " if shown.startswith(("`", " ")) or shown.endswith(("`", " ")) else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def html_code(text: str) -> str:
    """The same where markdown is not read: inside `<summary>`."""
    return f"<code>{html.escape(harmless(text))}</code>"


def prose(message: str) -> str:
    """One of our sentences. What stands in backticks in it becomes a code span, everything else plain text."""
    pieces = _SPAN.split(message)
    return "".join(code(piece) if index % 2 else _plain(piece) for index, piece in enumerate(pieces))


def row(*cells: str) -> str:
    """A line of a table; a bar inside a cell does not end it."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def fenced(lines: list[str], language: str) -> str:
    """A code block with a fence that nothing in it can close."""
    longest = max((len(run) for line in lines for run in _BACKTICKS.findall(line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}{language}", *lines, fence))


def _plain(text: str) -> str:
    escaped = html.escape(harmless(text), quote=False)
    joined = _TRIGGERS.sub("\\1\u2060", escaped) if _RISKY.search(escaped) else escaped
    return _MARKUP.sub(r"\\\1", joined).replace("`", "\\`")
