"""The name that was probably meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["did_you_mean", "nearest"]

_LIKENESS_MIN = 0.7
_LENGTH_MAX = 100


def nearest(word: str, candidates: Collection[str]) -> str | None:
    """The candidate most like `word`, None where none is near. Case, hyphens and underscores hardly count."""
    if len(word) > _LENGTH_MAX:
        return None
    by_letters = {_letters(candidate): candidate for candidate in sorted(candidates, reverse=True)}
    same = by_letters.get(_letters(word))
    if same is not None:
        return same
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it

    close = get_close_matches(_letters(word), by_letters, n=1, cutoff=_LIKENESS_MIN)
    return by_letters[close[0]] if close else None


def did_you_mean(word: str, candidates: Collection[str]) -> str | None:
    """The question to ask under a caret, None where no candidate is near."""
    found = nearest(word, candidates)
    return None if found is None or found == word else f"did you mean `{found}`?"


def _letters(text: str) -> str:
    return text.lower().replace("_", "").replace("-", "")
