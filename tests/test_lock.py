"""What is installed is what was locked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_every_dependency_is_pinned_by_version_and_hash() -> None:
    """The lock file has each dependency of pyproject.toml, each entry with a version and at least one hash."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    declared = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    names = {re.split(r"[<>=~! ;\[]", requirement)[0].lower() for requirement in declared}
    entries = re.findall(r"^(\S+)==\S+[^\n]*\\\n((?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n?)+)", LOCK, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^\w", LOCK, re.MULTILINE))
    assert names - {name for name, _ in entries} == set()


def test_lock_names_no_index() -> None:
    """Where packages come from is the machine's business; the hashes say whether they are the right ones."""
    assert re.search(r"://|^--|-index", LOCK, re.MULTILINE) is None
