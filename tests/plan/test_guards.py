"""`plan.guards`: what is refused, and what allows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler import plan
from reconciler.model.resource import EMPTY_STATE
from reconciler.plan.guards import NAMED_MAX, Allowance, guards_of, vain_allowances
from reconciler.plan.moves import pair
from reconciler.plan.plan import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.resource import Desired, State

    Declare = Callable[..., Desired]
    Apply = Callable[..., State]

HOOK = {"type": "conversation.started", "url": "https://a.example.com"}


def fleet(count: int, *, skip: int = 0, **more: Any) -> dict[str, Any]:
    """A bot with `count` hooks `h00`, `h01` …, the first `skip` of them left out, and `more` ones."""
    hooks = {f"h{number:02}": HOOK for number in range(skip, count)}
    return {"b": {"webhooks": hooks | more}}


def guards(
    desired: Desired, state: State, *, allow: Allowance | None = None, seen: dict[str, Observation] | None = None
) -> list[tuple[str, str | None, str]]:
    """What stands against applying, as (code, address, allow)."""
    pairing = pair(desired, state)
    changes = plan.make(desired, state).changes
    found = guards_of(desired, state, changes, pairing=pairing, observed=seen or {}, allow=allow or Allowance())
    return [(guard.code, guard.address, guard.allow) for guard in found]


@pytest.mark.parametrize(
    ("existing", "deleted", "refused"),
    [(9, 8, False), (10, 3, False), (10, 4, True), (50, 10, False), (50, 11, True), (33, 10, True)],
)
def test_many_deletions_at_once_are_refused(
    *, existing: int, deleted: int, refused: bool, declare: Declare, applied: Apply
) -> None:
    """More than 30 % or more than 10, from ten existing hooks on."""
    state = applied(declare(fleet(existing)))
    found = guards(declare(fleet(existing, skip=deleted)), state)
    assert found == ([("mass-delete", None, "--allow-delete-all")] if refused else [])


def test_a_replacement_counts_as_a_deletion(declare: Declare, applied: Apply) -> None:
    """Changing the type of eleven hooks is as bad as deleting them."""
    state = applied(declare(fleet(50)))
    replaced = {f"h{number:02}": HOOK | {"type": "conversation.claimed"} for number in range(11)}
    assert guards(declare(fleet(50, **replaced)), state) == [("mass-delete", None, "--allow-delete-all")]


def test_an_allowed_hook_no_longer_counts(declare: Declare, applied: Apply) -> None:
    """`--allow-delete` takes a hook out of every guard, the count included."""
    state = applied(declare(fleet(50)))
    desired = declare(fleet(50, skip=11))
    assert guards(desired, state, allow=Allowance(addresses=frozenset({"b/h00"}))) == []
    assert guards(desired, state, allow=Allowance(all=True)) == []


def test_a_protected_hook_is_only_deleted_by_its_name(declare: Declare, applied: Apply) -> None:
    """`--allow-delete-all` does not cover it, and neither does ending the protection in the same change."""
    kept = HOOK | {"protected": True}
    state = applied(declare(fleet(0, kept=kept)))
    expected = [("protected", "b/kept", "--allow-delete b/kept")]
    assert guards(declare(fleet(0)), state) == expected
    assert guards(declare(fleet(0)), state, allow=Allowance(all=True)) == expected
    replaced = declare(fleet(0, kept=HOOK | {"type": "conversation.claimed", "protected": False}))
    assert guards(replaced, state) == expected
    assert guards(declare(fleet(0)), state, allow=Allowance(addresses=frozenset({"b/kept"}))) == []


def test_a_hook_with_traffic_is_missed(declare: Declare, applied: Apply) -> None:
    """Anything in the last 24 hours; older traffic does not count, and an edit is no loss."""
    state = applied(declare(fleet(3)))
    seen = {
        "id-b/h00": Observation(day_count=1),
        "id-b/h01": Observation(day_count=0, last_delivered="2026-03-01T00:00:00Z"),
        "id-b/h02": Observation(day_count=5),
    }
    desired = declare(fleet(3, skip=2, h02=HOOK | {"timeout": "5s"}))
    assert guards(desired, state, seen=seen) == [("traffic", "b/h00", "--allow-delete b/h00")]
    assert guards(desired, state, seen=seen, allow=Allowance(all=True)) == []


def test_an_empty_configuration_is_refused(declare: Declare, applied: Apply) -> None:
    """However little there is; but a bot that loses its only hook is an edit."""
    state = applied(declare(fleet(1)))
    assert guards(declare({}), state) == [("empty-configuration", None, "--allow-delete-all")]
    assert guards(declare({}), state, allow=Allowance(all=True)) == []
    assert guards(declare({"b": {}}), state) == []
    assert guards(declare({}), EMPTY_STATE) == []


def test_a_renamed_hook_is_not_lost(declare: Declare, applied: Apply) -> None:
    """Not even a protected one with traffic."""
    state = applied(declare(fleet(0, kept=HOOK | {"protected": True})))
    desired = declare(fleet(0, new=HOOK | {"protected": True, "moved_from": "kept"}))
    assert guards(desired, state, seen={"id-b/kept": Observation(day_count=9)}) == []


def test_a_plan_lists_the_guards_that_nothing_has_allowed(declare: Declare, applied: Apply) -> None:
    """So that a reviewer sees which flag the apply will need."""
    made = plan.make(declare({}), applied(declare(fleet(1, kept=HOOK | {"protected": True}))))
    assert [guard.code for guard in made.guards] == ["protected", "empty-configuration"]


GONE = fleet(0, kept=HOOK, other=HOOK, typed=HOOK | {"type": "conversation.claimed"})


def in_vain(bots: dict[str, Any], state: State, declare: Declare, *addresses: str) -> list[str]:
    """What is said of these allowances."""
    allow = Allowance(addresses=frozenset(addresses))
    return list(vain_allowances(allow, plan.make(declare(bots), state).changes))


def test_what_is_deleted_or_replaced_is_not_allowed_in_vain(declare: Declare, applied: Apply) -> None:
    """Whether a guard stood against it or not; a webhook that is renamed as well goes by either address."""
    state = applied(declare(GONE))
    bots = fleet(0, kept=HOOK, new=HOOK | {"moved_from": "typed"})
    assert in_vain(bots, state, declare, "b/other", "b/new", "b/typed") == []
    assert in_vain(bots, state, declare) == []
    taken = fleet(0, kept=HOOK, other=HOOK | {"type": "conversation.claimed", "moved_from": "typed"})
    assert in_vain(taken, state, declare, "b/other", "b/typed") == []


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("b/othr", "; did you mean b/other?"),
        ("b/kept", ""),
        ("b/nothing-like-it", ""),
        ("b", "; write it as the plan does, BOT/HOOK"),
    ],
)
def test_an_address_that_allows_nothing_is_said(*, address: str, hint: str, declare: Declare, applied: Apply) -> None:
    """With the nearest that would, or else how an address is written; one that stays is allowed in vain, too."""
    assert in_vain(fleet(0, kept=HOOK, typed=HOOK), applied(declare(GONE)), declare, address) == [
        f"--allow-delete {address} allows nothing: this plan deletes or replaces no webhook of that address{hint}"
    ]


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("support-bot/chatss", "support-bot/chats"),
        ("suport-bot/chats", "support-bot/chats"),
        ("chats", "support-bot/chats"),
        ("support-bot/other", None),
        ("support-bot", None),
        ("notify/chats", None),
    ],
)
def test_an_address_is_near_by_its_bot_and_its_handle(
    *, address: str, near: str | None, declare: Declare, applied: Apply
) -> None:
    """A bot in common makes no two webhooks alike: nobody is led to delete another one."""
    hooks: dict[str, Any] = {"chats": HOOK, "other": HOOK}
    state = applied(declare({"support-bot": {"webhooks": hooks}}))
    (said,) = in_vain({"support-bot": {"webhooks": {"other": HOOK}}}, state, declare, address)
    assert said.partition("did you mean ")[2] == (f"{near}?" if near else "")


def test_nothing_is_offered_that_is_allowed_already(declare: Declare, applied: Apply) -> None:
    """What is near and given as well was not what the other one means; where nothing is deleted, nothing is near."""
    state = applied(declare(GONE))
    said = "--allow-delete b/othr allows nothing: this plan deletes or replaces no webhook"
    bots = fleet(0, kept=HOOK, typed=HOOK | {"type": "conversation.claimed"})
    assert in_vain(bots, state, declare, "b/othr", "b/other") == [f"{said} of that address"]
    assert in_vain(GONE, state, declare, "b/othr") == [said]


def test_however_many_allow_nothing_little_is_said(declare: Declare, applied: Apply) -> None:
    """A program may post any number of any length, and what does not show is spelled out."""
    long, more = "x" * 1_000_000, [f"b/{number}" for number in range(NAMED_MAX)]
    said = in_vain(fleet(0), applied(declare(GONE)), declare, "a\n\u202e", long, *more)
    assert len(said) == NAMED_MAX + 1
    assert said[0].startswith("--allow-delete 'a\\n\\u202e' allows nothing")
    assert said[-1] == "and 2 more addresses allow nothing"
    assert max(map(len, in_vain(fleet(0), applied(declare(GONE)), declare, long))) < 500
