"""Suggestions: near names, and none when nothing is near."""

from __future__ import annotations

import pytest

from reconciler.config.suggest import did_you_mean, nearest

KEYS = ["url", "type", "enabled", "timeout", "retry", "custom_payload", "data_source", "secret_version"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("ulr", "url"),
        ("typ", "type"),
        ("enable", "enabled"),
        ("timeuot", "timeout"),
        ("retrys", "retry"),
        ("customPayload", "custom_payload"),
        ("data-source", "data_source"),
        ("datasource", "data_source"),
        ("SECRET_VERSION", "secret_version"),
        ("frobnicate", None),
        ("x", None),
        ("", None),
        ("a" * 5_000, None),
    ],
)
def test_the_nearest_name_is_found_when_one_is_near(word: str, meant: str | None) -> None:
    """One slip for three letters, three at most."""
    assert nearest(word, KEYS) == meant


def test_the_first_in_the_alphabet_is_meant_when_two_are_as_near() -> None:
    """The order of the candidates plays no part, so reports are the same every time."""
    assert nearest("bat", ["cat", "bar"]) == nearest("bat", ["bar", "cat"]) == "bar"


def test_nothing_is_asked_when_the_word_is_right() -> None:
    """A suggestion to write what stands there would be no help."""
    assert did_you_mean("url", KEYS) is None
    assert did_you_mean("ulr", KEYS) == "did you mean `url`?"
