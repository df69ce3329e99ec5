"""`plan.compare`: whether what would be applied is what was reviewed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler import plan
from reconciler.plan.compare import differing
from reconciler.plan.plan import Base, Observation

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
    assert "b/x: differs in timeout" in said
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


def test_another_lineage_is_another_state(declare: Declare, applied: Apply) -> None:
    """Even if the changes happen to be the same."""
    state = applied(declare(bots()))
    desired = declare(bots(x=HOOK))
    reviewed = replace(plan.make(desired, state), base=Base(lineage="elsewhere", serial=1))
    assert "made for another state" in differing(reviewed, plan.make(desired, state))


def test_a_long_list_is_cut_with_a_count(declare: Declare, applied: Apply) -> None:
    """Twenty names say enough."""
    state = applied(declare(bots()))
    many = declare(bots(**{f"h{number}": HOOK for number in range(30)}))
    said = differing(plan.make(declare(bots()), state), plan.make(many, state))
    assert said.endswith("and 10 more")
