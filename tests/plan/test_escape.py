"""`plan.escape`: what hostile names and values look like."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan.escape import harmless, harmless_line, inline_value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain Zoë 日本 🎉", "plain Zoë 日本 🎉"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("nb\u00a0sp", "nb\\xa0sp"),
        ("\U000e0041", "\\U000e0041"),
        ("fil\u3164ler", "fil\\u3164ler"),
        ("vari\ufe0fation\U000e0100", "vari\\ufe0fation\\U000e0100"),
        ("\u2800", "\\u2800"),
    ],
)
def test_what_does_not_show_is_spelled_out(text: str, shown: str) -> None:
    """Control characters, bidirectional marks and invisible ones; whatever shows stays as it is."""
    assert harmless(text) == shown


def test_blanks_at_the_end_of_a_line_are_spelled_out() -> None:
    """They may be all that differs between two lines; those within a line show by what follows them."""
    assert harmless_line("a b  ") == "a b\\x20\\x20"
    assert harmless_line("  a b") == "  a b"
    assert harmless_line("\u202e ") == "\\u202e\\x20"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "(none)"),
        (True, "true"),
        (8, "8"),
        (0.1, "0.1"),
        ("30s", "30s"),
        ("https://a.example.com/{{conversation.id}}?x=1", "https://a.example.com/{{conversation.id}}?x=1"),
        ("8", '"8"'),
        ("true", '"true"'),
        ("", '""'),
        ("My Bot", '"My Bot"'),
        ('say "hi" → now\\', '"say \\"hi\\" → now\\\\"'),
        ("two\nlines", '"two\\nlines"'),
        (["30s", "1m"], "[30s, 1m]"),
        ({"env": "OPS"}, "${env:OPS}"),
        ({"file": "/run/x"}, "${file:/run/x}"),
        ({"b": 1, "a": [None]}, "{a: [(none)], b: 1}"),
    ],
)
def test_a_value_is_bare_only_where_it_cannot_mislead(value: Any, shown: str) -> None:
    """A string that could be read as something else, or that holds blanks or quotes, is quoted."""
    assert inline_value(value) == shown


@given(st.text())
def test_every_value_is_one_printable_line(text: str) -> None:
    """Whatever a string holds, nothing of it reaches the terminal as an instruction."""
    assert inline_value(text).isprintable()
    assert inline_value({text: [text]}).isprintable()
