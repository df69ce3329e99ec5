"""`control.reconcile`: applying, wholly or not at all."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.control.reconcile import Allowance, apply
from reconciler.control.reveal import secret_of
from reconciler.errors import GuardRefused, PlanStale, ReconcilerError, StateUnreadable
from reconciler.model.delivery import DeliveryFilter, NewDelivery, NewEvent
from reconciler.store.memory import MemoryStore
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.resource import State
    from reconciler.store.port import Commit

CRM = {"type": "conversation.started", "url": "https://crm.example.com", "enabled": True}
TRIGGER = {"type": "sync.trigger", "data_source": "docs", "enabled": True}
DOCS = {"docs": {"sync": {"command": ["sync"]}}}


def bots(**hooks: Any) -> dict[str, Any]:
    """A bot with a data source and these hooks."""
    return {"b": {"data_sources": DOCS, "webhooks": hooks}}


def test_the_first_apply_makes_a_lineage(bench: Any) -> None:
    """With a salt, serial 1, ids and sealed secrets; the next plan is empty."""
    applied = bench.apply(bots(crm=CRM, published=TRIGGER))
    state = bench.state
    assert applied.serial == state.serial == 1
    assert state.lineage
    assert state.salt
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", bench.hook("b/crm").id)
    assert bench.plan(bots(crm=CRM, published=TRIGGER)).is_empty


def test_secrets_have_the_form_of_their_direction(bench: Any) -> None:
    """128 bits in hexadecimal for a trigger's URL, 32 bytes under `whsec_` for signing; both sealed."""
    bench.apply(bots(crm=CRM, published=TRIGGER))
    trigger = secret_of(bench.state, "b/published", keyring=bench.keyring)
    signing = secret_of(bench.state, "b/crm", keyring=bench.keyring)
    assert re.fullmatch(r"[0-9a-f]{32}", trigger)
    assert signing.startswith("whsec_")
    assert len(base64.b64decode(signing.removeprefix("whsec_"))) == 32
    assert trigger not in repr(bench.state)
    assert signing.encode() not in bench.hook("b/crm").secret.sealed


def test_no_secret_is_made_beside_ones_that_its_key_does_not_open(bench: Any) -> None:
    """With the wrong key nothing that mints is applied; what needs no key is."""
    bench.apply(bots(crm=CRM, published=TRIGGER))
    before = bench.state
    bench.keyring = Keyring([b"w" * 32], mint=bench.mint)
    for hooks in (
        {"crm": CRM, "published": TRIGGER, "more": CRM},
        {"crm": {**CRM, "secret_version": 2}, "published": TRIGGER},
        {"erp": {**CRM, "secret_version": 2, "moved_from": "crm"}, "published": TRIGGER},
    ):
        with pytest.raises(StateUnreadable, match="a key that is not here"):
            bench.apply(bots(**hooks))
    assert bench.state == before
    assert bench.apply(bots(crm={**CRM, "enabled": False}, published=TRIGGER)).serial == before.serial + 1


def test_every_secret_can_be_turned_over_once_a_key_is_lost(bench: Any) -> None:
    """All at once, and without an overlap: an old secret that nothing opens cannot stay good."""
    bench.apply(bots(crm=CRM, published=TRIGGER))
    bench.keyring = Keyring([b"n" * 32], mint=bench.mint)
    overlap = {"secret_version": 2, "rotation": {"overlap": "1h"}}
    with pytest.raises(StateUnreadable, match="a key that is not here"):
        bench.apply(bots(crm={**CRM, **overlap}, published={**TRIGGER, "secret_version": 2}))
    bench.apply(bots(crm={**CRM, "secret_version": 2}, published={**TRIGGER, "secret_version": 2}))
    assert secret_of(bench.state, "b/crm", keyring=bench.keyring).startswith("whsec_")
    assert re.fullmatch(r"[0-9a-f]{32}", secret_of(bench.state, "b/published", keyring=bench.keyring))


def test_applying_again_writes_nothing(bench: Any) -> None:
    """Not the serial, not a row; only a note that says something new."""
    bench.apply(bots(crm=CRM))
    before = bench.state
    again = bench.apply(bots(crm=CRM), notes={"digest": "1"})
    assert again.serial == before.serial
    assert bench.state is before
    assert asyncio.run(bench.store.read_note("digest")) == "1"


def test_an_empty_configuration_on_an_empty_store_makes_nothing(bench: Any) -> None:
    """No lineage is made for it."""
    assert bench.apply({}).serial == 0
    assert bench.state.lineage is None


def test_notes_are_written_with_the_commit(bench: Any) -> None:
    """As one with the change they tell of."""
    bench.apply(bots(crm=CRM), notes={"digest": "1"})
    assert asyncio.run(bench.store.read_note("digest")) == "1"


def test_an_edit_keeps_id_and_secret(bench: Any) -> None:
    """Of the edited hook and of all others."""
    bench.apply(bots(crm=CRM, published=TRIGGER))
    before = {address: bench.hook(address) for address in ("b/crm", "b/published")}
    bench.apply(bots(crm=CRM | {"url": "https://new.example.com"}, published=TRIGGER))
    assert bench.state.serial == 2
    assert bench.hook("b/published") == before["b/published"]
    assert (bench.hook("b/crm").id, bench.hook("b/crm").secret) == (before["b/crm"].id, before["b/crm"].secret)
    assert bench.hook("b/crm").spec["url"] == "https://new.example.com"


def test_a_rename_keeps_id_and_secret(bench: Any) -> None:
    """Between handles, between bots, and with its whole bot."""
    bench.apply(bots(crm=CRM) | {"c": {}})
    before = bench.hook("b/crm")
    for step, address in (
        (bots(sales=CRM | {"moved_from": "crm"}) | {"c": {}}, "b/sales"),
        (bots() | {"c": {"webhooks": {"sales": CRM | {"moved_from": "b/sales"}}}}, "c/sales"),
        (bots() | {"d": {"moved_from": "c", "id": "c", "webhooks": {"sales": CRM}}}, "d/sales"),
    ):
        bench.apply(step)
        after = bench.hook(address)
        assert (after.id, after.secret, after.spec) == (before.id, before.secret, before.spec)
        assert bench.plan(step).is_empty


def test_swapped_names_swap_ids_once(bench: Any) -> None:
    """The lines left in the files swap nothing back, on a state that came through a store."""
    bench.apply(bots(x=CRM, y=CRM))
    x, y = bench.hook("b/x").id, bench.hook("b/y").id
    swapped = bots(x=CRM | {"moved_from": "y"}, y=CRM | {"moved_from": "x"})
    bench.apply(swapped)
    assert (bench.hook("b/x").id, bench.hook("b/y").id) == (y, x)
    assert bench.plan(swapped).is_empty
    bench.apply(bots(x=CRM | {"moved_from": "y", "timeout": "5s"}, y=CRM | {"moved_from": "x"}))
    assert (bench.hook("b/x").id, bench.hook("b/y").id) == (y, x)


def test_a_replacement_has_a_new_id_and_secret(bench: Any) -> None:
    """And what waited for the old one is cancelled."""
    bench.apply(bots(crm=CRM))
    before = bench.hook("b/crm")
    deliver(bench, before.id)
    replaced = bots(crm=CRM | {"type": "conversation.claimed"})
    bench.apply(replaced, allow=Allowance(addresses=frozenset({"b/crm"})))
    after = bench.hook("b/crm")
    assert after.id != before.id
    assert after.secret.fingerprint != before.secret.fingerprint
    assert statuses(bench) == ["cancelled"]


def test_a_deletion_cancels_what_waits(bench: Any) -> None:
    """A hook that returns later is a new one."""
    bench.apply(bots(crm=CRM))
    before = bench.hook("b/crm")
    deliver(bench, before.id)
    bench.apply(bots(), allow=Allowance(addresses=frozenset({"b/crm"})))
    assert statuses(bench) == ["cancelled"]
    bench.apply(bots(crm=CRM))
    assert bench.hook("b/crm").id != before.id


def test_a_raised_secret_version_rotates_with_its_overlap(bench: Any) -> None:
    """The old secret stays good until the overlap ends; without one it ends at once; the oldest is dropped."""
    overlapping = CRM | {"rotation": {"overlap": "1h"}}
    bench.apply(bots(crm=overlapping))
    first = bench.hook("b/crm").secret
    bench.apply(bots(crm=overlapping | {"secret_version": 2}))
    second = bench.hook("b/crm").secret
    assert second.fingerprint != first.fingerprint
    assert (second.previous.sealed, second.previous.until_ms) == (first.sealed, bench.now_ms + 3_600_000)
    bench.apply(bots(crm=overlapping | {"secret_version": 3}))
    third = bench.hook("b/crm").secret
    assert third.previous.fingerprint == second.fingerprint
    bench.apply(bots(crm=CRM | {"secret_version": 4}))
    assert bench.hook("b/crm").secret.previous is None


def test_a_secret_moves_between_generated_and_referenced(bench: Any) -> None:
    """A referenced one is not kept; going back generates a new one; the id stays."""
    bench.apply(bots(crm=CRM))
    before = bench.hook("b/crm")
    bench.apply(bots(crm=CRM | {"secret": {"env": "CRM"}}))
    assert (bench.hook("b/crm").secret, bench.hook("b/crm").id) == (None, before.id)
    bench.apply(bots(crm=CRM))
    assert bench.hook("b/crm").secret.fingerprint != before.secret.fingerprint


@pytest.mark.parametrize(
    ("edit", "cleared"),
    [({"url": "https://new.example.com"}, True), ({"enabled": False}, True), ({"timeout": "5s"}, False)],
)
def test_a_gone_mark_is_cleared_by_what_mends_it(*, edit: dict[str, Any], cleared: bool, bench: Any) -> None:
    """A changed URL, or switching the hook; no other edit."""
    commits: list[Commit] = []

    class Watched(MemoryStore):
        async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
            commits.append(change)
            return await super().commit(change, now_ms=now_ms, verify=verify)

    bench.store = Watched()
    bench.apply(bots(crm=CRM))
    bench.apply(bots(crm=CRM | edit))
    assert commits[-1].clear_gone == ({bench.hook("b/crm").id} if cleared else set())


def test_a_guard_refuses_and_names_the_flag(bench: Any) -> None:
    """Nothing is changed; the flag that is named lets it through."""
    bench.apply(bots(crm=CRM | {"protected": True}))
    before = bench.state
    with pytest.raises(GuardRefused, match=r"b/crm.*protected.*--allow-delete b/crm"):
        bench.apply(bots())
    assert bench.state is before
    bench.apply(bots(), allow=Allowance(addresses=frozenset({"b/crm"})))
    assert bench.state.serial == 2


def test_a_refusal_names_what_was_allowed_in_vain(bench: Any) -> None:
    """A mistyped address is told where it matters, with the one that was probably meant."""
    bench.apply(bots(crm=CRM | {"protected": True}))
    with pytest.raises(GuardRefused) as refused:
        bench.apply(bots(), allow=Allowance(addresses=frozenset({"b/cmr"})))
    assert refused.value.message.endswith(
        "  b/crm: it is protected and would be deleted [protected]; to allow it: --allow-delete b/crm\n"
        "  --allow-delete b/cmr allows nothing: this plan deletes or replaces no webhook of that address;"
        " did you mean b/crm?"
    )


def test_the_reviewed_plan_is_applied_or_nothing(bench: Any) -> None:
    """A plan that no longer holds is refused, saying why."""
    reviewed = bench.plan(bots(crm=CRM))
    bench.apply(bots(crm=CRM), reviewed=reviewed)
    with pytest.raises(PlanStale, match="state"):
        bench.apply(bots(crm=CRM), reviewed=reviewed)
    reviewed = bench.plan(bots(crm=CRM | {"timeout": "5s"}))
    with pytest.raises(PlanStale, match="the files changed"):
        bench.apply(bots(crm=CRM | {"timeout": "6s"}), reviewed=reviewed)
    assert bench.state.serial == 1


def test_of_two_appliers_one_is_told_that_its_plan_is_stale(bench: Any) -> None:
    """The one whose state was overtaken between its reading and its commit."""

    class Overtaken(MemoryStore):
        overtake: Any = None

        async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
            overtake, self.overtake = self.overtake, None
            if overtake is not None:
                await overtake()
            return await super().commit(change, now_ms=now_ms, verify=verify)

    bench.store = Overtaken()
    bench.apply(bots(crm=CRM))

    async def other() -> None:
        desired = bench.declare(bots(crm=CRM | {"timeout": "5s"}))
        await apply(bench.store, desired, keyring=bench.keyring, mint=bench.mint, now_ms=0)

    bench.store.overtake = other
    with pytest.raises(PlanStale):
        bench.apply(bots(crm=CRM | {"timeout": "6s"}))
    assert bench.hook("b/crm").spec["timeout"] == "5s"
    assert bench.state.serial == 2


def test_a_store_that_does_not_give_back_what_was_written_is_found_out(bench: Any) -> None:
    """Planning again inside the transaction comes out empty, or nothing is applied."""

    class Forgetful(MemoryStore):
        async def commit(self, change: Commit, *, now_ms: int, verify: Callable[[State], None]) -> int:
            return await super().commit(replace(change, upserts=change.upserts[:-1]), now_ms=now_ms, verify=verify)

    bench.store = Forgetful()
    with pytest.raises(ReconcilerError, match="would not settle"):
        bench.apply(bots(crm=CRM))
    assert bench.state.lineage is None


def test_a_moved_folder_is_taken_over_with_the_next_change(bench: Any) -> None:
    """So that relative references of unchanged hooks are looked up where the files are now."""
    bench.apply(bots(crm=CRM, published=TRIGGER))
    declare = bench.declare
    bench.declare = lambda bots: declare(bots, base_dir="/elsewhere")
    assert bench.apply(bots(crm=CRM, published=TRIGGER)).serial == 1
    bench.apply(bots(crm=CRM | {"timeout": "5s"}, published=TRIGGER))
    assert {resource.base_dir for resource in bench.state.resources.values()} == {"/elsewhere"}


def deliver(bench: Any, hook_id: str) -> None:
    """Leave one delivery waiting for a hook."""
    event = NewEvent(
        id="e",
        type="conversation.started",
        payload=b"{}",
        received_ms=0,
        deliveries=(NewDelivery("d", hook_id),),
    )
    asyncio.run(bench.store.accept([event], serial=bench.state.serial))


def statuses(bench: Any) -> list[str]:
    """The states of all deliveries."""
    page = asyncio.run(bench.store.deliveries(DeliveryFilter(), cursor=None, limit=10))
    return [delivery.status.value for delivery in page.items]


def test_two_names_can_be_swapped_back_once_the_first_swap_is_no_longer_written_down(bench: Any) -> None:
    """What is dealt with is known by the next apply that writes anything, and forgotten along with its line."""
    one = {"type": "conversation.started", "url": "https://a.example.com"}
    two = one | {"url": "https://b.example.com"}
    bench.apply({"b": {"webhooks": {"x": one, "y": two}}})
    first = bench.hook("b/x").id
    swapped = {"x": two | {"moved_from": "y"}, "y": one | {"moved_from": "x"}}
    bench.apply({"b": {"webhooks": swapped}})
    assert bench.hook("b/y").id == first
    bench.apply({"b": {"name": "B", "webhooks": {"x": two, "y": one}}})
    assert bench.hook("b/y").moved_from == ()

    bench.apply({"b": {"name": "B", "webhooks": {"x": one | {"moved_from": "y"}, "y": two | {"moved_from": "x"}}}})

    assert bench.hook("b/x").id == first
