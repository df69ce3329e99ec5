"""References are found in text, and what only looks like one is refused or left alone."""

from __future__ import annotations

import pytest

from reconciler.model.reference import Reference, split_references


def env(name: str, default: str | None = None) -> Reference:
    """A reference to a variable."""
    return Reference(scheme="env", name=name, default=default)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("", ()),
        ("plain $5 {x} $", ("plain $5 {x} $",)),
        ("${env:A}", (env("A"),)),
        ("Bearer ${env:TOKEN}!", ("Bearer ", env("TOKEN"), "!")),
        ("${env:A}${env:B:-}", (env("A"), env("B", ""))),
        ("${env:A:-a:-b $x}", (env("A", "a:-b $x"),)),
        ("${env:A:-${env:B}}", (env("A", "${env:B"), "}")),
        ("${file:run/secrets/a b}", (Reference(scheme="file", name="run/secrets/a b"),)),
        ("$${env:A}", ("${env:A}",)),
        ("$$${env:A}", ("$${env:A}",)),
        ("a $${ b ${env:C} $${", ("a ${ b ", env("C"), " ${")),
        ("${{amount}}", ("${{amount}}",)),
    ],
)
def test_text_is_cut_into_literals_and_references(text: str, pieces: tuple[str | Reference, ...]) -> None:
    """Literal pieces come out with `$${` read as `${`; a default is taken as it stands."""
    assert split_references(text) == pieces


@pytest.mark.parametrize(
    "text", ["${", "${env:A", "${}", "${A}", "${env}", "${env:}", "${env:1A}", "${env:A-B}", "${file:}", "${vault:a}"]
)
def test_a_malformed_reference_is_refused(text: str) -> None:
    """What begins like a reference and is none cannot be meant."""
    with pytest.raises(ValueError, match=r"\$\{"):
        split_references(text)


def test_the_message_does_not_repeat_what_somebody_may_have_pasted() -> None:
    """A secret in the place of a name stays out of the error."""
    for text in ("${env:hunter-2}", "${hunter-2}", "${hunter-2"):
        with pytest.raises(ValueError) as refusal:
            split_references(text)
        assert "hunter" not in str(refusal.value)


@pytest.mark.parametrize("text", ["${env:A}", "${env:A:-}", "${env:A:-b}", "${file:/run/x}"])
def test_a_reference_prints_as_it_was_written(text: str) -> None:
    """Plans show references as references."""
    assert str(split_references(text)[0]) == text
