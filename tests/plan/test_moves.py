"""`plan.moves`: which applied resource a declared one continues."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.model.resource import Desired, Key, Kind, State
from reconciler.plan.make import make
from reconciler.plan.moves import pair

if TYPE_CHECKING:
    from collections.abc import Callable

    Declare = Callable[..., Desired]
    Apply = Callable[..., State]

TRIGGER = {"type": "sync.trigger", "data_source": "docs"}


def hooks(bot: str, *handles: str, **moved_from: Any) -> dict[str, Any]:
    """A bot with triggers, some of them with a `moved_from`."""
    every = {**dict.fromkeys(handles), **moved_from}
    return {bot: {"webhooks": {handle: {**TRIGGER, "moved_from": source} for handle, source in every.items()}}}


def continued(desired: Desired, state: State, kind: Kind = Kind.WEBHOOK) -> dict[str, str | None]:
    """Each declared address with the applied one it continues, None for a new one."""
    pairing = pair(desired, state)
    found = {}
    for key in desired.resources:
        if key.kind is kind:
            before = pairing.before.get(key)
            found[key.address] = None if before is None else before.key.address
    return found


def removed(desired: Desired, state: State) -> list[str]:
    """The addresses that nobody continues."""
    return sorted(f"{resource.key.kind}:{resource.key.address}" for resource in pair(desired, state).removed)


def settled(desired: Desired, state: State) -> State:
    """The state after applying the pairing of `desired`."""
    pairing = pair(desired, state)
    resources = {
        key: replace(pairing.before[key], key=key, moved_from=declared.moved_from)
        for key, declared in desired.resources.items()
        if key in pairing.before
    }
    return replace(state, serial=state.serial + 1, resources=resources)


def test_the_same_address_continues_the_same_resource(declare: Declare, applied: Apply) -> None:
    """Without any `moved_from`, an address is an identity."""
    state = applied(declare(hooks("a", "x", "y")))
    desired = declare(hooks("a", "y", "z"))
    assert continued(desired, state) == {"a/y": "a/y", "a/z": None}
    assert removed(desired, state) == ["webhook:a/x"]


def test_a_renamed_hook_continues_its_source(declare: Declare, applied: Apply) -> None:
    """`moved_from` takes the source over; nothing is removed, and nothing is left to do afterwards."""
    state = applied(declare(hooks("a", "x")))
    desired = declare(hooks("a", y="x"))
    assert continued(desired, state) == {"a/y": "a/x"}
    assert removed(desired, state) == []
    assert continued(desired, settled(desired, state)) == {"a/y": "a/y"}


def test_an_unknown_or_stale_source_is_ignored(declare: Declare, applied: Apply) -> None:
    """A source that is not in the state, or whose rename is done, changes nothing."""
    state = applied(declare(hooks("a", "x", "y")))
    desired = declare(hooks("a", x="ghost", y="x"))
    assert continued(desired, state) == {"a/x": "a/x", "a/y": "a/y"}


def test_a_list_serves_who_skipped_an_apply(declare: Declare, applied: Apply) -> None:
    """The first source that the state knows is taken."""
    state = applied(declare(hooks("a", "oldest")))
    assert continued(declare(hooks("a", new=["older", "oldest"])), state) == {"a/new": "a/oldest"}


def test_a_chain_moves_everyone_one_on(declare: Declare, applied: Apply) -> None:
    """X → y → z in one apply: y is emptied by z's claim and may take x; x itself is declared anew."""
    state = applied(declare(hooks("a", "x", "y")))
    desired = declare(hooks("a", "x", y="x", z="y"))
    assert continued(desired, state) == {"a/x": None, "a/y": "a/x", "a/z": "a/y"}


def test_a_swap_turns_once(declare: Declare, applied: Apply) -> None:
    """Two names are exchanged, and the `moved_from` lines left in the files do not exchange them back."""
    state = applied(declare(hooks("a", "x", "y")))
    desired = declare(hooks("a", x="y", y="x"))
    assert continued(desired, state) == {"a/x": "a/y", "a/y": "a/x"}
    after = settled(desired, state)
    assert {key.address: resource.id for key, resource in after.resources.items() if resource.id} == {
        "a/x": "id-a/y",
        "a/y": "id-a/x",
    }
    assert continued(desired, after) == {"a/x": "a/x", "a/y": "a/y"}


def test_a_ring_of_three_turns_once(declare: Declare, applied: Apply) -> None:
    """Longer rings turn as swaps do."""
    state = applied(declare(hooks("a", "x", "y", "z")))
    desired = declare(hooks("a", x="z", y="x", z="y"))
    assert continued(desired, state) == {"a/x": "a/z", "a/y": "a/x", "a/z": "a/y"}
    assert continued(desired, settled(desired, state)) == {"a/x": "a/x", "a/y": "a/y", "a/z": "a/z"}


def test_a_hook_moves_between_bots(declare: Declare, applied: Apply) -> None:
    """A full address names a source of another bot."""
    state = applied(declare(hooks("a", "x") | hooks("b", "y")))
    desired = declare(hooks("a") | hooks("b", "y", x="a/x"))
    assert continued(desired, state) == {"b/y": "b/y", "b/x": "a/x"}
    assert removed(desired, state) == []


def test_a_renamed_bot_takes_everything_along(declare: Declare, applied: Apply) -> None:
    """Its data sources and hooks move with it without a word of their own."""
    bot = {"data_sources": {"docs": {}}, "webhooks": {"x": TRIGGER}}
    state = applied(declare({"old": bot}))
    desired = declare({"new": {**bot, "moved_from": "old"}})
    assert continued(desired, state) == {"new/x": "old/x"}
    assert continued(desired, state, Kind.DATA_SOURCE) == {"new/docs": "old/docs"}
    assert continued(desired, state, Kind.BOT) == {"new": "old"}
    assert removed(desired, state) == []
    assert continued(desired, settled(desired, state)) == {"new/x": "new/x"}


def test_a_hook_is_renamed_within_a_renamed_bot(declare: Declare, applied: Apply) -> None:
    """Its source is found under the bot's new handle and under its old one."""
    state = applied(declare(hooks("old", "x", "y")))
    bot = hooks("new", x2="x", y2="old/y")["new"]
    desired = declare({"new": {**bot, "moved_from": "old"}})
    assert continued(desired, state) == {"new/x2": "old/x", "new/y2": "old/y"}


def test_two_bots_swap_their_names(declare: Declare, applied: Apply) -> None:
    """What hangs on each goes with it, also where only one of them has a hook of that name, and only once."""
    state = applied(declare(hooks("a", "x", "y") | hooks("b", "x")))
    bots = hooks("a", "x") | hooks("b", "x", "y")
    bots["a"]["moved_from"], bots["b"]["moved_from"] = "b", "a"
    desired = declare(bots)
    assert continued(desired, state) == {"a/x": "b/x", "b/x": "a/x", "b/y": "a/y"}
    assert continued(desired, settled(desired, state)) == {"a/x": "a/x", "b/x": "b/x", "b/y": "b/y"}


def test_a_hook_of_a_bot_that_moved_away_is_not_the_newcomers(declare: Declare, applied: Apply) -> None:
    """A new bot under the old handle of a renamed one starts with new hooks."""
    state = applied(declare(hooks("a", "x")))
    bots = hooks("a", "x") | {"b": {"moved_from": "a"}}
    desired = declare(bots)
    assert continued(desired, state) == {"a/x": None}
    assert removed(desired, state) == ["webhook:a/x"]


def test_a_swap_survives_the_rename_of_its_bot(declare: Declare, applied: Apply) -> None:
    """That the swap was carried out is remembered under the bot's new handle."""
    swapped = declare(hooks("a", x="y", y="x"))
    state = settled(swapped, applied(declare(hooks("a", "x", "y"))))
    bot = hooks("b", x="y", y="x")["b"]
    renamed = declare({"b": {**bot, "moved_from": "a"}})
    assert continued(renamed, state) == {"b/x": "a/x", "b/y": "a/y"}
    after = settled(renamed, state)
    assert continued(renamed, after) == {"b/x": "b/x", "b/y": "b/y"}
    assert after.resources[Key(Kind.WEBHOOK, "b/x")].id == "id-a/y"


def test_a_swap_that_was_declared_from_the_first_apply_on_never_turns(declare: Declare, applied: Apply) -> None:
    """In a new state there was nothing to move; the lines are as stale there as they are elsewhere."""
    desired = declare(hooks("a", x="y", y="x"))
    assert continued(desired, settled(desired, applied(desired))) == {"a/x": "a/x", "a/y": "a/y"}


def test_a_claim_that_was_dealt_with_takes_nothing_when_its_address_is_emptied(
    declare: Declare, applied: Apply
) -> None:
    """Y came from x once; renaming y to z and declaring a new y leaves the new x alone, whatever y still says."""
    both = applied(declare(hooks("a", "x", "y")))
    y = Key(Kind.WEBHOOK, "a/y")
    state = replace(both, resources=both.resources | {y: replace(both.resources[y], moved_from=("a/x",))})
    assert continued(declare(hooks("a", "x", y="x", z="y")), state) == {"a/x": "a/x", "a/y": None, "a/z": "a/y"}


def test_a_swap_with_one_that_was_renamed_before_turns(declare: Declare, applied: Apply) -> None:
    """An old `moved_from` left standing does not hide a new swap, and that one turns once, too."""
    state = applied(declare(hooks("a", "x")))
    renamed = settled(declare(hooks("a", y="x")), state)
    newcomer = applied(declare(hooks("a", "x"))).resources[Key(Kind.WEBHOOK, "a/x")]
    both = replace(renamed, resources={**renamed.resources, newcomer.key: newcomer})
    swapped = declare(hooks("a", x="y", y="x"))
    assert continued(swapped, both) == {"a/x": "a/y", "a/y": "a/x"}
    assert continued(swapped, settled(swapped, both)) == {"a/x": "a/x", "a/y": "a/y"}


def test_a_claim_on_what_is_deleted_cannot_push_an_applied_one_away(declare: Declare, applied: Apply) -> None:
    """Deleting x and renaming y to x in one step keeps x, loses y, and says so."""
    state = applied(declare(hooks("a", "x", "y")))
    desired = declare(hooks("a", x="y"))
    assert continued(desired, state) == {"a/x": "a/x"}
    (deleted,) = make(desired, state).changes
    assert (deleted.action, deleted.address) == ("delete", "a/y")
    assert "`moved_from` at a/x does not keep it" in deleted.warnings[-1].message
