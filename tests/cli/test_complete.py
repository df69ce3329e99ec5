"""Shells complete commands, options, choices and the addresses of what is applied."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RECONCILE = str(Path(sys.executable).with_name("reconcile"))


def complete(folder: Path, *words: str) -> list[str]:
    """What bash would offer for the last of `words`."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")},
        "_RECONCILE_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(["reconcile", *words]),
        "COMP_CWORD": str(len(words)),
    }
    done = subprocess.run([RECONCILE], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_addresses_are_completed_from_the_store(applied: Path) -> None:
    """Wherever an address goes, the applied ones are offered; from another store, that one's."""
    both = ["support-bot/chats", "support-bot/published"]

    assert complete(applied, "show", "") == both
    assert complete(applied, "secret", "support-bot/p") == ["support-bot/published"]
    assert complete(applied, "deliveries", "--hook", "support") == both
    assert complete(applied, "--allow-delete", "") == both
    assert complete(applied, "show", "--store", "sqlite:other.db", "") == []


def test_commands_and_choices_are_completed(tmp_path: Path) -> None:
    """Commands, options and the values of an option; a folder without a store offers no addresses and stays empty."""
    assert complete(tmp_path, "deliv") == ["deliveries", "delivery"]
    assert complete(tmp_path, "types", "sync.s") == ["sync.success"]
    assert "--detailed-exitcode" in complete(tmp_path, "--det")
    assert complete(tmp_path, "validate", "--format", "s") == ["sarif"]
    assert complete(tmp_path, "show", "") == []
    assert list(tmp_path.iterdir()) == []


def test_broken_store_is_no_obstacle(tmp_path: Path) -> None:
    """Completion never prints an error into the line being typed."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "reconciler.db").write_bytes(b"nonsense" * 1000)

    assert complete(tmp_path, "show", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_set_up_of_each_shell_is_printed(shell: str) -> None:
    """`_RECONCILE_COMPLETE=…_source reconcile` prints what the help says to evaluate."""
    environment = {**os.environ, "_RECONCILE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([RECONCILE], env=environment, capture_output=True, text=True, check=True)

    assert "_RECONCILE_COMPLETE" in done.stdout
