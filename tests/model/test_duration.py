"""Durations are read and written as people write them."""

from __future__ import annotations

import pytest

from reconciler.model.duration import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "ms"),
    [("250ms", 250), ("0s", 0), ("30s", 30_000), ("2m", 120_000), ("12h", 43_200_000), ("7d", 604_800_000)],
)
def test_durations_are_read_in_every_unit(text: str, ms: int) -> None:
    """A whole number and a unit is a duration."""
    assert parse_duration(text) == ms


@pytest.mark.parametrize(
    "text", ["", "30", "s", "-1s", "1.5s", "1 s", "1m30s", "30S", "٣s", "1s\n", "9999999999999s"]
)
def test_anything_else_is_refused_with_a_spelling_that_works(text: str) -> None:
    """The message shows how a duration is written."""
    with pytest.raises(ValueError, match="such as 30s"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0s"), (60_000, "1m"), (90_000, "90s"), (1_500, "1500ms"), (86_400_000, "1d"), (3_600_000, "1h")],
)
def test_durations_are_written_with_the_largest_unit_that_divides_them(ms: int, text: str) -> None:
    """Equal durations have one spelling, which reads back as the same figure."""
    assert format_duration(ms) == text
    assert parse_duration(text) == ms
