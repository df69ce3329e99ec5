"""What the schema refuses, as one problem for each mistake, in words of its own, at the character that is wrong.

The validator's messages are never passed on: they echo values, which may be secrets, and speak of schemas.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from reconciler.config.phrases import Fault, phrase
from reconciler.config.reader import PROBLEMS_MAX
from reconciler.config.schema import hooks_validator, schema_text
from reconciler.config.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.config.document import Document
    from reconciler.problem import Problem

__all__ = ["diagnose"]

_ABOUT_KEYS = frozenset({"required", "falseSchema"})
_CHILDREN = ("data_sources", "webhooks")
_ERRORS_MAX = 5_000
_RESOURCE_STEPS = 4  # bots, handle, webhooks, handle


def diagnose(document: Document) -> tuple[list[Problem], set[tuple[str | int, ...]] | None]:
    """The problems of a document that the schema refuses, and the paths of the blocks they stand in.

    The paths are None when there are too many errors to know them all: then nothing in the document can be trusted.
    """
    errors = list(islice(hooks_validator().iter_errors(document.data), _ERRORS_MAX + 1))
    faults = [fault for error in errors for fault in _faults(document, error)]
    problems = [_problem(document, fault) for fault in islice(_without_echoes(faults), PROBLEMS_MAX)]
    return problems, None if len(errors) > _ERRORS_MAX else {_block(fault.path) for fault in faults}


def _problem(document: Document, fault: Fault) -> Problem:
    code, message, suggestion = phrase(fault)
    where = fault.path if fault.unknown is None else (*fault.path, fault.unknown)
    index = document.locate(where, key=fault.unknown is not None or fault.kind in _ABOUT_KEYS)
    hide = "secret" in where[_RESOURCE_STEPS:]
    return document.problem(index, code, message, suggestion=suggestion, hide=hide)


def _faults(document: Document, error: Any) -> Iterator[Fault]:
    """An error of the validator as faults: one for each key where it lumps several together."""
    path = tuple(error.instance_path)
    kind, value = error.kind.name, error.kind.value
    schema = _schema_at(document.data, path)
    instance = error.instance
    if kind == "additionalProperties":
        for key in value:
            yield Fault(kind=kind, path=path, value=value, instance=instance, schema=schema, unknown=key)
    elif kind == "propertyNames":
        name = error.kind.error.instance
        yield Fault(kind=kind, path=path, value=value, instance=instance, schema=schema, unknown=name)
    else:
        yield Fault(kind=kind, path=path, value=value, instance=instance, schema=schema)


def _without_echoes(faults: Sequence[Fault]) -> Iterator[Fault]:
    """Leave out what is the same mistake seen twice.

    A misspelled key is unknown and makes the right one missing: the first says both. A name that breaks two rules
    is one bad name, a value that breaks two is one bad value.
    """
    unknown: dict[tuple[str | int, ...], list[str]] = {}
    for fault in faults:
        if fault.unknown is not None:
            unknown.setdefault(fault.path, []).append(fault.unknown)
    seen: set[tuple[tuple[str | int, ...], str | None]] = set()
    for fault in faults:
        if fault.kind == "required":
            wanted = list(fault.schema.get("properties", ()))
            if any(nearest(key, wanted) == fault.value for key in unknown.get(fault.path, ())[:PROBLEMS_MAX]):
                continue
            yield fault
        elif (fault.path, fault.unknown) not in seen:
            seen.add((fault.path, fault.unknown))
            yield fault


def _block(path: Sequence[str | int]) -> tuple[str | int, ...]:
    """The smallest block that is judged as a whole: a webhook, a data source, a bot, the defaults."""
    if len(path) >= _RESOURCE_STEPS and path[2] in _CHILDREN:
        return tuple(path[:_RESOURCE_STEPS])
    return tuple(path[:2]) if path[:1] == ("bots",) else tuple(path[:1])


@cache
def _root() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schema_text("hooks.schema.json"))
    return schema


def _schema_at(data: Any, path: Sequence[str | int]) -> Mapping[str, Any]:
    """The part of the schema that speaks about the value at `path`."""
    schema = _resolved(_root(), data)
    for step in path:
        data = data[step]
        child = schema.get("properties", {}).get(step)
        if child is None:
            child = schema.get("items") if isinstance(step, int) else schema.get("additionalProperties")
        schema = _resolved(child if isinstance(child, dict) else {}, data)
    return schema


def _resolved(schema: dict[str, Any], data: Any) -> dict[str, Any]:
    """A schema behind its reference, and for a webhook the branch of its type."""
    if "$ref" in schema:
        schema = _root()["$defs"][schema["$ref"].rpartition("/")[2]]
    kind = data.get("type") if isinstance(data, dict) else None
    for branch in schema.get("allOf", ()):
        if branch["if"]["properties"]["type"]["const"] == kind:
            return _resolved(branch["then"], data)
    return schema
