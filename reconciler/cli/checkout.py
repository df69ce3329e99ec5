"""Which commit the configuration stands at, for plans to record."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["current_commit"]

_CI_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA")
_OBJECT_NAME = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_PATIENCE_S = 5


def current_commit(paths: Sequence[str | Path], environ: Mapping[str, str]) -> str | None:
    """HEAD of the repository that holds the first of `paths`, else what CI says; None outside of both.

    Git is only asked where a `.git` is in sight: starting it costs more than a small plan does.
    """
    first = Path(paths[0]).resolve() if paths else Path.cwd()
    folder = first if first.is_dir() else first.parent
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        commit = _head(folder)
        if commit is not None:
            return commit
    named = (environ.get(variable, "") for variable in _CI_VARIABLES)
    return next((commit for commit in named if _OBJECT_NAME.fullmatch(commit)), None)


def _head(folder: Path) -> str | None:
    import subprocess

    try:
        answer = subprocess.run(  # noqa: S603 - a fixed command without input
            ["git", "-C", os.fspath(folder), "rev-parse", "--verify", "--quiet", "HEAD"],  # noqa: S607 - the user's git
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = answer.stdout.strip()
    return commit if answer.returncode == 0 and _OBJECT_NAME.fullmatch(commit) else None
