"""What strangers wrote cannot reach the terminal's controls."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.text import many_lines, one_line, plural, shorten


@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07name", "name"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b2Jgone", "gone"),
        ("\x1b]52;c;unterminated", "52;c;unterminated"),
        ("a\rb\x00c\x7f", "a bc"),
        ("user\u202egpj.exe", "usergpj.exe"),
        ("zero\u200bwidth", "zerowidth"),
        ("tab\tand\nline\u2028s", "tab and line s"),
        ("lone \udc80", "lone "),
        ("Grüße 👩\u200d🚀", "Grüße 👩\u200d🚀"),
    ],
)
def test_hostile_text_is_shown_harmless_on_one_line(hostile: str, harmless: str) -> None:
    """Sequences go, breaks become blanks, letters and emoji stay."""
    assert one_line(hostile) == harmless


@given(st.text())
def test_nothing_but_breaks_and_text_is_left(text: str) -> None:
    """Whatever comes in, no control character comes out, and doing it again changes nothing."""
    shown = many_lines(text)

    assert [c for c in shown if unicodedata.category(c) == "Cc" and c not in "\n\t"] == []
    assert "\n" not in one_line(text)
    assert many_lines(shown) == shown


def test_shortening_and_counting_read_well() -> None:
    """An ellipsis stands for what was cut; one is singular, many have separators."""
    assert shorten("abcdef", 4) == "abc…"
    assert shorten("abcd", 4) == "abcd"
    assert plural(1, "delivery", "deliveries") == "1 delivery"
    assert plural(1200, "delivery", "deliveries") == "1,200 deliveries"
    assert plural(0, "event") == "0 events"
