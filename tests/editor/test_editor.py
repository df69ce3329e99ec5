"""What a person sees who edits hooks.yaml with the schema's line on top, by the real language server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from reconciler.config.schema import accepts
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.editor.conftest import Editor

ROOT = Path(__file__).parents[2]
HOOKS = json.loads((ROOT / "schemas/hooks.schema.json").read_text(encoding="utf-8"))
WEBHOOK = """\
version: 1
bots:
  support:
    webhooks:
      chats:
"""
CHATS = WEBHOOK + "        type: conversation.started\n"
PLACEHOLDER = re.compile(r"\$\{[0-9]+:([^}]*)\}")


def test_the_example_is_without_fault(editor: Editor) -> None:
    """Nothing in it is underlined."""
    assert editor.open((ROOT / "examples/hooks.yaml").read_text(encoding="utf-8")).problems() == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("urll: https://crm.example.com", "Property urll is not allowed"),
        ("data_source: docs", "Property data_source is not allowed"),
        ("enabled: sometimes", 'Expected "boolean"'),
        ("custom_payload: {method: FETCH}", 'Valid values: "POST"'),
        ("timeout: soon", "does not match"),
    ],
)
def test_a_mistake_is_underlined_where_it_stands(editor: Editor, line: str, said: str) -> None:
    """A misspelt key, one of another type of webhook, and wrong values, each on its own line."""
    problems = editor.open(f"{CHATS}        url: https://crm.example.com\n        {line}\n").problems()
    assert [found for found, _ in problems] == [9]
    assert said in problems[0][1]


def test_an_unknown_type_is_told_which_there_are(editor: Editor) -> None:
    """All seven."""
    ((line, message),) = editor.open(f"{WEBHOOK}        type: conversation.begun\n").problems()
    assert line == 7
    assert all(f'"{kind}"' in message for kind in EventType)


@pytest.mark.parametrize(
    ("text", "explained"),
    [
        ("ver¦sion: 1\n", "version of this format"),
        ("version: 1\nbo¦ts: {}\n", "bots by handle"),
        (f"{CHATS}        ena¦bled: true\n", "begins disabled"),
        (f"{CHATS}        ena¦bled: true\n", "Default: `false`"),
        (f"{CHATS}        u¦rl: https://crm.example.com\n", "Where requests go"),
        (f"{CHATS}        timeout: 5¦s\n", "How long one request may take"),
        (f"{CHATS}        retry:\n          atte¦mpts: 3\n", "the first one counted"),
        (f"{CHATS}        custom_payload:\n          bo¦dy: x\n", "stays JSON"),
        (f"{CHATS}        moved¦_from: old\n", "keeps its id, secret, URL and log"),
        (f"{WEBHOOK}        ty¦pe: sync.trigger\n", "`sync.trigger`: Incoming"),
    ],
)
def test_what_is_pointed_at_is_explained(editor: Editor, text: str, explained: str) -> None:
    """Keys and values, at every depth, with their defaults."""
    assert explained in editor.open(text).hover()


def test_the_keys_of_a_file_are_offered_at_its_start(editor: Editor) -> None:
    """Each with what it is for."""
    offered = editor.open("¦\n").completions()
    assert {"version", "defaults", "bots"} <= set(offered)
    assert all(words(offered[key]) for key in ("version", "defaults", "bots"))


def test_a_webhook_begins_with_its_type(editor: Editor) -> None:
    """Which is all that is offered, since everything else follows from it."""
    offered = editor.open(f"{WEBHOOK}        ¦\n").completions()
    assert "type" in offered
    assert not {"url", "data_source"} & set(offered)


def test_every_type_is_offered_with_what_it_means(editor: Editor) -> None:
    """The seven values, in the order of the catalog."""
    offered = editor.open(f"{WEBHOOK}        type: ¦\n").completions()
    assert list(offered) == [kind.value for kind in EventType]
    assert all(words(item) for item in offered.values())


@pytest.mark.parametrize(
    ("kind", "has", "has_not"),
    [
        ("sync.trigger", {"data_source", "enabled", "rotation"}, {"url", "retry", "custom_payload"}),
        ("sync.failure", {"data_source", "url", "retry", "secret"}, set()),
        ("conversation.claimed", {"url", "retry", "custom_payload", "signing"}, {"data_source"}),
    ],
)
def test_the_keys_that_a_type_has_are_offered(editor: Editor, kind: str, has: set[str], has_not: set[str]) -> None:
    """And no key of another type; each with what it is for."""
    offered = editor.open(f"{WEBHOOK}        type: {kind}\n        ¦\n").completions()
    assert has <= set(offered)
    assert not has_not & set(offered)
    assert all(words(offered[key]) for key in has)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"{CHATS}        enabled: ¦\n", {"true", "false"}),
        (f"{CHATS}        custom_payload:\n          method: ¦\n", {"POST", "PUT", "PATCH", "GET", "DELETE"}),
    ],
)
def test_the_values_of_a_closed_set_are_offered(editor: Editor, text: str, values: set[str]) -> None:
    """All of them and nothing else."""
    assert set(editor.open(text).completions()) == values


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("version: 1\nbots:\n  ¦\n", {"bot"}),
        ("version: 1\nbots:\n  support:\n    webhooks:\n      ¦\n", {kind.value for kind in EventType}),
        (
            "version: 1\nbots:\n  support:\n    data_sources:\n      ¦\n",
            {"synced by a request", "synced by a program"},
        ),
        (f"{CHATS}        url: https://a.example.com\n        secret:\n          ¦\n", {"env", "file"}),
    ],
)
def test_what_is_inserted_where_a_name_is_free_is_valid(editor: Editor, text: str, labels: set[str]) -> None:
    """A bot, a webhook of each type, a data source of each kind: accepted as they come, nothing filled in."""
    offered = editor.open(text).completions()
    assert labels <= set(offered)
    before, _, after = text.partition("¦")
    indent = " " * len(before.rpartition("\n")[2])
    for label in labels:
        inserted = PLACEHOLDER.sub(r"\1", offered[label]["insertText"]).replace("\n", f"\n{indent}")
        content = f"{before}{inserted}{after}"
        assert accepts(yaml.safe_load(content)), content
        assert words(offered[label])


def test_every_default_is_told() -> None:
    """Where a key has a default, what is shown says so: the server shows descriptions and no defaults."""
    told = list(defaulted(HOOKS))
    assert len(told) > 10
    for schema in told:
        default = schema["default"]
        values = default if isinstance(default, list) else [default]
        said = ", ".join(f"`{value if isinstance(value, str) else json.dumps(value)}`" for value in values)
        assert schema["markdownDescription"].endswith(f"\n\nDefault: {said}")


def defaulted(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema that has a default and is shown to people."""
    if isinstance(schema, dict):
        if "default" in schema and "title" in schema:
            yield schema
        for child in schema.values():
            yield from defaulted(child)


def words(item: dict[str, Any]) -> str:
    """What is said of something that is offered."""
    said = item.get("documentation") or ""
    return str(said["value"] if isinstance(said, dict) else said)
