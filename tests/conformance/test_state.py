"""Applying: one transaction with a compare on the serial, verified before it is committed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import PlanStale
from reconciler.model.delivery import DeliveryFilter, DeliveryStatus
from reconciler.model.resource import EMPTY_STATE, Key, Kind, PreviousSecret, Resource, Secret, State
from reconciler.store.port import Commit

if TYPE_CHECKING:
    from reconciler.store.port import Store


async def test_a_new_store_holds_the_empty_state(store: Store) -> None:
    """Before the first apply there is no lineage and the serial is 0."""
    assert await store.read_state() == EMPTY_STATE
    assert await store.read_serial() == (None, 0)
    assert await store.read_note("digest") is None


async def test_resources_come_back_as_they_were_applied(harness: Any, store: Store) -> None:
    """Specs, secrets and what renames have done survive the way to disk and back, also after a crash."""
    spec = {
        "url": "https://x.example/{{a}}",
        "retry": {"attempts": 5, "jitter": 0.1},
        "list": [1, None, True, "\u00e9"],
    }
    full = Resource(
        key=Key(Kind.WEBHOOK, "bot/hook"),
        spec=spec,
        base_dir="/etc/hooks",
        id="h",
        moved_from=("bot/old", "older/hook"),
        secret=Secret(
            fingerprint="aa",
            sealed=b"\x00\x01",
            created_ms=7,
            previous=PreviousSecret(fingerprint="bb", sealed=b"\x02", until_ms=99),
        ),
    )
    exported = Resource(
        key=Key(Kind.WEBHOOK, "bot/other"),
        spec={},
        id="h2",
        secret=Secret(fingerprint="cc", sealed=None, created_ms=1),
    )
    bot = Resource(key=Key(Kind.BOT, "bot"), spec={"id": "bot", "name": "Bot"})
    change = Commit(
        expected_lineage=None,
        expected_serial=0,
        lineage="lineage-1",
        salt=b"salt",
        upserts=(full, exported, bot),
        notes={"digest": "sha256:1"},
    )
    seen: list[State] = []
    assert await store.commit(change, now_ms=1, verify=seen.append) == 1
    expected = State(
        lineage="lineage-1",
        serial=1,
        salt=b"salt",
        resources={resource.key: resource for resource in (bot, full, exported)},
    )
    assert seen == [expected]
    assert await store.read_state() == expected
    again = await harness.reopen()
    assert await again.read_state() == expected
    assert list((await again.read_state()).resources) == list(expected.resources)
    assert await again.read_serial() == ("lineage-1", 1)
    assert await again.read_note("digest") == "sha256:1"


async def test_of_two_appliers_one_wins_and_the_other_is_told(harness: Any, store: Store, given: Any) -> None:
    """A change planned on another serial or lineage is stale and changes nothing."""
    await given.commit(store, given.webhook("bot/a", "a"))
    other = await harness.second()
    stale = Commit(
        expected_lineage="lineage-1",
        expected_serial=1,
        lineage="lineage-1",
        salt=b"salt",
        upserts=(given.webhook("bot/b", "b"),),
    )
    await given.commit(other, given.webhook("bot/c", "c"))
    for change in (
        stale,
        replace(stale, expected_serial=2, expected_lineage="another"),
        replace(stale, expected_serial=3),
    ):
        with pytest.raises(PlanStale):
            await store.commit(change, now_ms=1, verify=lambda _: None)
    state = await store.read_state()
    assert [key.address for key in state.resources] == ["bot/a", "bot/c"]
    assert state.serial == 2


async def test_nothing_is_applied_when_verifying_fails(store: Store, given: Any) -> None:
    """Whatever `verify` raises is raised on, and everything is as before: state, hooks, deliveries, syncs, notes."""
    await given.commit(store, given.webhook("bot/a", "a"), given.data_source("bot/docs"))
    await store.accept([given.event("e", "a")], serial=1)
    await store.request_sync(given.sync("s"), serial=1)
    before = await store.read_state()

    class Doubt(Exception):
        """A verifier's own error."""

    def verify(_: State) -> None:
        raise Doubt

    change = Commit(
        expected_lineage="lineage-1",
        expected_serial=1,
        lineage="lineage-1",
        salt=b"salt",
        upserts=(given.webhook("bot/new", "new"),),
        deletes=(Key(Kind.WEBHOOK, "bot/a"), Key(Kind.DATA_SOURCE, "bot/docs")),
        cancel_hooks=frozenset({"a"}),
        notes={"digest": "x"},
    )
    with pytest.raises(Doubt):
        await store.commit(change, now_ms=1, verify=verify)
    assert await store.read_state() == before
    assert await store.read_note("digest") is None
    assert (await store.stats()).by_status[DeliveryStatus.PENDING] == 1
    assert len(await given.claim(store, "a")) == 1
    assert len(await store.claim_syncs(limit=1, owner="w", now_ms=1, lease_ms=1)) == 1
    assert len(await store.accept([given.event("f", "a")], serial=1)) == 1


async def test_renames_keep_everything_but_the_key(store: Store, given: Any) -> None:
    """A swap, a chain and a move between bots are carried out at once; ids, specs and secrets stay."""
    for address in ("bot/a", "bot/b", "bot/c", "bot/gone"):
        await given.commit(store, given.webhook(address, f"id of {address}", was=address))

    def key(address: str) -> Key:
        return Key(Kind.WEBHOOK, address)

    renames = {
        key("bot/a"): key("bot/b"),
        key("bot/b"): key("bot/a"),
        key("bot/c"): key("bot/gone"),
        key("bot/never"): key("bot/nowhere"),
    }
    await given.commit(store, renames=renames, deletes=(key("bot/gone"),))
    state = await store.read_state()
    assert {k.address: (r.id, r.spec["was"]) for k, r in state.resources.items()} == {
        "bot/a": ("id of bot/b", "bot/b"),
        "bot/b": ("id of bot/a", "bot/a"),
        "bot/gone": ("id of bot/c", "bot/c"),
    }
    assert all(resource.key == k for k, resource in state.resources.items())


async def test_a_rename_overwrites_nothing(store: Store, given: Any) -> None:
    """A target that stays is a mistake of the planner's, and nothing happens."""
    await given.commit(store, given.webhook("bot/a", "a"), given.webhook("bot/b", "b"))
    with pytest.raises(ValueError, match="bot/b would be overwritten"):
        await given.commit(store, renames={Key(Kind.WEBHOOK, "bot/a"): Key(Kind.WEBHOOK, "bot/b")})
    assert (await store.read_serial())[1] == 1


async def test_deleting_a_hook_cancels_what_waits_and_keeps_the_log(store: Store, given: Any) -> None:
    """Waiting deliveries end as cancelled; the log shows the address at deletion; other hooks go on."""
    await given.commit(store, given.webhook("bot/a", "a"), given.webhook("bot/b", "b"))
    await store.accept([given.event("e", "a", "b")], serial=1)
    await given.commit(store, renames={Key(Kind.WEBHOOK, "bot/a"): Key(Kind.WEBHOOK, "bot/z")})
    await given.commit(store, deletes=(Key(Kind.WEBHOOK, "bot/z"),), cancel_hooks=frozenset({"a"}), at=777)
    found = await store.delivery("e/a")
    assert found is not None
    assert (found[0].status, found[0].hook, found[0].finished_ms) == (DeliveryStatus.CANCELLED, "bot/z", 777)
    other = await store.delivery("e/b")
    assert other is not None
    assert (other[0].status, other[0].hook) == (DeliveryStatus.PENDING, "bot/b")
    assert "a" not in await store.observed(now_ms=1_000)


async def test_a_replaced_hook_is_another_one(store: Store, given: Any) -> None:
    """Under the same address a new id starts afresh and the old id's history stays with the old."""
    await given.commit(store, given.webhook("bot/a", "old"))
    await store.accept([given.event("e", "old")], serial=1)
    await given.run(store, "old", DeliveryStatus.EXHAUSTED, gone=True)
    await given.commit(store, given.webhook("bot/a", "new"), cancel_hooks=frozenset({"old"}))
    assert await store.gone() == {}
    assert set(await store.observed(now_ms=1)) <= {"new"}
    assert await store.redeliver(DeliveryFilter(), now_ms=3_000, limit=5) == []


async def test_an_apply_clears_the_gone_marks_it_is_told_of(store: Store, given: Any) -> None:
    """A changed URL clears its own hook's mark and no other."""
    await given.commit(store, given.webhook("bot/a", "a"), given.webhook("bot/b", "b"))
    await store.accept([given.event("e", "a", "b")], serial=1)
    for hook in ("a", "b"):
        await given.run(store, hook, DeliveryStatus.EXHAUSTED, gone=True)
    await given.commit(store, given.webhook("bot/a", "a", url="new"), clear_gone=frozenset({"a"}))
    assert set(await store.gone()) == {"b"}
    assert (await store.accept([given.event("f", "a", "b")], serial=2))[0].deliveries == 1


async def test_what_another_process_applies_is_seen_at_once(harness: Any, store: Store, given: Any) -> None:
    """The daemon's store decides on the state as it is, whoever changed it."""
    await given.commit(store, given.webhook("bot/a", "a"))
    await store.accept([given.event("e", "a")], serial=1)
    other = await harness.second()
    await given.commit(other, deletes=(Key(Kind.WEBHOOK, "bot/a"),), cancel_hooks=frozenset({"a"}))
    assert await store.read_serial() == ("lineage-1", 2)
    assert await given.claim(store, "a") == []
    assert [a.deliveries for a in await store.accept([given.event("f", "b")], serial=2)] == [1]


async def test_notes_are_written_without_touching_the_serial(harness: Any, store: Store) -> None:
    """A note is set, set again, and found after a crash."""
    await store.write_note("digest", "one")
    await store.write_note("digest", "two")
    assert await store.read_serial() == (None, 0)
    assert await (await harness.reopen()).read_note("digest") == "two"
