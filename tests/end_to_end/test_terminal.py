"""What a person at a terminal sees: questions, colours, and a clean end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOOKS = "version: 1\nbots: {b: {webhooks: {h: {type: conversation.started, url: 'https://a.example.com/'}}}}\n"
QUESTION = "Apply this plan? [y/N] "


@pytest.fixture(autouse=True)
def _hooks(tmp_path: Path) -> None:
    (tmp_path / "hooks.yaml").write_text(HOOKS)


def test_plan_is_applied_when_the_answer_is_yes(terminal: Callable[..., Any], reconcile: Callable[..., Any]) -> None:
    """The plan comes first, then the question; after a yes the state is there."""
    session = terminal()
    session.wait_for(QUESTION)
    assert "Plan: 2 to add" in session.screen
    session.type("y\n")

    assert session.end() == 0
    assert "Applied; the state's serial is 1." in session.screen
    assert reconcile("--plan").stdout.startswith("No changes.")


@pytest.mark.parametrize("answer", ["n\n", "\n", "maybe\n", "\x04"])
def test_nothing_is_written_unless_the_answer_is_yes(
    terminal: Callable[..., Any], tmp_path: Path, answer: str
) -> None:
    """A no, an empty line, anything else, the end of input: exit 1, and not even a store is made."""
    session = terminal()
    session.wait_for(QUESTION)
    session.type(answer)

    assert session.end() == 1
    assert [path.name for path in tmp_path.iterdir()] == ["hooks.yaml"]


def test_interrupt_at_the_question_ends_with_130(terminal: Callable[..., Any], tmp_path: Path) -> None:
    """Ctrl-C leaves everything as it was and shows no traceback."""
    session = terminal()
    session.wait_for(QUESTION)
    session.interrupt()

    assert session.end() == 130
    assert "Traceback" not in session.screen
    assert [path.name for path in tmp_path.iterdir()] == ["hooks.yaml"]


def test_colours_are_for_terminals_that_want_them(
    terminal: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """A plan is coloured on a terminal, plain with NO_COLOR, on a dumb one, and in a pipe; the words are the same."""
    coloured, plain, dumb = terminal("--plan"), terminal("--plan", NO_COLOR="1"), terminal("--plan", TERM="dumb")
    for session in (coloured, plain, dumb):
        assert session.end() == 0

    assert "\x1b[" in coloured.screen
    assert "\x1b" not in plain.screen + dumb.screen + reconcile("--plan").stdout
    assert plain.screen.replace("\r\n", "\n") == reconcile("--plan").stdout


def test_table_is_drawn_on_a_terminal_and_plain_in_a_pipe(
    terminal: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """The rows are the same; only a terminal gets lines and colours, and NO_COLOR takes the colours away."""
    reconcile("--yes")
    drawn, plain = terminal("hooks"), terminal("hooks", NO_COLOR="1")
    assert (drawn.end(), plain.end()) == (0, 0)

    assert "─" in drawn.screen
    assert "\x1b[" in drawn.screen
    assert "b/h" in plain.screen
    assert "\x1b[3" not in plain.screen
    assert "─" not in reconcile("hooks").stdout


def test_json_stays_json_on_a_terminal(terminal: Callable[..., Any]) -> None:
    """A format for programs has no colours anywhere."""
    session = terminal("--plan", "--json")

    assert session.end() == 0
    assert json.loads(session.screen)["summary"]["create"] == 2


def test_hostile_names_cannot_reach_the_terminal(terminal: Callable[..., Any], tmp_path: Path) -> None:
    """A display name with escape sequences is shown without them: in the plan, the table and the warning."""
    hostile = json.dumps("\x1b]0;owned\x07\x1b[2J\u202egpj")
    (tmp_path / "hooks.yaml").write_text(HOOKS.replace("{webhooks", "{name: " + hostile + ", webhooks"))

    session = terminal("--plan", NO_COLOR="1")

    session.end()
    assert "\x1b" not in session.screen
    assert "\u202e" not in session.screen
