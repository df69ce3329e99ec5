"""Files to Desired: read, validated, gathered, checked, declared."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from reconciler.config.check import check
from reconciler.config.declare import declare, digest
from reconciler.config.diagnose import diagnose
from reconciler.config.files import find_files, read_file, shown
from reconciler.config.gather import gather, gather_notify
from reconciler.config.reader import read
from reconciler.config.schema import accepts
from reconciler.errors import ConfigurationInvalid
from reconciler.model.resource import Desired
from reconciler.problem import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from reconciler.config.document import Document

__all__ = ["load", "load_texts"]

_PROBLEMS_MAX = 2_000
_READ_ON = frozenset({"duplicate-key"})
"""Errors of the YAML that leave the rest of the file to be judged: the second value is passed over."""


def load(paths: Sequence[str | Path]) -> Desired:
    """The configuration of files and folders. Raises ConfigurationInvalid with every problem, sorted by place."""
    texts: dict[str, bytes] = {}
    unreadable: list[Problem] = []
    for file in find_files(paths):
        try:
            texts[str(file)] = read_file(file)
        except OSError as error:
            message = f"this file cannot be read: {error.strerror or error}"
            unreadable.append(Problem(place=Place(shown(file), 1), code="file-unreadable", message=message))
    return _load(texts, os.getcwd(), unreadable)  # noqa: PTH109 - a string is what is joined


def load_texts(files: Mapping[str, bytes], base_dir: str) -> Desired:
    """The configuration of texts that came some other way, named as files below the absolute folder `base_dir`.

    Raises ConfigurationInvalid as `load` does.
    """
    return _load(files, base_dir, [])


def _load(files: Mapping[str, bytes], folder: str, problems: list[Problem]) -> Desired:
    documents: list[Document] = []
    whole = not problems
    broken: dict[str, set[tuple[str | int, ...]]] = {}
    for name in sorted(files):
        base_dir = os.path.dirname(os.path.normpath(os.path.join(folder, name)))  # noqa: PTH118, PTH120
        document, found = read(shown(name), files[name], base_dir=base_dir)
        problems += found
        errors = {problem.code for problem in found if problem.is_error}
        if errors:
            whole = False
            if document.data is None or not errors <= _READ_ON:
                continue
        if not accepts(document.data):
            refused, blocks = diagnose(document)
            problems += refused
            if blocks is None:
                whole = False
                continue
            broken.setdefault(document.name, set()).update(blocks)
        documents.append(document)
    bots = gather(documents, broken, problems)
    notify = gather_notify(documents, broken, problems)
    check(bots, problems, notify=notify, whole=whole)
    problems = _presentable(problems)
    if any(problem.is_error for problem in problems):
        raise ConfigurationInvalid(problems)
    resources = declare(bots, notify)
    return Desired(
        resources=resources,
        digest=digest(resources.values()),
        warnings=tuple(problems),
        files=tuple(document.name for document in documents),
        locate_bots=partial(_place_of_bots, documents[0]) if len(documents) == 1 else None,
    )


def _place_of_bots(document: Document) -> Place:
    return document.place(document.locate(("bots",), key=True))


def _presentable(problems: Sequence[Problem]) -> list[Problem]:
    """Sorted by place, each once, and no warning about what an error is about already; not more than can be read."""
    errors = {problem.place for problem in problems if problem.is_error}
    kept = {problem for problem in problems if problem.is_error or problem.place not in errors}
    ordered = sorted(kept, key=lambda problem: (problem.place, not problem.is_error, problem.code, problem.message))
    if len(ordered) <= _PROBLEMS_MAX:
        return ordered
    # Errors are never crowded out by warnings.
    shown = set(sorted(ordered, key=lambda problem: not problem.is_error)[:_PROBLEMS_MAX])
    return [problem for problem in ordered if problem in shown]
