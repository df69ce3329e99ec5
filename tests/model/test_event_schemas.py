"""The published schemas of delivered payloads and the catalog say the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from reconciler.model.catalog import CATALOG
from reconciler.model.hook import EventType

SCHEMAS = Path(__file__).parents[2] / "schemas" / "events"
OUTGOING = [event for event in EventType if not event.is_incoming]


def walk(schema: dict[str, Any], prefix: str = "") -> dict[str, tuple[str, bool, Any]]:
    """Every property by its path, in order: JSON type, whether it is required, its constant."""
    found: dict[str, tuple[str, bool, Any]] = {}
    for name, part in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        kind = part.get("type", "boolean" if isinstance(part.get("const"), bool) else "string")
        found[path] = (kind, name in schema.get("required", ()), part.get("const"))
        found |= walk(part, f"{path}.")
    return found


@pytest.mark.parametrize("event", OUTGOING)
def test_a_schema_has_the_variables_of_its_event(event: EventType) -> None:
    """The same paths in the same order, types, duties and constants."""
    schema = json.loads((SCHEMAS / f"{event.value}.schema.json").read_text(encoding="utf-8"))
    catalog = {
        variable.path: (variable.json_type.value, variable.required, variable.constant)
        for variable in CATALOG[event].variables
    }
    assert list(walk(schema).items()) == list(catalog.items())
