"""Problems rendered: exact text, valid JSON, GitHub's annotations, SARIF."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from reconciler.config.report import as_objects, render, summary
from reconciler.problem import Place, Problem, Severity

if TYPE_CHECKING:
    from conftest import ProblemsOf

TYPO = Problem(
    place=Place("hooks.yaml", 12, 9),
    code="unknown-key",
    message="`ulr` is not a key of a conversation event",
    suggestion="did you mean `url`?",
    source="        ulr: https://x.example",
    length=3,
)
WARNING = Problem(
    place=Place("a b.yaml", 3, 1),
    code="plain-http",
    message="100% plain",
    severity=Severity.WARNING,
    also=Place("c", 1),
)


def test_text_shows_the_line_and_a_caret() -> None:
    """The head line first, in the form that editors and scripts know."""
    assert render([TYPO, WARNING], "text") == (
        "hooks.yaml:12:9: error[unknown-key]: `ulr` is not a key of a conversation event\n"
        " 12 |         ulr: https://x.example\n"
        "    |         ^^^\n"
        "    = did you mean `url`?\n"
        "a b.yaml:3:1: warning[plain-http]: 100% plain"
    )


def test_text_is_coloured_only_when_asked() -> None:
    """No escape sequence gets into a file by itself."""
    assert "\033" not in render([TYPO], "text")
    assert "\033[31merror[unknown-key]\033[0m" in render([TYPO], "text", color=True)


@pytest.mark.parametrize("column", [1, 40, 150, 299])
def test_the_caret_stands_under_its_character_when_a_line_is_long(column: int) -> None:
    """A window of the line is shown around the place, within the width."""
    line = "".join(chr(ord("a") + index % 26) for index in range(300))
    problem = Problem(place=Place("f", 1, column), code="c", message="m", source=line, length=1)
    _, shown, caret = render([problem], "text", width=80).split("\n")
    assert len(shown) <= 80
    assert shown[caret.index("^")] == line[column - 1]


def test_the_caret_stands_under_its_character_when_letters_are_wide() -> None:
    """Chinese letters take two columns of a terminal, tabs one."""
    problem = Problem(place=Place("f", 1, 5), code="c", message="m", source="日本:\tx", length=1)
    _, shown, caret = render([problem], "text").split("\n")
    assert shown == " 1 | 日本: x"
    assert caret == "   |       ^"


def test_nothing_of_a_file_can_write_on_the_terminal() -> None:
    """Escape sequences and direction marks in lines, messages and names are shown as what they are not."""
    hostile = "\033[2J\u202eevil\x07"
    problem = Problem(
        place=Place(hostile, 1, 1), code="c", message=hostile, source=hostile, suggestion=hostile, length=1
    )
    text = render([problem], "text", color=False)
    assert not set(text) & set("\033\u202e\x07")


def test_json_has_every_field() -> None:
    """And is a list even when there is nothing."""
    assert json.loads(render([TYPO, WARNING], "json")) == as_objects([TYPO, WARNING])
    assert as_objects([WARNING]) == [
        {
            "file": "a b.yaml",
            "line": 3,
            "column": 1,
            "length": 1,
            "severity": "warning",
            "code": "plain-http",
            "message": "100% plain",
            "suggestion": None,
            "source": "",
            "also": {"file": "c", "line": 1, "column": 1},
        }
    ]
    assert json.loads(render([], "json")) == []


def test_github_annotations_are_escaped() -> None:
    """A message cannot end its command, nor a file's name its property."""
    problem = Problem(place=Place("a,b:c.yaml", 2, 4), code="c", message="50%\nmore", length=2)
    assert render([problem], "github") == (
        "::error file=a%2Cb%3Ac.yaml,line=2,col=4,endColumn=5,title=c::50%25%0Amore"
    )
    assert render([WARNING], "github").startswith("::warning file=a b.yaml,line=3,")


def test_sarif_has_a_rule_and_a_region_for_each_problem() -> None:
    """Version 2.1.0, columns in code points, the second place as a related location."""
    log = json.loads(render([TYPO, WARNING], "sarif"))
    run = log["runs"][0]
    assert (log["version"], run["columnKind"]) == ("2.1.0", "unicodeCodePoints")
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert [rules[result["ruleIndex"]] for result in run["results"]] == ["unknown-key", "plain-http"]
    assert [result["level"] for result in run["results"]] == ["error", "warning"]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert location == {
        "artifactLocation": {"uri": "hooks.yaml"},
        "region": {"startLine": 12, "startColumn": 9, "endColumn": 12},
    }
    assert run["results"][1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a%20b.yaml"
    assert run["results"][1]["relatedLocations"]


def test_the_summary_counts_errors_and_warnings() -> None:
    """In the singular where there is one."""
    assert summary([]) == "no problems"
    assert summary([TYPO]) == "1 error"
    assert summary([WARNING, WARNING]) == "2 warnings"
    assert summary([TYPO, WARNING]) == "1 error, 1 warning"


def test_a_real_mistake_reads_well(problems_of: ProblemsOf) -> None:
    """What a person sees in a terminal."""
    text = "version: 1\nbots:\n  support-bot:\n    webhook: {}\n"
    assert render(problems_of(text), "text") == (
        "hooks.yaml:4:5: error[unknown-key]: `webhook` is not a key of a bot\n"
        " 4 |     webhook: {}\n"
        "   |     ^^^^^^^\n"
        "   = did you mean `webhooks`?"
    )
