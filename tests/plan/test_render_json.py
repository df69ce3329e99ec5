"""`plan.render_json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from reconciler import plan
from reconciler.errors import UsageError
from reconciler.model.resource import EMPTY_STATE, Desired, State
from reconciler.plan.plan import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "plan.schema.json").read_text())

BOTS: dict[str, Any] = {
    "a": {
        "data_sources": {"docs": {"sync": {"command": ["x"]}}},
        "webhooks": {
            "t": {"type": "sync.trigger", "data_source": "docs"},
            "c": {"type": "conversation.started", "url": "https://x.example.com", "secret": {"env": "X"}},
        },
    }
}


@pytest.fixture
def plans(declare: Callable[..., Desired], applied: Callable[..., State]) -> list[plan.Plan]:
    """An empty plan, a first one, and one that empties a state with traffic."""
    state = applied(declare(BOTS))
    seen = {"id-a/t": Observation(day_count=1, last_called="2026-03-10T12:00:00Z")}
    return [
        plan.make(declare({}), EMPTY_STATE),
        plan.make(declare(BOTS), EMPTY_STATE, commit="3f2a91c"),
        plan.make(declare({}), state, observed=seen),
    ]


def test_every_plan_keeps_to_the_schema(plans: list[plan.Plan]) -> None:
    """The published schema knows every key, and so do its own examples."""
    validator = jsonschema_rs.Draft202012Validator(SCHEMA)
    for document in [*(json.loads(plan.to_json(each)) for each in plans), *SCHEMA["examples"]]:
        assert [error.message for error in validator.iter_errors(document)] == []


def test_every_property_of_the_schema_explains_itself() -> None:
    """Title, description and examples, for editors and readers."""

    def properties(schema: Any, path: str = "") -> list[tuple[str, Any]]:
        found = [(f"{path}.{name}", each) for name, each in schema.get("properties", {}).items()]
        return found + [deeper for name, each in found for deeper in properties(each, name)]

    for definition in [SCHEMA, *SCHEMA["$defs"].values()]:
        for path, each in properties(definition):
            assert {"title", "description", "examples"} <= each.keys(), path
            assert jsonschema_rs.is_valid({**each, "$defs": SCHEMA["$defs"]}, each["examples"][0]), path


def test_a_plan_survives_being_saved(plans: list[plan.Plan]) -> None:
    """Reading what was written gives the same plan, and the same bytes again."""
    for each in plans:
        content = plan.to_json(each)
        assert plan.from_json(content) == each
        assert plan.to_json(plan.from_json(content)) == content


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"{}", b"null", b'{"format_version": 1}', b'{"format_version": 2}', b'"plan"'],
)
def test_what_is_no_plan_is_refused(content: bytes) -> None:
    """With words, and as a mistake in how the command was called."""
    with pytest.raises(UsageError):
        plan.from_json(content)


def test_a_plan_with_a_value_of_the_wrong_type_is_refused(plans: list[plan.Plan]) -> None:
    """An edited plan is read as a plan or not at all."""
    document = json.loads(plan.to_json(plans[1]))
    for path, value in (("kind", "bird"), ("action", "explode"), ("address", 5), ("fields", [{}])):
        broken = json.loads(json.dumps(document))
        broken["changes"][0][path] = value
        with pytest.raises(UsageError):
            plan.from_json(json.dumps(broken).encode())
