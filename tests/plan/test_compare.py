"""`plan.compare`: whether what would be applied is what was reviewed."""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import plan
from reconciler.errors import UsageError
from reconciler.model.resource import EMPTY_STATE
from reconciler.plan.compare import UNEXPLAINED, differing, unexplained
from reconciler.plan.plan import Base, Observation, Plan, PlanWarning

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.resource import Desired, State

    Declare = Callable[..., Desired]
    Apply = Callable[..., State]

HOOK = {"type": "conversation.started", "url": "https://a.example.com"}


def bots(**hooks: Any) -> dict[str, Any]:
    """A bot with these hooks."""
    return {"b": {"webhooks": hooks}}


def test_equal_changes_are_the_reviewed_ones(declare: Declare, applied: Apply) -> None:
    """Whatever the commit, the lines, the traffic and an unrelated serial say."""
    state = applied(declare(bots(x=HOOK)))
    desired = declare(bots(x=HOOK | {"timeout": "5s"}))
    reviewed = plan.make(desired, state, commit="branch")
    now = plan.make(
        declare(bots(x=HOOK | {"timeout": "5s"}), file="moved.yaml"),
        replace(state, serial=9),
        commit="main",
        observed={"id-b/x": Observation(day_count=1)},
    )
    assert differing(reviewed, now) == ""


def test_changed_files_are_named_with_what_differs(declare: Declare, applied: Apply) -> None:
    """Which resource, in which field, and that the files are the reason."""
    state = applied(declare(bots(x=HOOK, y=HOOK)))
    reviewed = plan.make(declare(bots(x=HOOK | {"timeout": "5s"}, y=HOOK)), state)
    now = plan.make(declare(bots(x=HOOK | {"timeout": "6s"}, y=HOOK | {"enabled": True})), state)
    said = differing(reviewed, now)
    assert "the files changed" in said
    assert "b/x: timeout reviewed as 10s → 5s, now 10s → 6s" in said
    assert "b/y: would change this webhook, which was not in the reviewed plan" in said


def test_a_state_that_moved_on_is_named(declare: Declare, applied: Apply) -> None:
    """With both serials; what was applied meanwhile has nothing left to do."""
    desired = declare(bots(x=HOOK))
    reviewed = plan.make(desired, applied(declare(bots()), serial=4))
    said = differing(reviewed, plan.make(desired, applied(desired, serial=5)))
    assert "the state moved on from serial 4 to 5" in said
    assert "b/x: reviewed as add, now nothing to do" in said


def test_an_edited_plan_is_named(declare: Declare, applied: Apply) -> None:
    """Where files and state are the same, the plan itself is what changed."""
    made = plan.make(declare(bots(x=HOOK)), applied(declare(bots())))
    (change,) = made.changes
    edited = replace(made, changes=(replace(change, action=plan.Action.DELETE),))
    said = differing(edited, made)
    assert "the plan was edited" in said
    doubled = replace(made, changes=(change, change))
    assert "the plan was edited" in differing(doubled, made)


def test_a_long_value_is_only_said_to_differ(declare: Declare, applied: Apply) -> None:
    """A refusal is read at one glance: it does not quote whole bodies."""
    state = applied(declare(bots(x=HOOK)))
    plans = [plan.make(declare(bots(x=HOOK | {"description": each * 200})), state) for each in "ab"]
    assert differing(*plans).endswith("\n  b/x: differs in description")


def test_another_lineage_is_another_state(declare: Declare, applied: Apply) -> None:
    """Even if the changes happen to be the same."""
    state = applied(declare(bots()))
    desired = declare(bots(x=HOOK))
    reviewed = replace(plan.make(desired, state), base=Base(lineage="elsewhere", serial=1))
    assert "made for another state" in differing(reviewed, plan.make(desired, state))


def test_a_plan_from_before_the_first_apply_says_what_is_left_of_it(declare: Declare, applied: Apply) -> None:
    """Its lineage is none, and the refusal says so and names the resources that differ."""
    desired = declare(bots(x=HOOK))
    reviewed = plan.make(desired, EMPTY_STATE)

    refusal = differing(reviewed, plan.make(desired, applied(desired)))

    assert "made before anything was applied, and the state has serial 1 now" in refusal
    assert "  b/x: reviewed as add, now nothing to do" in refusal


def test_a_long_list_is_cut_with_a_count(declare: Declare, applied: Apply) -> None:
    """Twenty names say enough."""
    state = applied(declare(bots()))
    many = declare(bots(**{f"h{number}": HOOK for number in range(30)}))
    said = differing(plan.make(declare(bots()), state), plan.make(many, state))
    assert said.endswith("and 10 more")


WHOLE = {
    "old": HOOK,
    "gone": HOOK,
    "typed": HOOK,
    "turned": HOOK,
    "edited": HOOK | {"secret": {"env": "ONE"}},
    "same": HOOK,
}
EDITED = {
    "new": HOOK | {"moved_from": "old"},
    "typed": HOOK | {"type": "conversation.claimed"},
    "turned": HOOK | {"secret_version": 2},
    "edited": HOOK | {"secret": {"env": "TWO"}, "retry": {"schedule": ["1s"]}, "custom_payload": {"body": "a\nb"}},
    "same": HOOK,
    "fresh": HOOK | {"enabled": True},
}
ANYTHING: list[Any] = [None, True, 7, -1, 1.5, "other", [], {}, {"env": ["x"]}]
MAY_DIFFER = {"commit", "config_digest", "file", "line", "serial", "guards", "drift", "observed"}
"""Where a plan stands in files and in time, which is no part of what was reviewed."""


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON document."""
    match value:
        case dict():
            inner = value.items()
        case list():
            inner = enumerate(value)
        case _:
            return [path]
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def edits(document: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """Every document that one cut or one foreign value makes of this one."""
    made = []
    for path in places(document)[1:]:
        for value in [..., *ANYTHING]:
            edited = deepcopy(document)
            at = edited
            for key in path[:-1]:
                at = at[key]
            if value is ...:
                del at[path[-1]]
            elif at[path[-1]] == value and type(at[path[-1]]) is type(value):
                continue
            else:
                at[path[-1]] = value
            made.append((path, edited))
    return made


def test_whatever_is_edited_in_a_saved_plan_is_refused(declare: Declare, applied: Apply) -> None:
    """No part of what was reviewed can be cut or changed: then it is no plan any more, or not the reviewed one."""
    made = plan.make(declare(bots(**EDITED)), applied(declare(bots(**WHOLE))))
    document = json.loads(plan.to_json(made))
    assert {change["action"] for change in document["changes"]} == {each.value for each in plan.Action}
    passed = set()
    for path, edited in edits(document):
        try:
            read = plan.from_json(json.dumps(edited).encode())
        except UsageError:
            continue
        said = differing(read, made)
        if not said:
            passed.add(next((key for key in reversed(path) if isinstance(key, str)), ""))
    assert passed <= MAY_DIFFER


def explained(made: Plan) -> dict[str, list[str]]:
    """The messages at each change about what is not of the diff's making."""
    return {
        change.address: [each.message for each in change.warnings if each.code == UNEXPLAINED]
        for change in made.changes
    }


def test_what_the_base_would_do_as_well_is_not_explained(declare: Declare, applied: Apply) -> None:
    """A whole change, or single fields of one; what only the branch does stands without a word."""
    state = applied(declare(bots(x=HOOK, y=HOOK, z=HOOK, gone=HOOK)))
    slow, off = HOOK | {"timeout": "5s"}, HOOK | {"timeout": "5s", "enabled": True}
    base = plan.make(declare(bots(x=slow, y=slow, z=HOOK)), state)
    made = plan.make(declare(bots(x=slow, y=off, z=slow)), state)
    said = explained(unexplained(made, base))
    assert "this webhook would be changed without it" in said["b/x"][0]
    assert "this webhook would be deleted without it" in said["b/gone"][0]
    assert "diff: timeout would change without it" in said["b/y"][0]
    assert said["b/z"] == []


def test_the_warning_of_a_branch_does_not_keep_it_from_being_applied(declare: Declare, applied: Apply) -> None:
    """After the merge nothing is unexplained any more, and the changes are still those that were reviewed."""
    made = plan.make(declare(bots(x=HOOK)), applied(declare(bots())))
    marked = unexplained(made, made)
    assert marked != made
    assert differing(plan.from_json(plan.to_json(marked)), made) == ""
    (change,) = made.changes
    other = PlanWarning(code="traffic-starts", message="no")
    assert "warns of something else" in differing(replace(made, changes=(replace(change, warnings=(other,)),)), made)


@pytest.mark.parametrize("count", ["create", "unchanged"])
def test_a_summary_that_does_not_add_up_is_refused(count: str, declare: Declare, applied: Apply) -> None:
    """It is what a reviewer reads first."""
    made = plan.make(declare(bots(x=HOOK)), applied(declare(bots())))
    edited = replace(made, summary=replace(made.summary, **{count: 9}))
    assert "its summary says 9" in differing(edited, made)
