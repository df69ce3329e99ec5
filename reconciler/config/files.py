"""Which files a configuration is made of: found, read and digested."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.config.reader import FILE_BYTES_MAX
from reconciler.errors import ConfigurationInvalid, UsageError
from reconciler.problem import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["default_paths", "digest_files", "find_files", "read_file", "shown"]

_SUFFIXES = frozenset({".yaml", ".yml"})


def default_paths(cwd: str | Path) -> list[Path]:
    """What `-f` means when it is not given: `hooks.yaml`, else `hooks/`. Raises UsageError where neither exists."""
    for name in ("hooks.yaml", "hooks"):
        if (Path(cwd) / name).exists():
            return [Path(name)]
    raise UsageError("there is no hooks.yaml and no folder hooks here: pass -f PATH, or begin with `reconcile init`")


def find_files(paths: Sequence[str | Path]) -> list[Path]:
    """The files that `paths` stand for: themselves, or below a folder every `*.yaml` and `*.yml`.

    Sorted, each once however many paths lead to it. Below a folder names that begin with a dot are passed over (a
    mounted ConfigMap keeps every file a second time under such a name), and links are followed. Raises
    ConfigurationInvalid for a path that does not exist and for a folder that holds no file.
    """
    found: dict[str, Path] = {}
    problems: list[Problem] = []
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)  # noqa: PTH116 - Path.is_dir hides the reason
        except OSError as error:
            message = f"this path cannot be read: {error.strerror or error}"
            problems.append(_about(path, "file-unreadable", message))
            continue
        files = [file for _, file in _walk(Path(path))] if is_folder else [Path(path)]
        if not files:
            message = (
                "this folder holds no *.yaml or *.yml file; to delete everything, keep a file that says `bots: {}`"
            )
            problems.append(_about(path, "no-files", message))
        for file in files:
            real = os.path.realpath(file)
            found[real] = min(file, found.get(real, file), key=str)
    if problems:
        raise ConfigurationInvalid(problems)
    return sorted(found.values(), key=str)


def read_file(path: Path) -> bytes:
    """A file's bytes, or one byte more than any file may have. Raises OSError; never waits for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file", str(path))
        return file.read(FILE_BYTES_MAX + 1)


def shown(path: str | Path) -> str:
    """A path as text that every format can hold: bytes in it that are no UTF-8 become U+FFFD."""
    return str(path).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def digest_files(paths: Sequence[str | Path]) -> str:
    """`sha256:…` of the bytes of all files below `paths` and their names there, whatever folder those stand in.

    Never raises: what cannot be read is part of the digest as that, so that its return is a change, too.
    """
    rows: set[tuple[str, str]] = set()
    for path in paths:
        for name, file in _walk(Path(path)):
            try:
                rows.add((name, hashlib.sha256(read_file(file)).hexdigest()))
            except OSError as error:
                rows.add((name, f"unreadable {error.errno}"))
    return f"sha256:{hashlib.sha256(repr(sorted(rows)).encode()).hexdigest()}"


def _walk(path: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a path with its name below it; folders are entered once, however links lead back to them."""
    if not path.is_dir():
        yield path.name, path
        return
    entered: set[str] = set()
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        if real in entered:
            folders.clear()
            continue
        entered.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix in _SUFFIXES:
                file = Path(folder, name)
                yield str(file.relative_to(path)), file


def _about(path: str | Path, code: str, message: str) -> Problem:
    return Problem(place=Place(shown(path), 1), code=code, message=message)
