"""What the schema refuses, as one problem for each mistake, in words of its own, at the character that is wrong.

The validator's messages are never passed on: they echo values, which may be secrets, and speak of schemas.
"""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from reconciler.config.misplaced import misplaced
from reconciler.config.phrases import Fault, phrase
from reconciler.config.reader import PROBLEMS_MAX
from reconciler.config.schema import schema_text
from reconciler.config.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import jsonschema_rs

    from reconciler.config.document import Document
    from reconciler.problem import Problem

__all__ = ["diagnose"]

_ABOUT_KEYS = frozenset({"required", "falseSchema"})
_CHILDREN = ("data_sources", "webhooks")
_FAULTS_MAX = 5_000
_RESOURCE_STEPS = 4  # bots, handle, webhooks, handle


def diagnose(document: Document) -> tuple[list[Problem], set[tuple[str | int, ...]] | None]:
    """The problems of a document that the schema refuses, and the paths of the blocks they stand in.

    The paths are None when there are too many errors to know them all: then nothing in the document can be trusted.
    """
    faults: list[Fault] = list(islice(_bad_names(_root(), document.data, ()), _FAULTS_MAX))
    for error in _nameless_validator().iter_errors(document.data):
        faults += _faults(document, error)
        if len(faults) >= _FAULTS_MAX:
            break
    assert faults, "the validator refuses what this module cannot explain"
    told = _without_echoes(_with_misplaced(document.data, faults))
    problems = [_problem(document, fault) for fault in islice(told, PROBLEMS_MAX)]
    return problems, None if len(faults) >= _FAULTS_MAX else {_block(fault.path) for fault in faults}


def _problem(document: Document, fault: Fault) -> Problem:
    code, message, suggestion = phrase(fault)
    where = fault.path if fault.unknown is None else (*fault.path, fault.unknown)
    index = document.locate(where, key=fault.unknown is not None or fault.kind in _ABOUT_KEYS)
    hide = "secret" in where[1 if where[:1] == ("notify",) else _RESOURCE_STEPS :] or _means_secret(fault.unknown)
    return document.problem(index, code, message, suggestion=suggestion, hide=hide)


def _means_secret(key: str | None) -> bool:
    """Whether an unknown key is a slip for `secret`, so that what follows it may be one."""
    return key is not None and nearest(key, ("secret",)) is not None


def _faults(document: Document, error: Any) -> Iterator[Fault]:
    """An error of the validator as faults: one for each key where it lumps several together."""
    path = tuple(error.instance_path)
    kind, value = error.kind.name, error.kind.value
    schema = _schema_at(document.data, path)
    instance = error.instance
    if kind == "additionalProperties":
        for key in value:
            yield Fault(kind=kind, path=path, value=value, instance=instance, schema=schema, unknown=key)
        return
    if kind == "required" and value == "type" and isinstance(instance, dict):
        # Without its type a webhook has no branch of the schema that would know its other keys.
        slip = next((key for key in instance if nearest(key, (value,)) and key not in _keys_of_webhooks()), None)
        if slip is not None:
            named = {"title": "Webhook", "properties": {value: {}}}
            yield Fault(
                kind="additionalProperties", path=path, value=value, instance=instance, schema=named, unknown=slip
            )
            return
    yield Fault(kind=kind, path=path, value=value, instance=instance, schema=schema)


@cache
def _keys_of_webhooks() -> frozenset[str]:
    """Every key that some type of webhook has."""
    branches = (_resolved(branch["then"], {}) for branch in _root()["$defs"]["webhook"]["allOf"])
    return frozenset(key for branch in branches for key in branch["properties"])


def _with_misplaced(data: Any, faults: list[Fault]) -> list[Fault]:
    """Keys at the wrong depth in place of all that follows from them: in themselves, and in what lacks them."""
    wrong = {fault.path if fault.unknown is None else (*fault.path, fault.unknown) for fault in faults}
    touched = {path[:length] for path in wrong for length in range(1, len(path) + 1)}
    caused: set[tuple[str | int, ...]] = set()
    lacking: set[tuple[str | int, ...]] = set()
    found: list[Fault] = []
    for run in misplaced(data):
        paths = {(*run.path, key) for key in run.keys}
        if paths & touched:
            caused |= paths
            lacking |= {(*run.path, run.before)} if run.before is not None else set()
            value = run.what, run.where
            found.append(
                Fault(kind="misplaced", path=run.path, value=value, instance=None, schema={}, unknown=run.keys[0])
            )
    if not found:
        return faults
    for fault in faults:
        where = fault.path if fault.unknown is None else (*fault.path, fault.unknown)
        is_inside = any(where[:length] in caused for length in range(1, len(where) + 1))
        is_lack = fault.path in lacking and (fault.kind == "required" or fault.instance is None)
        if not is_inside and not is_lack:
            found.append(fault)
    return found


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
        if fault.kind == "maxProperties" and fault.path[-1:] == ("secret",) and fault.path in unknown:
            continue  # one of the keys is none
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


def _bad_names(schema: dict[str, Any], data: Any, path: tuple[str | int, ...]) -> Iterator[Fault]:
    """Keys that `propertyNames` refuses.

    Looked for here, because the validator copies the whole mapping into the error of each bad name in it: a file
    full of bad handles would fill the memory.
    """
    schema = _resolved(schema, data)
    if not isinstance(data, dict):
        return
    names = schema.get("propertyNames")
    for key, value in data.items():
        if names and not (len(key) <= names["maxLength"] and re.fullmatch(names["pattern"], key)):
            yield Fault(kind="propertyNames", path=path, value=names, instance=data, schema=schema, unknown=key)
        child = _child(schema, key)
        if isinstance(value, dict) and child:
            yield from _bad_names(child, value, (*path, key))


@cache
def _nameless_validator() -> jsonschema_rs.Draft202012Validator:
    """The schema without its rules for names."""
    import jsonschema_rs  # noqa: PLC0415 - 20 ms that only reading YAML needs

    return jsonschema_rs.Draft202012Validator(json.dumps(_without_names(_root())))


def _without_names(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_names(value) for key, value in schema.items() if key != "propertyNames"}
    return [_without_names(item) for item in schema] if isinstance(schema, list) else schema


@cache
def _root() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schema_text("hooks.schema.json"))
    return schema


def _schema_at(data: Any, path: Sequence[str | int]) -> Mapping[str, Any]:
    """The part of the schema that speaks about the value at `path`."""
    schema = _resolved(_root(), data)
    for step in path:
        data = data[step]
        schema = _resolved(_child(schema, step), data)
    return schema


def _child(schema: Mapping[str, Any], step: str | int) -> dict[str, Any]:
    """What the schema says of one entry of a mapping or list; nothing where it is silent."""
    child = schema.get("items") if isinstance(step, int) else schema.get("properties", {}).get(step)
    if child is None and isinstance(step, str):
        child = schema.get("additionalProperties")
    return child if isinstance(child, dict) else {}


def _resolved(schema: dict[str, Any], data: Any) -> dict[str, Any]:
    """A schema behind its reference, and for a webhook the branch of its type."""
    if "$ref" in schema:
        schema = _root()["$defs"][schema["$ref"].rpartition("/")[2]]
    kind = data.get("type") if isinstance(data, dict) else None
    for branch in schema.get("allOf", ()):
        if branch["if"]["properties"]["type"]["const"] == kind:
            return _resolved(branch["then"], data)
    return schema
