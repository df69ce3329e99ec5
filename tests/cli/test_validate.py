"""`validate`, `types`, `schema` and `init`: what needs nothing but files."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.cli.schema import SCHEMAS
from reconciler.model.catalog import CATALOG
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BROKEN = (
    "version: 1\nbots:\n  b:\n    webhooks:\n      h: {type: conversation.startd, url: 'https://a.example.com'}\n"
)
MENDED = BROKEN.replace("startd", "started")


def test_problem_points_at_the_character_and_suggests(reconcile: Callable[..., Any], folder: Path) -> None:
    """The place, the source line, a caret under the mistake, and the right word; exit 65."""
    (folder / "hooks.yaml").write_text(BROKEN)

    ended = reconcile("validate")

    assert ended.code == 65
    lines = ended.out.splitlines()
    assert lines[0].startswith("hooks.yaml:5:17: error[")
    assert lines[1].endswith("h: {type: conversation.startd, url: 'https://a.example.com'}")
    assert lines[2].index("^") - lines[1].index("conversation.startd") == 0
    assert "conversation.started" in ended.out.partition("^")[2]
    assert ended.err == "error: the configuration has 1 problem\n"


def test_every_format_says_the_same(reconcile: Callable[..., Any], folder: Path) -> None:
    """JSON, SARIF and GitHub's annotations give code and place of the same problem, each with exit 65."""
    (folder / "hooks.yaml").write_text(BROKEN)

    plain, sarif, github = (reconcile("validate", "--format", form) for form in ("json", "sarif", "github"))

    assert {plain.code, sarif.code, github.code} == {65}
    (problem,) = plain.json["problems"]
    assert (problem["file"], problem["line"], problem["column"]) == ("hooks.yaml", 5, 17)
    assert plain.json["error"] == {
        "code": "configuration-invalid",
        "exit": 65,
        "message": "the configuration has 1 problem",
    }
    (result,) = sarif.json["runs"][0]["results"]
    region = result["locations"][0]["physicalLocation"]["region"]
    assert (result["ruleId"], region["startLine"], region["startColumn"]) == (problem["code"], 5, 17)
    assert github.out.startswith("::error file=hooks.yaml,line=5,col=17,")


def test_every_format_names_a_file_whose_name_is_no_utf_8(reconcile: Callable[..., Any], folder: Path) -> None:
    """What bytes in a file's name are no UTF-8 stand as U+FFFD in problems and in plans."""
    odd = folder / "hooks" / os.fsdecode(b"\xff.yaml")
    odd.parent.mkdir()
    odd.write_text(BROKEN)

    plain, sarif, github = (reconcile("validate", "--format", form) for form in ("json", "sarif", "github"))
    odd.write_text(MENDED)
    planned, text = reconcile("--plan", "--json"), reconcile("--plan")

    assert {plain.code, sarif.code, github.code} == {65}
    assert plain.json["problems"][0]["file"] == "hooks/\ufffd.yaml"
    assert "\ufffd.yaml" in sarif.out
    assert "\ufffd.yaml" in github.out
    assert planned.json["changes"][0]["file"] == "hooks/\ufffd.yaml"
    assert "hooks/\ufffd.yaml:3" in text.out


def test_valid_configuration_exits_0_in_every_format(reconcile: Callable[..., Any], folder: Path) -> None:
    """Text counts what there is; the JSON formats are documents without problems."""
    (folder / "hooks.yaml").write_text(MENDED)

    assert reconcile("validate").out == "The configuration is valid: 2 resources, 0 warnings.\n"
    assert reconcile("validate", "--json").json == {"problems": []}
    assert reconcile("validate", "--format", "sarif").json["runs"][0]["results"] == []
    assert reconcile("validate", "--format", "github").out == ""
    assert [path.name for path in folder.iterdir()] == ["hooks.yaml"]


def test_warnings_alone_exit_0(reconcile: Callable[..., Any], folder: Path) -> None:
    """A warning is shown and lets the configuration pass."""
    (folder / "hooks.yaml").write_text(MENDED.replace("https", "http"))

    ended = reconcile("validate")

    assert ended.code == 0
    assert "warning[" in ended.out
    assert ended.out.endswith("2 resources, 1 warning.\n")
    assert [problem["severity"] for problem in reconcile("validate", "--json").json["problems"]] == ["warning"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x01\xff",
        b"[" * 50_000 + b"]" * 50_000,
        b"a: 1\n\tb: 2\n",
        b"- 1\n",
        b"x: &a [*a]\n",
        b"#" * 6_000_000,
    ],
    ids=["empty", "binary", "brackets", "tab", "list", "recursive", "large"],
)
def test_bad_file_is_a_problem_and_never_a_crash(reconcile: Callable[..., Any], folder: Path, content: bytes) -> None:
    """Whatever lies in the folder ends in exit 65 with a place, in text and in JSON."""
    (folder / "hooks.yaml").write_bytes(content)

    assert reconcile("validate").code == 65
    ended = reconcile("validate", "--json")
    assert ended.code == 65
    assert ended.json["problems"][0]["line"] >= 1
    assert "Traceback" not in ended.err


def test_missing_path_is_a_problem_of_that_path(reconcile: Callable[..., Any], folder: Path) -> None:
    """`-f` that leads nowhere is named."""
    ended = reconcile("validate", "-f", "nowhere.yaml")

    assert ended.code == 65
    assert "nowhere.yaml" in ended.out


def test_types_are_listed_in_catalog_order(reconcile: Callable[..., Any]) -> None:
    """All seven, with their direction, for people and for scripts."""
    document = reconcile("types", "--json").json

    assert [item["type"] for item in document["items"]] == [str(kind) for kind in EventType]
    assert document["next"] is None
    rows = [line.split()[:2] for line in reconcile("types").out.splitlines()[1:]]
    assert rows == [[str(spec.type), str(spec.direction)] for spec in CATALOG.values()]


@pytest.mark.parametrize("kind", EventType, ids=str)
def test_type_lists_every_variable(reconcile: Callable[..., Any], kind: EventType) -> None:
    """Each variable with its path, whether it is a scalar, its meaning, and an example of its type."""
    spec = CATALOG[kind]

    text = reconcile("types", str(kind)).out
    variables = reconcile("types", str(kind), "--json").json["variables"]

    assert [(item["path"], item["scalar"]) for item in variables] == [(v.path, v.is_scalar) for v in spec.variables]
    assert [v.path for v in spec.variables if "{{" + v.path + "}}" not in text or v.meaning not in text] == []
    kinds = {"string": str, "number": int, "boolean": bool, "object": dict}
    assert [item["path"] for item in variables if type(item["example"]) is not kinds[item["type"]]] == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_schema_prints_a_valid_schema(reconcile: Callable[..., Any], name: str) -> None:
    """Each is JSON Schema 2020-12."""
    schema = reconcile("schema", name).json

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


def test_plan_matches_its_schema(reconcile: Callable[..., Any], applied: Path) -> None:
    """What `--plan --json` prints is what `schema plan` describes."""
    schema = json.loads(reconcile("schema", "plan").out)
    (applied / "hooks.yaml").write_text(MENDED)

    Draft202012Validator(schema).validate(reconcile("--plan", "--json").json)


def test_init_writes_a_configuration_that_plans(reconcile: Callable[..., Any], folder: Path) -> None:
    """The first hooks.yaml is valid without a warning, names the schema beside it, and keeps the state out of git."""
    ended = reconcile("init", "ops/hooks")

    home = folder / "ops" / "hooks"
    assert ended.code == 0
    assert sorted(path.name for path in home.iterdir()) == [".gitignore", "hooks.schema.json", "hooks.yaml"]
    first = (home / "hooks.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=hooks.schema.json"
    assert (home / ".gitignore").read_text() == "state/\n"
    validated = reconcile("validate", "-f", "ops/hooks")
    assert (validated.code, "0 warnings" in validated.out) == (0, True), validated.out
    assert "Plan: 2 to add" in reconcile("--plan", "-f", "ops/hooks/hooks.yaml").out


def test_example_in_the_first_configuration_is_right_when_uncommented(
    reconcile: Callable[..., Any], folder: Path
) -> None:
    """Whoever takes the comment signs away gets a second webhook, not an error."""
    reconcile("init")
    path = folder / "hooks.yaml"
    head, mark, tail = path.read_text().partition("      # escalation:")
    path.write_text(head + (mark + tail).replace("      # ", "      "))

    ended = reconcile("validate")

    assert (ended.code, ended.out) == (0, "The configuration is valid: 3 resources, 0 warnings.\n")


def test_init_never_overwrites(reconcile: Callable[..., Any], folder: Path) -> None:
    """An existing configuration stays, an existing .gitignore gets one more line, once."""
    (folder / ".gitignore").write_text("*.pyc")
    assert reconcile("init").code == 0
    assert (folder / ".gitignore").read_text() == "*.pyc\nstate/\n"
    (folder / "hooks.yaml").write_text("mine")

    assert reconcile("init").code == 64

    assert (folder / "hooks.yaml").read_text() == "mine"
    (folder / "hooks.yaml").unlink()
    assert reconcile("init", "--json").json["written"] == ["hooks.yaml", "hooks.schema.json"]
