"""`plan.render_text`; what whole plans look like stands in the golden files."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from reconciler.model.resource import Kind
from reconciler.plan import Action, Change, FieldChange, Observation, Plan, render_text
from reconciler.plan.plan import Base, Drift, Guard, PlanWarning, Summary

if TYPE_CHECKING:
    from typing import Any


def plan_of(*changes: Change, **more: Any) -> Plan:
    """A plan with these changes."""
    return Plan(base=Base(lineage="l", serial=1), config_digest="sha256:0", changes=changes, **more)


URL = Change(
    kind=Kind.WEBHOOK,
    address="a/x",
    action=Action.UPDATE,
    type="conversation.started",
    file="hooks.yaml",
    line=7,
    fields=(FieldChange(path="url", before="https://a.example.com", after="https://b.example.com"),),
)


def test_the_summary_line_is_exact() -> None:
    """Scripts rely on it, with changes and without."""
    full = Summary(create=1, update=1, replace=0, rename=1, rotate=0, delete=1, unchanged=37)
    assert render_text(plan_of(URL, summary=full)).endswith(
        "\nPlan: 1 to add, 1 to change, 0 to replace, 1 to rename, 0 to rotate, 1 to delete; 37 unchanged.\n"
    )
    assert (
        render_text(plan_of(summary=Summary(unchanged=41))) == "No changes. 41 resources match the configuration.\n"
    )


def test_a_change_is_a_block_with_its_place() -> None:
    """Symbol, kind, address and `file:line`, then the fields, before → after."""
    assert render_text(plan_of(URL)).splitlines()[:3] == [
        "~ change webhook a/x  conversation.started  hooks.yaml:7",
        "    url  https://a.example.com → https://b.example.com",
        "",
    ]


def test_a_field_that_does_not_fit_takes_two_lines() -> None:
    """The width breaks fields, and never shortens them."""
    assert render_text(plan_of(URL), width=40).splitlines()[:5] == [
        "~ change webhook a/x",
        "    conversation.started  hooks.yaml:7",
        "    url",
        "        - https://a.example.com",
        "        + https://b.example.com",
    ]


def test_colour_adds_nothing_but_colour() -> None:
    """Without the escape sequences the text is the same."""
    coloured = render_text(plan_of(URL), color=True)
    assert coloured != render_text(plan_of(URL))
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == render_text(plan_of(URL))


@pytest.mark.parametrize("hostile", ["\x1b[2J", "\u202e", "\n+ add webhook a/y", "\r", "\u2028"])
def test_hostile_text_reaches_no_terminal(hostile: str) -> None:
    """Not from a file name, an address, a path, a value, or a line of a body."""
    change = replace(
        URL,
        address=f"a/{hostile}",
        file=f"{hostile}.yaml",
        fields=(
            FieldChange(path=f"headers.{hostile}", before=hostile, after=[hostile]),
            FieldChange(path="custom_payload.body", before="one\ntwo", after=f"one\n{hostile}"),
        ),
    )
    text = render_text(plan_of(change))
    assert all(line.isprintable() for line in text.split("\n"))
    assert not any(line.startswith("+ add webhook") for line in text.split("\n"))


def test_traffic_stands_beside_what_ends_it() -> None:
    """A deletion says what still comes and what would be cancelled; an edit of a time-out says nothing of it."""
    observed = {"a/x": Observation(day_count=212, waiting=4, last_delivered="2026-03-10T12:00:00Z")}
    deleted = render_text(plan_of(replace(URL, action=Action.DELETE), observed=observed))
    assert "212 deliveries in 24 h, last 2026-03-10T12:00:00Z, 4 waiting will be cancelled" in deleted
    assert "212" not in render_text(plan_of(URL, observed=observed))


def test_what_was_never_used_is_said_where_something_ends() -> None:
    """It tells whoever decides that nobody will miss it; to an edit it says nothing."""
    untouched = {"a/x": Observation()}
    trigger = replace(URL, action=Action.DELETE, type="sync.trigger")
    assert "! nothing was ever sent" in render_text(plan_of(replace(URL, action=Action.DELETE), observed=untouched))
    assert "! never called" in render_text(plan_of(trigger, observed=untouched))
    moved = replace(URL, warnings=(PlanWarning(code="url-changes", message="deliveries go elsewhere"),))
    assert render_text(plan_of(moved, observed=untouched)) == render_text(plan_of(moved))


def test_a_field_written_elsewhere_has_its_own_place() -> None:
    """The first field's place is the change's, and not said twice."""
    fields = (
        URL.fields[0]._replace(file="hooks.yaml", line=7),
        FieldChange(path="timeout", before="10s", after="5s", file="hooks.yaml", line=3),
        FieldChange(path="description", before="", after="a\nb", file="hooks.yaml", line=9),
    )
    lines = render_text(plan_of(replace(URL, fields=fields))).splitlines()
    assert "    url      https://a.example.com → https://b.example.com" in lines
    assert "    timeout  10s → 5s  hooks.yaml:3" in lines
    assert "    description  hooks.yaml:9" in lines


def test_a_line_that_differs_in_blanks_alone_shows_them() -> None:
    """Else the line that goes and the line that comes would look the same."""
    body = FieldChange(path="custom_payload.body", before="a\nb\n", after="a \nb\n")
    text = render_text(plan_of(replace(URL, fields=(body,))))
    assert "        - a\n        + a\\x20\n" in text


@pytest.mark.parametrize("color", [False, True])
def test_drift_of_many_is_counted(*, color: bool) -> None:
    """What the plan changes is told first, also where it has had another address; the rest is a number."""
    drift = tuple(
        Drift(address=f"a/{number:02}", code="gone", since=None, message="410", clears="a test")
        for number in range(30)
    )
    moved = FieldChange(path="address", before="a/29", after="a/x")
    text = render_text(plan_of(replace(URL, fields=(moved,)), drift=drift), color=color, width=60)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert next(line for line in lines if line.startswith("drift a/")).startswith("drift a/29  gone")
    assert sum(line.startswith("drift a/") for line in lines) == 20
    at = lines.index("drift and 10 more webhooks (10 gone); the plan's JSON lists")
    assert lines[at + 1 : at + 3] == ["      them all", ""]


@pytest.mark.parametrize("width", [40, 60, 80, 140])
def test_sentences_are_broken_where_the_terminal_ends(width: int) -> None:
    """Between words, below where they began; the summary line stays one line whatever the width."""
    said = "the trigger URL changes and the old one stops answering at once, so callers need to be told before"
    change = replace(URL, warnings=(PlanWarning(code="x", message=said),))
    guard = Guard(code="protected", address="a/x", message=said, allow="--allow-delete a/x")
    drift = Drift(address="a/x", code="gone", since=None, message=said, clears=said)
    *lines, last = render_text(plan_of(change, guards=(guard,), drift=(drift,)), width=width).splitlines()
    assert max(map(len, lines)) <= max(width, len("        - https://a.example.com"))
    assert last.startswith("Plan: ")
    assert " ".join(" ".join(lines).split()).count(said) == 4
    unbroken = render_text(plan_of(change, guards=(guard,), drift=(drift,)))
    assert " ".join(unbroken.split()).count(said) == 4
    assert f"    ! {said}\n" in unbroken
