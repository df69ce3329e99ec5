"""`control.references`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.control.references import FILE_BYTES_MAX, Resolver, Unresolved, check_references

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from reconciler.model.resource import Desired


@pytest.mark.parametrize(
    ("text", "resolved"),
    [
        ("plain", "plain"),
        ("Bearer ${env:TOKEN}!", "Bearer t0ken!"),
        ("${env:EMPTY}", ""),
        ("${env:EMPTY:-fallback}", "fallback"),
        ("${env:UNSET:-fallback}", "fallback"),
        ("${env:UNSET:-}", ""),
        ("${env:NESTED}", "${env:TOKEN}{{x}}"),
        ("$${env:TOKEN}", "${env:TOKEN}"),
    ],
)
def test_what_the_environment_brings_is_inert(text: str, resolved: str) -> None:
    """A default serves unset and empty variables; nothing that was brought is looked at again."""
    environ = {"TOKEN": "t0ken", "EMPTY": "", "NESTED": "${env:TOKEN}{{x}}"}
    assert Resolver(environ).text(text, "/") == resolved


@pytest.mark.parametrize(
    ("content", "text"), [(b"s\n", "s"), (b"s\r\n", "s"), (b"s\n\n", "s\n"), (b"s", "s"), (b"s ", "s "), (b"", "")]
)
def test_one_line_break_is_stripped_from_a_file(content: bytes, text: str, tmp_path: Path) -> None:
    """One, not all, and nothing else; the path is relative to the YAML file's folder."""
    (tmp_path / "token").write_bytes(content)
    assert Resolver({}).text("${file:token}", str(tmp_path)) == text
    assert Resolver({}).text(f"${{file:{tmp_path}/token}}", "/elsewhere") == text


def test_what_cannot_be_resolved_says_why(tmp_path: Path) -> None:
    """An unset variable; a file that is missing, a folder, a pipe, too large, or no text."""
    (tmp_path / "large").write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    for text, reason in (
        ("${env:UNSET}", "UNSET is not set"),
        ("${file:missing}", "No such file"),
        ("${file:.}", "cannot be read|not a regular file"),
        ("${file:pipe}", "not a regular file"),
        ("${file:large}", "larger than 64 KiB"),
        ("${file:binary}", "not UTF-8"),
    ):
        with pytest.raises(Unresolved, match=reason):
            Resolver({}).text(text, str(tmp_path))


def test_a_secret_is_printable_ascii_and_not_empty(tmp_path: Path) -> None:
    """And one that is not is refused without being repeated."""
    assert Resolver({"S": "good-s3cret"}).secret({"env": "S"}, "/") == "good-s3cret"
    (tmp_path / "s").write_text("from-file\n")
    assert Resolver({}).secret({"file": "s"}, str(tmp_path)) == "from-file"
    for bad in ("", "geheim-ö", "two\nlines", "tab\t", "null\0"):
        with pytest.raises(Unresolved) as refused:
            Resolver({"S": bad}).secret({"env": "S"}, "/")
        assert not bad or bad not in str(refused.value)


def test_every_unresolvable_reference_of_a_configuration_is_found(declare: Callable[..., Desired]) -> None:
    """In URLs, headers, bodies, syncs and secrets, each at its place; what is switched off is not asked for."""

    def hook(**more: Any) -> dict[str, Any]:
        return {"type": "conversation.started", "url": "https://x.example.com", **more}

    desired = declare(
        {
            "b": {
                "data_sources": {
                    "http": {"sync": {"http": {"url": "${env:A}", "headers": {"Authorization": "${env:B}"}}}},
                    "command": {"sync": {"command": ["x", "${env:C}"]}},
                },
                "webhooks": {
                    "url": hook(url="${env:D}"),
                    "payload": hook(custom_payload={"headers": {"X": "${env:E}"}, "body": "${env:F}"}),
                    "off": hook(custom_payload={"enabled": False, "body": "${env:OFF}"}),
                    "secret": hook(secret={"env": "G"}),
                    "fine": hook(url="${env:SET}", secret={"env": "SET"}),
                },
            }
        }
    )
    problems = check_references(desired, {"SET": "set"})
    assert sorted(problem.message.split("variable ")[1][0] for problem in problems) == list("ABCDEFG")
    assert problems == sorted(problems, key=lambda problem: problem.place)
    assert {problem.place.file for problem in problems} == {"hooks.yaml"}
