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
    folder = _folder(paths)
    if any((parent / ".git").exists() for parent in (folder, *folder.parents)):
        head = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
        commit = "" if head is None else head.decode("ascii", "replace").strip()
        if _OBJECT_NAME.fullmatch(commit):
            return commit
    named = (environ.get(variable, "") for variable in _CI_VARIABLES)
    return next((commit for commit in named if _OBJECT_NAME.fullmatch(commit)), None)


def files_at(ref: str, paths: Sequence[str | Path]) -> dict[str, bytes]:
    """The YAML files that `paths` stood for where HEAD branched off from `ref`; nothing if they were not there then.

    At `ref` itself where no common ancestor is known. What was merged into `ref` since is no part of the branch's
    own diff: a branch that lacks it must not look as if it deleted it. Raises UsageError where git does not know
    the commit.
    """
    folder = _folder(paths)
    tip = _git(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if tip is None:
        raise UsageError(f"--base-ref {ref!r}: git knows no such commit here; fetch it first (fetch-depth: 0 in CI)")
    base = _git(folder, "merge-base", tip.decode("ascii").strip(), "HEAD") or tip
    commit = base.decode("ascii").strip()
    given = [os.path.relpath(Path(path).resolve(), folder) for path in paths]
    listed = _git(folder, "ls-tree", "-r", "-z", "--name-only", commit, "--", *given)
    found = [os.fsdecode(path) for path in (listed or b"").split(b"\0") if path]
    wanted = [path for path in found if path in given or (path.endswith(_SUFFIXES) and not _is_hidden(path))]
    return {path: _git(folder, "cat-file", "blob", f"{commit}:./{path}") or b"" for path in wanted}


def _folder(paths: Sequence[str | Path]) -> Path:
    """Where git is asked: the folder that holds the first of `paths`."""
    first = Path(paths[0]).resolve() if paths else Path.cwd()
    return first if first.is_dir() else first.parent


def _is_hidden(path: str) -> bool:
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
