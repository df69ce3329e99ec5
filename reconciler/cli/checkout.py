"""What git knows of the configuration: the commit it stands at, and what it said at another one."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["current_commit", "files_at"]

_CI_VARIABLES = ("GITHUB_SHA", "CI_COMMIT_SHA")
_OBJECT_NAME = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_SUFFIXES = (".yaml", ".yml")
_PATIENCE_S = 30


def current_commit(paths: Sequence[str | Path], environ: Mapping[str, str]) -> str | None:
    """HEAD of the repository that holds the first of `paths`, else what CI says; None outside of both.

    Git is only asked where a `.git` is in sight: starting it costs more than a small plan does.
    """
    first = Path(paths[0]).resolve() if paths else Path.cwd()
    folder = first if first.is_dir() else first.parent
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        commit = "" if head is None else head.decode("ascii", "replace").strip()
        if _OBJECT_NAME.fullmatch(commit):
            return commit
    named = (environ.get(variable, "") for variable in _CI_VARIABLES)
    return next((commit for commit in named if _OBJECT_NAME.fullmatch(commit)), None)


def files_at(ref: str, paths: Sequence[str | Path]) -> dict[str, bytes]:
    """The YAML files that `paths` stood for at a commit, by their names from the current folder.

    Raises UsageError where git does not know the commit. A path that was not there then brings nothing.
    """
    here = Path.cwd()
    commit = _git(here, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if commit is None:
        raise UsageError(f"--base-ref {ref!r}: git knows no such commit here; fetch it first (fetch-depth: 0 in CI)")
    name = commit.decode("ascii").strip()
    listed = _git(here, "ls-tree", "-r", "-z", "--name-only", name, "--", *(os.fspath(path) for path in paths))
    found = [os.fsdecode(path) for path in (listed or b"").split(b"\0") if path]
    wanted = [path for path in found if path.endswith(_SUFFIXES) and not _is_hidden(path, paths)]
    return {path: _git(here, "cat-file", "blob", f"{name}:./{path}") or b"" for path in wanted}


def _is_hidden(path: str, given: Sequence[str | Path]) -> bool:
    """Whether a part of the path that was not given begins with a dot."""
    if any(Path(path) == Path(each) for each in given):
        return False
    return any(part.startswith(".") and part != ".." for part in Path(path).parts)


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git says, None where it fails or is not installed."""
    import subprocess

    try:
        answer = subprocess.run(  # noqa: S603 - an argv of ours; a ref stands behind --end-of-options
            ["git", "-C", os.fspath(folder), *arguments],  # noqa: S607 - the user's git
            capture_output=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout if answer.returncode == 0 else None
