"""Plain scalars: the core schema of YAML 1.2, and nothing of 1.1."""

from __future__ import annotations

import pytest

from reconciler.config.scalars import CoreScalars, Unrepresentable, yaml11_reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("true", True),
        ("False", False),
        ("tRue", "tRue"),
        ("yes", "yes"),
        ("on", "on"),
        ("n", "n"),
        ("0", 0),
        ("-17", -17),
        ("+1", 1),
        ("007", 7),
        ("0755", 755),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-02", "2024-01-02"),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-1.5E-2", -0.015),
        ("1.", 1.0),
        (".", "."),
        ("-", "-"),
        ("1.2.3", "1.2.3"),
        ("10s", "10s"),
        ("=", "="),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_plain_text_has_its_core_value(text: str, value: object) -> None:
    """Type and value, both."""
    read = CoreScalars()[text]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    "text",
    ["9223372036854775808", "-9223372036854775809", "9" * 5_000, "1e999", ".inf", "-.INF", ".nan", "0x" + "f" * 17],
)
def test_numbers_beyond_json_are_not_values(text: str) -> None:
    """The reader reports them."""
    assert isinstance(CoreScalars()[text], Unrepresentable)


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("yes", "a boolean"),
        ("Off", "a boolean"),
        ("Y", "a boolean"),
        ("0755", "an octal number"),
        ("22:22", "a number in base 60"),
        ("1_000", "a number"),
        ("2024-01-02", "a date"),
        ("2024-01-02T10:00:00Z", "a date"),
        ("true", None),
        ("0", None),
        ("42", None),
        ("-", None),
        ("10s", None),
        ("support-bot", None),
    ],
)
def test_other_readings_are_known_when_yaml_11_has_one(text: str, reading: str | None) -> None:
    """Only what really differs is warned of."""
    assert yaml11_reading(text) == reading


def test_suspects_are_remembered_when_they_are_met() -> None:
    """Each spelling once, however often it stands there."""
    scalars = CoreScalars()
    for text in ("yes", "a", "yes", "0755"):
        scalars[text]
    assert scalars.suspects == {"yes", "0755"}
