"""What no schema can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.config.gather import GatheredBot
    from reconciler.problem import Problem

__all__ = ["check"]


def check(bots: Mapping[str, GatheredBot], problems: list[Problem], *, whole: bool) -> None:
    """Add the problems."""
