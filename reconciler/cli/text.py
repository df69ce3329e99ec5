"""Making text from elsewhere safe and short enough for a terminal.

Names, URLs and response bodies come from people we do not know. Printed raw, an escape sequence in one of them
could rewrite the screen, the window title or the clipboard, and a bidirectional override could show one host
and mean another.
"""

from __future__ import annotations

import re

__all__ = ["many_lines", "one_line", "plural", "shorten"]

_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    r"|(?:\x1b[\]P_^X]|[\x9d\x90\x9f\x9e\x98])[^\x07\x1b\x9c]{0,4096}(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, APC, PM, SOS
    r"|\x1b[ -/]*[0-~]"  # two-character sequences
)
_LINE_BREAK = re.compile(r"\r\n|[\n\r\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\r\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def many_lines(text: str) -> str:
    """`text` without escape sequences and control characters; line feeds and tabs stay."""
    return _INVISIBLE.sub("", _LINE_BREAK.sub("\n", _SEQUENCE.sub("", text)))


def one_line(text: str) -> str:
    """`text` on one line: as `many_lines`, with every line break and tab as one blank."""
    return many_lines(text).replace("\n", " ").replace("\t", " ")


def shorten(text: str, width: int) -> str:
    """`text` in at most `width` characters, an ellipsis standing for what was cut."""
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def plural(count: int, noun: str, many: str | None = None) -> str:
    """`1 delivery`, `1,200 deliveries`."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"
