"""`plan.lines`."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from reconciler.plan import lines
from reconciler.plan.lines import line_diff


def drawn(before: str, after: str) -> list[str]:
    """The diff as text lines."""
    return [f"{sign}{text}" for sign, text in line_diff(before, after)]


def test_only_what_changed_and_its_surroundings_are_shown() -> None:
    """Two lines of context on either side; longer runs are counted."""
    before = "\n".join(f"line {number}" for number in range(12)) + "\n"
    after = before.replace("line 6\n", "line six\nand a half\n")
    assert drawn(before, after) == [
        "@4 lines the same",
        " line 4",
        " line 5",
        "-line 6",
        "+line six",
        "+and a half",
        " line 7",
        " line 8",
        "@3 lines the same",
    ]


def test_a_line_break_at_the_end_counts() -> None:
    """It is shown as the empty line it makes, unless both texts end in one."""
    assert drawn("a\n", "b\n") == ["-a", "+b"]
    assert drawn("a", "a\n") == [" a", "+"]


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_the_diff_holds_both_texts(before: list[str], after: list[str]) -> None:
    """Taking the added lines away gives the one text, taking the removed ones away the other."""
    old, new = "\n".join(before), "\n".join(after)
    assume(old != new)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CONTEXT", 1_000)
        found = line_diff(old, new)
    assert "\n".join(text for sign, text in found if sign != "+") == old
    assert "\n".join(text for sign, text in found if sign != "-") == new


def test_very_long_texts_are_shown_as_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit nothing is matched up, which would cost the square of the length."""
    monkeypatch.setattr(lines, "COMPARED_MAX", 2)
    assert drawn("x\na\nb\nc\ny", "x\nA\nb\nC\ny") == [" x", "-a", "-b", "-c", "+A", "+b", "+C", " y"]
