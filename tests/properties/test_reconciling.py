"""The laws of reconciling, over configurations that Hypothesis makes up."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler import plan
from reconciler.control.export import export_state, read_export
from reconciler.control.reconcile import Allowance, Applied, apply
from reconciler.control.snapshot import build_snapshot
from reconciler.model.resource import Desired, Key, Kind, State
from reconciler.plan.render_markdown import render_markdown
from reconciler.store.memory import MemoryStore
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random  # noqa: TID251 - drawn by Hypothesis from its own seed

    Declare = Callable[..., Desired]

EVERYTHING = Allowance(addresses=frozenset(f"{bot}/{hook}" for bot in "abc" for hook in "pqrs"), all=True)
LAWS = settings(max_examples=150, deadline=None)

_HANDLES = st.sampled_from(["p", "q", "r", "s"])
_BOT_HANDLES = ["a", "b", "c"]
_URLS = st.sampled_from(["https://one.example.com", "https://two.example.com/{{x}}", "${env:URL}/three"])
_OVERLAP = st.sampled_from(["0s", "1h"])
_SOURCES = st.one_of(
    st.none(),
    _HANDLES,
    st.builds("{}/{}".format, st.sampled_from(_BOT_HANDLES), _HANDLES),
    st.lists(_HANDLES, min_size=1, max_size=3),
)
_SYNCS = st.fixed_dictionaries({}, optional={"name": st.text(max_size=5), "sync": st.just({"command": ["x"]})})
_PAYLOADS = st.fixed_dictionaries(
    {},
    optional={
        "body": st.text(st.characters(exclude_characters="$", codec="utf-8"), max_size=20),
        "headers": st.dictionaries(st.just("X-A"), st.sampled_from(["", "a b", "|`\n", "@you"])),
    },
)
_TRIGGERS = st.fixed_dictionaries(
    {"type": st.just("sync.trigger"), "data_source": st.sampled_from(["d", "e"])},
    optional={
        "enabled": st.booleans(),
        "secret_version": st.integers(1, 3),
        "rotation": st.fixed_dictionaries({"overlap": _OVERLAP}),
        "moved_from": _SOURCES,
    },
)
_OUTGOING = st.fixed_dictionaries(
    {"type": st.sampled_from(["conversation.started", "conversation.claimed", "sync.failure"]), "url": _URLS},
    optional={
        "enabled": st.booleans(),
        "timeout": st.sampled_from(["5s", "10s"]),
        "retry": st.fixed_dictionaries({"attempts": st.integers(1, 4)}),
        "secret": st.sampled_from([{"env": "OPS"}, {"file": "ops"}]),
        "secret_version": st.integers(1, 3),
        "rotation": st.fixed_dictionaries({"overlap": _OVERLAP}),
        "custom_payload": _PAYLOADS,
        "moved_from": _SOURCES,
        "protected": st.booleans(),
    },
)
_BOTS = st.fixed_dictionaries(
    {"webhooks": st.dictionaries(_HANDLES, _TRIGGERS | _OUTGOING, max_size=4)},
    optional={
        "name": st.text(max_size=8),
        "data_sources": st.dictionaries(st.sampled_from(["d", "e"]), _SYNCS),
        "moved_from": st.sampled_from(_BOT_HANDLES),
    },
)
CONFIGURATIONS = st.dictionaries(st.sampled_from(_BOT_HANDLES), _BOTS, max_size=3)
"""Up to three bots with up to four webhooks each, of few enough names that edits and renames meet."""


@pytest.fixture(scope="session")
def keyring(new_mint: Any) -> Keyring:
    """One key for the whole session."""
    return Keyring([b"k" * 32], mint=new_mint())


class Reconciler:
    """One store, and applying to it."""

    def __init__(self, declare: Declare, keyring: Keyring, mint: Any) -> None:
        self.declare = declare
        self.keyring = keyring
        self.mint = mint
        self.store = MemoryStore()

    def apply(self, bots: dict[str, Any]) -> Applied:
        """Apply with everything allowed."""
        desired = self.declare(bots)
        return asyncio.run(
            apply(self.store, desired, keyring=self.keyring, mint=self.mint, now_ms=1_000, allow=EVERYTHING)
        )

    @property
    def state(self) -> State:
        """The state as stored."""
        return asyncio.run(self.store.read_state())


def ids_of(state: State) -> dict[str, str]:
    """Webhook ids by address."""
    return {key.address: resource.id for key, resource in state.resources.items() if resource.id}


@LAWS
@given(data=st.data())
def test_applying_leaves_nothing_to_plan(
    data: st.DataObject, declare: Declare, keyring: Keyring, new_mint: Any
) -> None:
    """Whatever was applied before: the next plan is empty, a second apply writes nothing and keeps the serial."""
    reconciler = Reconciler(declare, keyring, new_mint())
    for _ in range(data.draw(st.integers(1, 3))):
        desired = data.draw(CONFIGURATIONS)
        reconciler.apply(desired)
        state = reconciler.state
        assert plan.make(declare(desired), state).is_empty
        assert plan.make(declare(desired), read_export(export_state(state))).is_empty
        again = reconciler.apply(desired)
        assert again.plan.is_empty
        assert reconciler.state is state


@LAWS
@given(data=st.data())
def test_a_plan_says_what_becomes_of_every_id_and_secret(
    data: st.DataObject, declare: Declare, keyring: Keyring, new_mint: Any
) -> None:
    """Ids are kept but by create, replace and delete; secrets are kept where no secret field is listed."""
    reconciler = Reconciler(declare, keyring, new_mint())
    reconciler.apply(data.draw(CONFIGURATIONS))
    before = reconciler.state
    made = reconciler.apply(data.draw(CONFIGURATIONS)).plan
    after = reconciler.state
    assert len(set(ids_of(after).values())) == len(ids_of(after))
    kept = {key: key for key in before.resources}
    for change in made.changes:
        key = Key(change.kind, change.address)
        fields = {field.path: field for field in change.fields}
        match change.action:
            case plan.Action.DELETE:
                assert before.resources[key].id is None or before.resources[key].id not in ids_of(after).values()
                continue
            case plan.Action.CREATE | plan.Action.REPLACE:
                assert after.resources[key].id is None or after.resources[key].id not in ids_of(before).values()
                kept.pop(key, None)
                continue
        source = Key(change.kind, fields["address"].before if "address" in fields else change.address)
        assert after.resources[key].id == before.resources[source].id
        if "secret" not in fields:
            assert after.resources[key].secret == before.resources[source].secret
        elif after.resources[key].secret is not None:
            assert after.resources[key].secret != before.resources[source].secret
    touched = {Key(change.kind, change.address) for change in made.changes}
    for key in before.resources.keys() - touched:
        if key in after.resources and not any(
            field.path == "address" and field.before == key.address
            for change in made.changes
            for field in change.fields
        ):
            assert after.resources[key] == replace(before.resources[key], moved_from=after.resources[key].moved_from)


@LAWS
@given(data=st.data())
def test_counts_add_up(data: st.DataObject, declare: Declare, keyring: Keyring, new_mint: Any) -> None:
    """Everything declared is created, kept or changed, everything else deleted; the sizes of both states agree."""
    reconciler = Reconciler(declare, keyring, new_mint())
    reconciler.apply(data.draw(CONFIGURATIONS))
    before = len(reconciler.state.resources)
    desired = data.draw(CONFIGURATIONS)
    total = reconciler.apply(desired).plan.summary
    continued = total.update + total.replace + total.rename + total.rotate + total.unchanged
    assert total.create + continued == len(declare(desired).resources) == len(reconciler.state.resources)
    assert total.delete + continued == before


@LAWS
@given(data=st.data())
def test_the_order_of_keys_changes_only_places(
    data: st.DataObject, declare: Declare, keyring: Keyring, new_mint: Any
) -> None:
    """The same meaning in another order and another file is the same plan, byte for byte but for file and line."""
    reconciler = Reconciler(declare, keyring, new_mint())
    reconciler.apply(data.draw(CONFIGURATIONS))
    desired = data.draw(CONFIGURATIONS)
    shuffled = _shuffled(desired, data.draw(st.randoms(use_true_random=False)))
    one = plan.make(declare(desired), reconciler.state)
    other = plan.make(declare(shuffled, file="other.yaml"), reconciler.state)
    assert _without_places(one) == _without_places(other)
    assert plan.to_json(one) == plan.to_json(plan.make(declare(deepcopy(desired)), reconciler.state))


def _shuffled(value: Any, chance: Random) -> Any:
    if not isinstance(value, dict):
        return value
    names = list(value)
    chance.shuffle(names)
    return {name: _shuffled(value[name], chance) for name in names}


def _without_places(made: plan.Plan) -> Any:
    def strip(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: strip(each) for name, each in value.items() if name not in {"file", "line"}}
        return [strip(each) for each in value] if isinstance(value, list) else value

    return strip(json.loads(plan.to_json(made)))


@LAWS
@given(data=st.data())
def test_no_secret_stands_in_any_output(
    data: st.DataObject, *, declare: Declare, keyring: Keyring, new_mint: Any, tmp_path_factory: Any
) -> None:
    """Not in a plan's faces, not in an export, not in a repr; and every face can be drawn."""
    mint = new_mint()
    reconciler = Reconciler(declare, keyring, mint)
    reconciler.apply(data.draw(CONFIGURATIONS))
    made = reconciler.apply(data.draw(CONFIGURATIONS)).plan
    folder = tmp_path_factory.getbasetemp()
    (folder / "ops").write_text("canary-file")
    state = reconciler.state
    outputs = [
        plan.render_text(made, color=True, width=60),
        plan.to_json(made).decode(),
        render_markdown(made),
        export_state(state).decode(),
        repr(state),
        repr(made),
        repr(
            build_snapshot(
                state,
                keyring=keyring,
                environ={"URL": "https://canary-url.example.com", "OPS": "canary-env"},
                generation=1,
                base_dirs={key: str(folder) for key in state.resources},
            )
        ),
    ]
    for secret in (*mint.secrets, "canary-file", "canary-env", "canary-url"):
        assert not any(secret in output for output in outputs)
    assert all(line.isprintable() for line in plan.render_text(made).split("\n"))
    assert plan.from_json(plan.to_json(made)) == made


@LAWS
@given(data=st.data())
def test_an_unrelated_edit_touches_nothing_else(
    data: st.DataObject, declare: Declare, keyring: Keyring, new_mint: Any
) -> None:
    """Adding a bot beside what there is leaves every other row as it was."""
    reconciler = Reconciler(declare, keyring, new_mint())
    desired = data.draw(CONFIGURATIONS)
    reconciler.apply(desired)
    before = reconciler.state.resources
    reconciler.apply(
        {**desired, "newcomer": {"webhooks": {"x": {"type": "conversation.started", "url": "https://x"}}}}
    )
    after = reconciler.state.resources
    assert {key: after[key] for key in before} == before
    assert {key.kind for key in after.keys() - before.keys()} == {Kind.BOT, Kind.WEBHOOK}
