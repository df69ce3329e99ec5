"""What the tests of the configuration share: texts in, problems or resources out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from reconciler import config
from reconciler.errors import ConfigurationInvalid

if TYPE_CHECKING:
    from reconciler.problem import Problem

__all__ = ["ProblemsOf"]


class ProblemsOf(Protocol):
    """The problems of one file's text, or of several files."""

    def __call__(self, text: str | bytes, **others: str | bytes) -> list[Problem]: ...


@pytest.fixture
def problems_of() -> ProblemsOf:
    """Errors and warnings alike, in the order in which they are reported."""

    def find(text: str | bytes, **others: str | bytes) -> list[Problem]:
        texts = {"hooks.yaml": text} | {f"{name}.yaml": other for name, other in others.items()}
        files = {name: content.encode() if isinstance(content, str) else content for name, content in texts.items()}
        try:
            return list(config.load_texts(files, "/etc/hooks").warnings)
        except ConfigurationInvalid as error:
            return list(error.problems)

    return find
