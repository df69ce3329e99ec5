"""`config.misplaced`: wrong indentation is one problem, said where it begins."""

from __future__ import annotations

import json

import pytest

from reconciler import config
from reconciler.config import misplaced
from reconciler.config.schema import schema_text
from reconciler.errors import ConfigurationInvalid
from reconciler.problem import Place, Problem

HEAD = """\
version: 1
bots:
  b:
    data_sources: {docs: {sync: {command: [x]}}}
    webhooks:
"""
HOOK = "{type: conversation.started, url: 'https://x.example.com'}"
CASES = {
    "a key of a webhook": (
        HEAD + "      h:\n        type: conversation.started\n      url: https://x.example.com\n",
        "hooks.yaml:8:7",
        "the webhook it belongs to",
    ),
    "several keys, with blocks among them, before another webhook": (
        HEAD
        + "      h:\n        type: conversation.started\n      url: https://x.example.com\n      enabled: true\n"
        + f"      retry: {{attempts: 3}}\n      custom_payload: {{body: x}}\n      k: {HOOK}\n",
        "hooks.yaml:8:7",
        "the webhook it belongs to",
    ),
    "all keys of a webhook": (
        HEAD + "      h:\n      type: sync.trigger\n      data_source: docs\n",
        "hooks.yaml:7:7",
        "the webhook it belongs to",
    ),
    "a key of a webhook beside the bot's": (
        HEAD + f"      h: {HOOK}\n    enabled: true\n",
        "hooks.yaml:7:5",
        "the webhook it belongs to",
    ),
    "webhooks beside `webhooks`": (HEAD + f"    h: {HOOK}\n    i: {HOOK}\n", "hooks.yaml:6:5", "`webhooks`"),
    "`webhooks` beside the bots": (
        f"version: 1\nbots:\n  b:\n    name: B\n  webhooks:\n    h: {HOOK}\n    i: {HOOK}\n",
        "hooks.yaml:5:3",
        "the bot it belongs to",
    ),
    "`webhooks` beside `bots`": (
        f"version: 1\nbots:\n  b: {{}}\nwebhooks:\n  h: {HOOK}\n",
        "hooks.yaml:4:1",
        "the bot it belongs to",
    ),
    "a bot beside `bots`": (f"version: 1\nbots:\nb:\n  webhooks:\n    h: {HOOK}\n", "hooks.yaml:3:1", "`bots`"),
    "a data source beside `data_sources`": (
        "version: 1\nbots:\n  b:\n    data_sources:\n    docs: {sync: {command: [x]}}\n",
        "hooks.yaml:5:5",
        "`data_sources`",
    ),
    "a key of a data source, which a trigger names": (
        (
            "version: 1\nbots: {b: {data_sources: {docs: , sync: {command: [x]}},"
            " webhooks: {h: {type: sync.trigger, data_source: docs}}}}\n"
        ),
        "hooks.yaml:2:35",
        "the data source it belongs to",
    ),
}


def problems_of(text: str) -> tuple[Problem, ...]:
    """What is wrong with a file."""
    with pytest.raises(ConfigurationInvalid) as refused:
        config.load_texts({"hooks.yaml": text.encode()}, "/config")
    return refused.value.problems


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_indentation_is_one_problem(case: str) -> None:
    """Told at the first key that stands wrong, with what it belongs below; nothing that follows from it is told."""
    text, place, below = CASES[case]
    (problem,) = problems_of(text)
    file, line, column = place.split(":")
    assert (problem.code, problem.place) == ("misplaced", Place(file, int(line), int(column)))
    assert problem.suggestion == f"indent it below {below}"


def test_what_is_wrong_besides_is_told_as_well() -> None:
    """A second mistake elsewhere is not swallowed."""
    text = HEAD + "      h:\n        type: conversation.started\n      url: x\n      k: {type: nonsense}\n"
    assert [problem.code for problem in problems_of(text)] == ["misplaced", "unknown-value"]


@pytest.mark.parametrize("handle", ["url", "type", "secret", "retry"])
def test_webhooks_may_be_called_as_their_keys_are(handle: str) -> None:
    """A handle is only wrong where what stands below it is no webhook."""
    desired = config.load_texts({"hooks.yaml": f"{HEAD}      {handle}: {HOOK}\n".encode()}, "/config")
    assert any(key.address == f"b/{handle}" for key in desired.resources)


def test_keys_are_those_of_the_schema() -> None:
    """No key of a webhook, a bot or a file is unknown here."""
    schema = json.loads(schema_text("hooks.schema.json"))
    kinds = schema["$defs"]
    webhooks = {
        key for kind in kinds.values() for key in kind.get("properties", ()) if "protected" in kind["properties"]
    }
    assert webhooks == misplaced._OF_A_WEBHOOK
    assert set(schema["properties"]) == misplaced._OF_THE_ROOT
    assert {"webhooks", *kinds["bot"]["properties"]} == misplaced._OF_A_BOT
