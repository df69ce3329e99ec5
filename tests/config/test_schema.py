"""The published schemas: complete, explained, and judged alike by two validators."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import jsonschema_rs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler import config
from reconciler.config.codes import CODES
from reconciler.config.schema import accepts, schema_text
from reconciler.errors import ConfigurationInvalid
from reconciler.model.catalog import CATALOG, JsonType
from reconciler.model.event import example_payload
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Iterator

HOOKS = json.loads(schema_text("hooks.schema.json"))
OUTGOING = [kind for kind in EventType if not kind.is_incoming]

SAMPLE: dict[str, Any] = {
    "version": 1,
    "x-note": None,
    "defaults": {"timeout": "10s", "retry": {"attempts": 5, "schedule": ["30s"], "jitter": 0.1}},
    "bots": {
        "support-bot": {
            "id": "def-456",
            "moved_from": ["old-bot"],
            "data_sources": {
                "docs": {"sync": {"command": ["sync"], "timeout": "1m"}},
                "wiki": {"name": "Wiki", "sync": {"http": {"url": "https://x.example", "headers": {"A": "b"}}}},
            },
            "webhooks": {
                "cms": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
                "alerts": {"type": "sync.failure", "url": "https://x.example", "secret": {"env": "A"}},
                "crm": {
                    "type": "conversation.started",
                    "url": "https://x.example",
                    "custom_payload": {"method": "PUT", "headers": {"X-A": "b"}, "body": "{}"},
                    "signing": {"secret_header": False},
                    "rotation": {"overlap": "1d"},
                    "moved_from": "bot/old",
                },
            },
        }
    },
}


def properties(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property that an editor can offer, with its schema behind the reference."""
    if isinstance(schema, list):
        for item in schema:
            yield from properties(item, path)
    if not isinstance(schema, dict):
        return
    for name, child in schema.get("properties", {}).items():
        if isinstance(child, dict) and set(child) != {"const"}:
            target = HOOKS["$defs"][child["$ref"].rpartition("/")[2]] if "$ref" in child else child
            yield f"{path}.{name}", target
    for key, child in schema.items():
        yield from properties(child, f"{path}.{key}")


def test_the_schema_is_a_schema() -> None:
    """By the meta-schema of its own draft."""
    jsonschema.Draft202012Validator.check_schema(HOOKS)


def test_every_property_is_explained() -> None:
    """An editor has a title, a description and an example for whatever is hovered."""
    seen = list(properties(HOOKS))
    assert len(seen) > 60
    poor = [path for path, schema in seen if not {"title", "description", "examples"} <= set(schema)]
    assert poor == []


def test_examples_and_defaults_are_valid_where_they_stand() -> None:
    """What an editor proposes is accepted."""
    for path, schema in properties(HOOKS):
        validator = jsonschema.Draft202012Validator({"$defs": HOOKS["$defs"], **schema})
        for example in [*schema["examples"], *([schema["default"]] if "default" in schema else [])]:
            assert validator.is_valid(example), (path, example)


def test_unions_name_a_type_and_close_its_branch() -> None:
    """`oneOf` and `unevaluatedProperties` give errors that help nobody, and no type is without a branch."""
    text = schema_text("hooks.schema.json")
    assert not any(word in text for word in ('"oneOf"', '"anyOf"', '"unevaluatedProperties"', '"not"'))
    branches = HOOKS["$defs"]["webhook"]["allOf"]
    assert [branch["if"]["properties"]["type"]["const"] for branch in branches] == [kind.value for kind in EventType]
    assert HOOKS["$defs"]["type"]["enum"] == [kind.value for kind in EventType]
    for branch in branches:
        assert HOOKS["$defs"][branch["then"]["$ref"].rpartition("/")[2]]["additionalProperties"] is False


def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The sample with something put in, left out or made wrong, somewhere."""
    scalars = st.sampled_from([None, True, 0, 5.0, -1, "", "10s", "a", "A b", "sync.success", [], {}, [1], {"a": 1}])
    if isinstance(value, dict):
        result = {key: mutated(draw, child) for key, child in value.items() if draw(st.integers(0, 30))}
        if not draw(st.integers(0, 20)):
            result[draw(st.sampled_from(["url", "type", "timeout", "Bad Key", "x-y", "http", "command"]))] = draw(
                scalars
            )
        return result
    return value if draw(st.integers(0, 15)) else draw(scalars)


@given(st.data())
def test_two_validators_agree(data: st.DataObject) -> None:
    """The fast one in use and the reference implementation accept and refuse the same."""
    candidate = mutated(data.draw, SAMPLE)
    assert accepts(candidate) == jsonschema.Draft202012Validator(HOOKS).is_valid(candidate)


@given(st.data())
def test_loading_ends_in_resources_or_problems_and_nothing_else(data: st.DataObject) -> None:
    """Whatever is wrong with the shape, the later checks meet nothing they cannot take."""
    candidate = mutated(data.draw, SAMPLE)
    try:
        desired = config.load_texts({"hooks.yaml": json.dumps(candidate).encode()}, "/etc/hooks")
    except ConfigurationInvalid as error:
        problems = error.problems
    else:
        problems = desired.warnings
    assert accepts(candidate) or any(problem.is_error for problem in problems)


@pytest.mark.parametrize("key", ["abc\n", "a" * 101, "", "-a", "é"])
@pytest.mark.parametrize("parent", ["bots", "webhooks", "data_sources"])
def test_a_bad_handle_is_refused_wherever_one_stands(key: str, parent: str) -> None:
    """Also those that only differ in what cannot be seen."""
    inner: dict[str, Any] = {"bots": {key: {}}} if parent == "bots" else {"bots": {"bot": {parent: {key: {}}}}}
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load_texts({"hooks.yaml": json.dumps({"version": 1, **inner}).encode()}, "/etc/hooks")
    assert {problem.code for problem in caught.value.problems} <= {"bad-handle", "missing-key", "yaml-key"}


def test_two_validators_agree_on_the_examples_of_problems() -> None:
    """The real mistakes, too."""
    validator = jsonschema.Draft202012Validator(HOOKS)
    verdicts = []
    for code in CODES.values():
        for content in code.texts().values():
            if len(content) > 10_000:
                continue
            try:
                candidate = yaml.load(content, yaml.CSafeLoader)
            except (yaml.YAMLError, UnicodeDecodeError):
                continue
            verdicts.append(accepts(candidate))
            assert verdicts[-1] == validator.is_valid(candidate), code.code
    assert True in verdicts
    assert False in verdicts


@pytest.mark.parametrize("kind", OUTGOING)
def test_an_event_schema_says_what_the_catalog_says(kind: EventType) -> None:
    """Same fields in the same order, same types, constants and meanings."""
    schema = json.loads(schema_text(f"events/{kind}.schema.json"))
    jsonschema.Draft202012Validator.check_schema(schema)
    spec = CATALOG[kind]
    assert schema["title"] == spec.title
    described: list[str] = []
    collect(schema, "", described)
    assert described == [variable.path for variable in spec.variables]
    for variable in spec.variables:
        *parents, name = variable.path.split(".")
        parent = schema
        for step in parents:
            parent = parent["properties"][step]
        field = parent["properties"][name]
        assert field["description"] == variable.meaning
        assert (name in parent["required"]) == variable.required
        if variable.constant is not None:
            assert field["const"] == variable.constant
        else:
            assert field["type"] == variable.json_type
        assert (field.get("format") == "date-time") == variable.is_time
        if variable.json_type is not JsonType.OBJECT:
            assert field["examples"] == [variable.example]


def collect(schema: dict[str, Any], prefix: str, into: list[str]) -> None:
    """The paths that a schema describes, in order."""
    for name, child in schema.get("properties", {}).items():
        into.append(f"{prefix}{name}")
        collect(child, f"{prefix}{name}.", into)


@pytest.mark.parametrize("kind", OUTGOING)
def test_a_delivered_payload_fits_its_schema(kind: EventType) -> None:
    """The catalog's example, with an id and fields that nobody has named; not without the id."""
    validator = jsonschema_rs.validator_for(schema_text(f"events/{kind}.schema.json"))
    payload = example_payload(kind, bot_name="My Bot", bot_id="def-456", data_source_name="Docs")
    assert not validator.is_valid(payload)
    assert validator.is_valid({**payload, "deliveryId": "0195800e-6ad4-7c31-8f0e-5b1f0c9a7d42", "more": {"x": 1}})


def test_an_unknown_schema_is_not_found() -> None:
    """The name is what the error says."""
    with pytest.raises(FileNotFoundError, match=r"nothing\.schema\.json"):
        schema_text("nothing.schema.json")
