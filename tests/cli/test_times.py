"""Times as people read and type them."""

from __future__ import annotations

import pytest

from reconciler.cli.times import ago, parse_since
from reconciler.errors import UsageError

NOW_MS = 1_773_144_000_000


@pytest.mark.parametrize(
    ("before_ms", "words"),
    [
        (0, "just now"),
        (999, "just now"),
        (59_999, "59 s ago"),
        (60_000, "1 min ago"),
        (5 * 3_600_000, "5 h ago"),
        (86_400_000, "1 day ago"),
        (50 * 86_400_000, "50 days ago"),
        (-1, "now"),
        (-30_000, "in 30 s"),
    ],
)
def test_distance_is_told_in_the_largest_unit(before_ms: int, words: str) -> None:
    """One unit is enough to decide by."""
    assert ago(NOW_MS - before_ms, NOW_MS) == words
    assert ago(None, NOW_MS) == "never"


def test_since_is_an_age_or_a_time() -> None:
    """Both spellings mean a moment; anything else is refused with both."""
    assert parse_since("2h", NOW_MS) == NOW_MS - 7_200_000
    assert parse_since("2026-03-10T12:00:00Z", NOW_MS) == NOW_MS
    assert parse_since("2026-03-10T14:00:00+02:00", NOW_MS) == NOW_MS
    with pytest.raises(UsageError, match="24h"):
        parse_since("yesterday", NOW_MS)
