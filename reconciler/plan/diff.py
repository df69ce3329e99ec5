"""The difference of two canonical specifications, field by field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Spec

__all__ = ["Difference", "differences"]

_FIRST = {path: rank for rank, path in enumerate(("type", "data_source", "url", "enabled"))}
_WHOLE = frozenset({"secret"})
"""Mappings that are one value to a reader: `{env: NAME}` is replaced, not edited."""


class Difference(NamedTuple):
    """A field whose value differs; None stands for absent. Lists are compared and shown whole."""

    path: str
    before: Any
    after: Any


def differences(before: Spec | None, after: Spec | None) -> list[Difference]:
    """Every leaf that differs: what a reader asks for first, then by path, so that the order of keys never shows."""
    found: list[Difference] = []
    _walk("", before or {}, after or {}, found)
    found.sort(key=_order)
    return found


def _order(difference: Difference) -> tuple[int, str]:
    path = difference.path
    return _FIRST.get(path, len(_FIRST)), path


def _walk(prefix: str, before: Mapping[str, Any], after: Mapping[str, Any], found: list[Difference]) -> None:
    for name in (*after, *(before.keys() - after.keys())):
        old, new = before.get(name), after.get(name)
        if old is new or (old == new and type(old) is type(new)):
            continue
        path = f"{prefix}{name}"
        if (isinstance(old, dict) or isinstance(new, dict)) and _is_nested(old, new) and path not in _WHOLE:
            _walk(f"{path}.", old or {}, new or {}, found)
        elif old != new:
            found.append(Difference(path, old, new))


def _is_nested(old: Any, new: Any) -> bool:
    """Two mappings, or one with something in it that appears or goes as a whole: told leaf by leaf."""
    if isinstance(old, dict):
        return isinstance(new, dict) or (new is None and len(old) > 0)
    return old is None and isinstance(new, dict) and len(new) > 0
