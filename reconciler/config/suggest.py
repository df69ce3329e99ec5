"""The name that was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["did_you_mean", "nearest"]

_LENGTH_MAX = 100
_LETTERS_PER_SLIP = 3
_SLIPS_MAX = 3
_CANDIDATES_MAX = 2_000


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate fewest slips of the finger away, None where none is near: one slip for three letters.

    Case, hyphens and underscores do not count. Of equally near ones the first in the alphabet.
    """
    wanted = _letters(word)
    if not wanted or len(wanted) > _LENGTH_MAX:
        return None
    best: str | None = None
    fewest = min(_SLIPS_MAX, max(1, len(wanted) // _LETTERS_PER_SLIP)) + 1
    for candidate in sorted(candidates)[:_CANDIDATES_MAX]:
        letters = _letters(candidate)
        if abs(len(letters) - len(wanted)) < fewest:
            slips = _distance(wanted, letters)
            if slips < fewest:
                best, fewest = candidate, slips
    return best


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """The question to ask under a caret, None where no candidate is near."""
    found = nearest(word, candidates)
    return None if found is None or found == word else f"did you mean `{found}`?"


def _letters(text: str) -> str:
    return text.lower().replace("_", "").replace("-", "")


def _distance(one: str, other: str) -> int:
    """Letters put in, left out, mistaken or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        before, above, row = row, before, [i]
        for j, against in enumerate(other, start=1):
            slips = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != against))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == against:
                slips = min(slips, above[j - 2] + 1)
            row.append(slips)
    return row[-1]
