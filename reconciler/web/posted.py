"""The schemas of events as they are posted: made from the catalog, as the checks are."""

from __future__ import annotations

from typing import Any

from reconciler.model.catalog import CATALOG, Variable
from reconciler.model.event import EVENT_ID_CHARACTERS_MAX
from reconciler.model.hook import EventType

__all__ = ["event_schema"]

_NEVER_POSTED = "deliveryId"
_FILLED_IN = {"timestamp", "conversation.botName"}
"""Required of what is delivered, not of what is posted."""


def event_schema() -> dict[str, Any]:
    """One event of any type: `event` says which of the closed branches it must fit."""
    kinds = [kind for kind in EventType if not kind.is_incoming]
    return {
        "type": "object",
        "description": "A documented payload without `deliveryId`; sync events name `event`, `bot`, `dataSource`.",
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": EVENT_ID_CHARACTERS_MAX},
            "event": {"enum": [kind.value for kind in kinds]},
        },
        "required": ["event"],
        "allOf": [
            {
                "if": {"properties": {"event": {"const": kind.value}}, "required": ["event"]},
                "then": _object(CATALOG[kind].variables, ""),
            }
            for kind in kinds
        ],
    }


def _object(variables: tuple[Variable, ...], prefix: str) -> dict[str, Any]:
    """The object whose fields' paths begin with `prefix`."""
    fields = {
        variable.path.removeprefix(prefix): variable
        for variable in variables
        if variable.path.startswith(prefix) and "." not in variable.path.removeprefix(prefix)
    }
    fields.pop(_NEVER_POSTED, None)
    required = [
        name
        for name, field in fields.items()
        if field.required and field.constant is None and field.path not in _FILLED_IN
    ]
    return {
        "type": "object",
        "properties": {name: _field(field, variables) for name, field in fields.items()},
        "required": required,
    }


def _field(field: Variable, variables: tuple[Variable, ...]) -> dict[str, Any]:
    described = {"description": field.meaning}
    if field.constant is not None:
        return {"const": field.constant, **described}
    if field.is_time:
        return {"type": "string", "format": "date-time", **described}
    inner = f"{field.path}."
    if any(each.path.startswith(inner) for each in variables):
        return {**_object(variables, inner), **described}
    return {"type": field.json_type.value, **described}
