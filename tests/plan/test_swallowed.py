"""Webhooks that were indented into a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler import plan
from reconciler.plan.swallowed import SWALLOWED

if TYPE_CHECKING:
    from collections.abc import Callable

TYPE = "conversation.started"
BODY = '{"text": "{{conversation.id}}"}\n'
TAIL = "\n".join(f"h{n}:\n  type: {TYPE}\n  url: https://h{n}.example.com\n" for n in range(12))


def hook(name: str, **more: Any) -> dict[str, Any]:
    """An outgoing webhook."""
    return {"type": TYPE, "url": f"https://{name}.example.com", **more}


def bots(*, body: str = BODY, hooks: int = 12) -> dict[str, Any]:
    """A webhook with a body, and others below it."""
    first = hook("first", custom_payload={"body": body})
    return {"b": {"webhooks": {"first": first} | {f"h{n}": hook(f"h{n}") for n in range(hooks)}}}


def warnings(made: plan.Plan) -> list[str]:
    """What is said of it, in the whole plan."""
    return [warning.message for change in made.changes for warning in change.warnings if warning.code == SWALLOWED]


def test_a_body_that_takes_webhooks_in_is_named(declare: Callable[..., Any], applied: Callable[..., Any]) -> None:
    """At the body that has grown, and in the guard against so many deletions: with its place."""
    made = plan.make(declare(bots(body=BODY + TAIL, hooks=0)), applied(declare(bots())))
    assert warnings(made) == [
        "`custom_payload.body` has taken in 12 webhooks that are deleted: is everything below it indented too far?"
    ]
    (guard,) = [guard for guard in made.guards if guard.code == "mass-delete"]
    assert guard.message.endswith(". A text of `b/first` has taken some in, see hooks.yaml:21")


@pytest.mark.parametrize(
    "after",
    [
        bots(body=BODY + "h0:\n  type: another\n", hooks=0),
        bots(body=BODY + TAIL),
        bots(body=BODY + "see h0: it is gone\n", hooks=0),
        {"b": bots(hooks=0)["b"], "c": bots(body=BODY + TAIL, hooks=0)["b"]},
    ],
    ids=["of another type", "not deleted", "in the middle of a line", "of another bot"],
)
def test_what_only_looks_like_it_is_left_alone(
    declare: Callable[..., Any], applied: Callable[..., Any], after: Any
) -> None:
    """A text that speaks of a webhook has not swallowed it."""
    assert warnings(plan.make(declare(after), applied(declare(bots())))) == []
