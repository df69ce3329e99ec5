"""Where commands print: results on stdout, everything else on stderr, colours only where someone sees them."""

from __future__ import annotations

import os
import shutil
import sys
from typing import IO, TYPE_CHECKING, Any

from reconciler.cli.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "ask",
    "encode",
    "has_color",
    "is_interactive",
    "is_watched",
    "note",
    "print_bytes",
    "print_fields",
    "print_json",
    "print_json_line",
    "print_table",
    "print_text",
    "width",
]

_WIDTH_WITHOUT_TERMINAL = 120


def is_interactive() -> bool:
    """Whether somebody can be asked: standard input is a terminal."""
    return sys.stdin is not None and sys.stdin.isatty()


def is_watched() -> bool:
    """Whether somebody sees progress: standard error is a terminal."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def has_color(stream: IO[str]) -> bool:
    """Whether `stream` is a terminal that wants colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns of the terminal; a fixed, generous figure where there is none, so that output is reproducible."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL


def encode(value: Any, *, indent: bool = True) -> bytes:
    """`value` as JSON. Lone surrogates, which file names may carry, become question marks instead of a failure."""
    import orjson

    options = orjson.OPT_INDENT_2 if indent else 0
    try:
        return orjson.dumps(value, option=options)
    except (TypeError, orjson.JSONEncodeError):
        return orjson.dumps(_well_formed(value), option=options)


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    print_bytes(encode(value) + b"\n")


def print_json_line(value: Any) -> None:
    """One line of a stream of JSON documents, out at once."""
    print_bytes(encode(value, indent=False) + b"\n")
    sys.stdout.flush()


def print_bytes(data: bytes) -> None:
    """`data` on stdout as it is: JSON is UTF-8 whatever the locale."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def print_text(text: str = "") -> None:
    """A line (or a ready-made block) on stdout."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str) -> None:
    """A line for the person at the keyboard: on stderr, so that stdout stays the result."""
    sys.stdout.flush()
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def ask(question: str) -> bool:
    """Whether the person at the terminal says yes; anything else, an end of input included, is a no."""
    sys.stdout.flush()
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        sys.stderr.write("\n")
    return answer.strip().lower() in ("y", "yes")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table: with rich on a terminal, else aligned columns two blanks apart. Cells are made safe here."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich_table(columns, cells)
        return
    widths = [max(len(column), *(len(row[at]) for row in cells), 0) for at, column in enumerate(columns)]
    for row in ([column.upper() for column in columns], *cells):
        print_text("  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip())


def print_fields(fields: Mapping[str, str]) -> None:
    """Names and values, a line each, values aligned. Values are made safe here."""
    size = max(map(len, fields), default=0)
    for name, value in fields.items():
        print_text(f"{name.ljust(size)}  {one_line(value)}".rstrip())


_PROSE_CHARACTERS = 24
"""A cell with blanks that is longer may be broken into lines; an address never is, it is there to be copied."""


_GAP = 3


def _print_rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    needed = 0
    for at, column in enumerate(columns):
        is_prose = any(len(row[at]) > _PROSE_CHARACTERS and " " in row[at] for row in rows)
        longest = max(len(column), *(len(row[at]) for row in rows), 0)
        least = min(longest, _PROSE_CHARACTERS) if is_prose else longest
        table.add_column(column, overflow="fold", min_width=least)
        needed += least + _GAP
    for row in rows:
        table.add_row(*(Text(cell, style=_TONES.get(cell, "")) for cell in row))
    # Without a colour system rich writes no escape sequence at all; with `no_color` it would still dim and embolden.
    console = Console(color_system="auto" if has_color(sys.stdout) else None, highlight=False)
    # On a terminal that is too narrow for the names lines run on, as kubectl's do, rather than names being cut up.
    console.width = max(console.width, needed - _GAP)
    console.print(table)


_TONES = {
    "delivered": "green",
    "healthy": "green",
    "pending": "yellow",
    "sending": "yellow",
    "exhausted": "red",
    "refused": "red",
    "failing": "red",
    "gone": "red",
    "disabled": "dim",
    "cancelled": "dim",
    "expired": "dim",
}


def _well_formed(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_well_formed(item) for item in value]
    return value
