"""A plan as canonical JSON, and back: equal plans are equal bytes."""

from __future__ import annotations

from dataclasses import asdict
from types import NoneType
from typing import TYPE_CHECKING, Any

import orjson

from reconciler.errors import UsageError
from reconciler.model.resource import Kind
from reconciler.plan.plan import (
    FORMAT_VERSION,
    Action,
    Base,
    Change,
    Drift,
    FieldChange,
    Guard,
    Observation,
    Plan,
    PlanWarning,
    Summary,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["from_json", "plan_value", "to_json"]


def plan_value(plan: Plan) -> dict[str, Any]:
    """The plan as JSON values, in the order of its schema."""
    return {
        "format_version": FORMAT_VERSION,
        "base": asdict(plan.base),
        "config_digest": plan.config_digest,
        "commit": plan.commit,
        "changes": [_change(change) for change in plan.changes],
        "summary": asdict(plan.summary),
        "guards": [asdict(guard) for guard in plan.guards],
        "drift": [asdict(drift) for drift in plan.drift],
        "observed": {address: asdict(plan.observed[address]) for address in sorted(plan.observed)},
    }


def to_json(plan: Plan) -> bytes:
    """The plan as indented JSON in UTF-8, ending in a line break."""
    return orjson.dumps(plan_value(plan), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def from_json(content: bytes) -> Plan:
    """A saved plan. Raises UsageError where this is none, or one of a later format."""
    try:
        document = orjson.loads(content)
        version = document["format_version"]
        if version == FORMAT_VERSION and version is not True:
            return _plan(document)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError("this is no saved plan: make one with `reconcile --plan --out FILE`") from error
    raise UsageError(f"this plan has format version {version!r}; this program reads version {FORMAT_VERSION}")


def _change(change: Change) -> dict[str, Any]:
    return {
        "kind": change.kind.value,
        "address": change.address,
        "action": change.action.value,
        "type": change.type,
        "file": change.file,
        "line": change.line,
        "fields": [
            {
                "path": field.path,
                "before": _ordered(field.before),
                "after": _ordered(field.after),
                "file": field.file,
                "line": field.line,
            }
            for field in change.fields
        ],
        "warnings": [{"code": warning.code, "message": warning.message} for warning in change.warnings],
    }


def _ordered(value: Any) -> Any:
    """A JSON value with the keys of its mappings in order."""
    match value:
        case dict():
            return {key: _ordered(value[key]) for key in sorted(value)}
        case list() | tuple():
            return [_ordered(each) for each in value]
        case _:
            return value


def _plan(document: Mapping[str, Any]) -> Plan:
    return Plan(
        base=_known(Base, document["base"]),
        config_digest=_checked("str", document["config_digest"]),
        commit=_checked("str | None", document["commit"]),
        changes=tuple(_read_change(change) for change in _checked("list", document["changes"])),
        summary=_known(Summary, document["summary"]),
        guards=tuple(_known(Guard, guard) for guard in _checked("list", document["guards"])),
        drift=tuple(_known(Drift, drift) for drift in _checked("list", document["drift"])),
        observed={address: _known(Observation, seen) for address, seen in document["observed"].items()},
    )


def _read_change(change: Mapping[str, Any]) -> Change:
    return Change(
        kind=Kind(change["kind"]),
        address=_checked("str", change["address"]),
        action=Action(change["action"]),
        type=_checked("str | None", change["type"]),
        file=_checked("str | None", change["file"]),
        line=_checked("int | None", change["line"]),
        fields=tuple(_read_field(field) for field in _checked("list", change["fields"])),
        warnings=tuple(_known(PlanWarning, warning) for warning in _checked("list", change["warnings"])),
    )


def _read_field(field: Mapping[str, Any]) -> FieldChange:
    return FieldChange(
        path=_checked("str", field["path"]),
        before=_checked("Any", field["before"]),
        after=_checked("Any", field["after"]),
        file=_checked("str | None", field["file"]),
        line=_checked("int | None", field["line"]),
    )


def _known(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """One of the plan's records, without keys that a later minor version may have added."""
    fields = kind.__dataclass_fields__
    return kind(**{name: _checked(str(field.type), values[name]) for name, field in fields.items()})


def _checked(annotation: str, value: Any) -> Any:
    """The value, if it is what the annotation of its field says; a plan that was edited by hand may hold anything."""
    if not isinstance(value, _TYPES[annotation]) or (isinstance(value, bool) and annotation != "Any"):
        raise TypeError(value)
    return value


_TYPES: Mapping[str, Any] = {
    "Any": object,
    "int": int,
    "int | None": (int, NoneType),
    "list": list,
    "str": str,
    "str | None": (str, NoneType),
}
