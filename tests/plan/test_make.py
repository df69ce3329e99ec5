"""`plan.make`: what counts as which change."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import config, plan
from reconciler.model.resource import EMPTY_STATE, Desired, Key, Kind, State
from reconciler.plan.plan import Observation, Summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.plan.plan import Change, Plan

    Declare = Callable[..., Desired]
    Apply = Callable[..., State]

BOTS: dict[str, Any] = {
    "support": {
        "name": "Support",
        "data_sources": {"docs": {"sync": {"http": {"url": "https://cms.example.com/sync"}}}},
        "webhooks": {
            "published": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
            "crm": {"type": "conversation.started", "url": "https://crm.example.com/a", "enabled": True},
            "ops": {"type": "sync.failure", "url": "https://ops.example.com/a", "secret": {"env": "OPS"}},
        },
    }
}


def edited(path: str, value: Any) -> dict[str, Any]:
    """The bots with one thing set (or taken away, with None), by a path like `webhooks.crm.url`."""
    bots = deepcopy(BOTS)
    *parents, last = path.split(".")
    at = bots["support"]
    for parent in parents:
        at = at.setdefault(parent, {})
    at[last] = value
    if value is None:
        del at[last]
    return bots


def changed(path: str, value: Any, declare: Declare, applied: Apply) -> Change:
    """The one change that an edit makes."""
    made = plan.make(declare(edited(path, value)), applied(declare(BOTS)))
    (change,) = made.changes
    return change


def told(change: Change) -> list[tuple[str, Any, Any]]:
    """A change's fields without their places."""
    return [(field.path, field.before, field.after) for field in change.fields]


def codes(change: Change) -> list[str]:
    """A change's warning codes."""
    return [warning.code for warning in change.warnings]


def test_everything_is_added_to_an_empty_state(declare: Declare) -> None:
    """Without a state there is no lineage, and every field that is not the default is listed, from nothing."""
    made = plan.make(declare(BOTS), EMPTY_STATE, commit="3f2a91c")
    assert made.base == plan.plan.Base(lineage=None, serial=0)
    assert made.commit == "3f2a91c"
    assert made.summary == Summary(create=5)
    assert [(change.kind.value, change.address) for change in made.changes] == [
        ("bot", "support"),
        ("data_source", "support/docs"),
        ("webhook", "support/crm"),
        ("webhook", "support/ops"),
        ("webhook", "support/published"),
    ]
    assert told(made.changes[0]) == [("name", None, "Support")]
    assert told(made.changes[1]) == [("sync.http.url", None, "https://cms.example.com/sync")]
    assert told(made.changes[3]) == [
        ("url", None, "https://ops.example.com/a"),
        ("secret", None, {"env": "OPS"}),
    ]
    assert codes(made.changes[2]) == ["traffic-starts"]
    assert codes(made.changes[3]) == []


def test_nothing_is_planned_for_what_is_applied(declare: Declare, applied: Apply) -> None:
    """The second plan is empty and counts what matches."""
    desired = declare(BOTS)
    made = plan.make(desired, applied(desired))
    assert made.is_empty
    assert made.summary == Summary(unchanged=5)


def test_a_state_written_before_a_key_existed_plans_nothing(declare: Declare, applied: Apply) -> None:
    """Specs in state are read with the defaults of this version."""
    desired = declare(BOTS)
    state = applied(desired)
    key = Key(Kind.WEBHOOK, "support/crm")
    spec = {name: value for name, value in state.resources[key].spec.items() if name not in {"signing", "protected"}}
    resources = {**state.resources, key: replace(state.resources[key], spec=spec)}
    assert plan.make(desired, replace(state, resources=resources)).is_empty


def test_an_edited_url_is_one_change_of_one_field(declare: Declare, applied: Apply) -> None:
    """With before, after and the line that says so."""
    change = changed("webhooks.crm.url", "https://crm.example.com/b", declare, applied)
    assert (change.action, change.address, change.type) == ("update", "support/crm", "conversation.started")
    assert told(change) == [("url", "https://crm.example.com/a", "https://crm.example.com/b")]
    assert (change.file, change.line) == ("hooks.yaml", 41)
    assert codes(change) == ["url-changes"]


@pytest.mark.parametrize(
    ("path", "value", "fields", "warned"),
    [
        ("name", "Help", [("name", "Support", "Help")], []),
        ("id", "p-1", [("id", "support", "p-1")], ["bot-id-changes"]),
        ("data_sources.docs.id", "d-1", [("id", "docs", "d-1")], []),
        ("data_sources.docs.name", "Docs", [("name", "docs", "Docs")], []),
        (
            "data_sources.docs.sync",
            {"http": {"url": "https://cms.example.com/b"}},
            [("sync.http.url", "https://cms.example.com/sync", "https://cms.example.com/b")],
            ["sync-changes"],
        ),
        ("webhooks.crm.retry", {"attempts": 8}, [("retry.attempts", 5, 8)], []),
        ("webhooks.crm.enabled", False, [("enabled", True, False)], ["traffic-stops"]),
        ("webhooks.ops.enabled", True, [("enabled", False, True)], ["traffic-starts"]),
        (
            "webhooks.ops.url",
            "https://x.example.com",
            [("url", "https://ops.example.com/a", "https://x.example.com")],
            [],
        ),
        (
            "webhooks.ops.secret",
            {"file": "f"},
            [("secret", {"env": "OPS"}, {"file": "f"})],
            ["secret-source-changes"],
        ),
        ("webhooks.ops.data_source", "docs", [("data_source", None, "docs")], []),
        (
            "webhooks.crm.signing",
            {"secret_header": False},
            [("signing.secret_header", True, False)],
            ["signing-stops"],
        ),
        (
            "webhooks.crm.custom_payload",
            {"headers": {"X-Bot": "b"}},
            [("custom_payload.enabled", False, True), ("custom_payload.headers.X-Bot", None, "b")],
            [],
        ),
    ],
)
def test_an_edit_is_an_update(
    *, path: str, value: Any, fields: list[Any], warned: list[str], declare: Declare, applied: Apply
) -> None:
    """Nested fields have dotted paths; a warning says what somebody outside will notice."""
    change = changed(path, value, declare, applied)
    assert change.action == "update"
    assert told(change) == fields
    assert codes(change) == warned


def test_a_renamed_bot_without_an_id_of_its_own_is_told_what_keeps_it(declare: Declare, applied: Apply) -> None:
    """Its id was its handle, so that the platform's events no longer find it."""
    state = applied(declare({"old": {"webhooks": {}}}))
    (change,) = plan.make(declare({"new": {"moved_from": "old"}}), state).changes
    assert (change.action, codes(change)) == ("rename", ["bot-id-changes"])
    assert change.warnings[0].message == (
        "conversations of the platform's bot `old` no longer match it, those of `new` do; `id: old` keeps them"
    )
    kept = plan.make(declare({"new": {"moved_from": "old", "id": "old"}}), state)
    assert [codes(change) for change in kept.changes] == [[]]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"id": "ds-1"}, {"id": "ds-2"}, "ds-2"),
        ({"id": "ds-1"}, {}, "docs"),
        ({}, {"id": "ds-1"}, None),
        ({"id": "Manual", "name": "Manual"}, {"id": "ds-1", "name": "Manual"}, None),
        ({"id": "Manual", "name": "Manual"}, {"id": "ds-1", "name": "Handbook"}, "ds-1"),
    ],
)
def test_a_data_source_that_events_no_longer_find_by_its_id_is_said(
    *, before: Any, after: Any, said: str | None, declare: Declare, applied: Apply
) -> None:
    """Sync events find it by id, handle or name: an old id that is its handle or its name still does."""
    old, new = ({"s": {"data_sources": {"docs": source}}} for source in (before, after))
    (change,) = plan.make(declare(new), applied(declare(old))).changes
    assert codes(change) == (["data-source-id-changes"] if said else [])
    if said:
        assert change.warnings[0].message == (
            f"sync events of the platform's data source `{before['id']}` no longer match it, those of `{said}` do"
        )


def test_a_data_source_whose_id_changes_is_no_calm_edit(declare: Declare, applied: Apply) -> None:
    """It stands before the edits that nobody outside notices, as a bot whose id changes does."""
    state = applied(declare({"s": {"name": "S", "data_sources": {"docs": {"id": "ds-1"}}}}))
    made = plan.make(declare({"s": {"name": "T", "data_sources": {"docs": {"id": "ds-2"}}}}), state)
    assert [change.address for change in made.changes] == ["s/docs", "s"]


TWO_SOURCES = {name: {"sync": {"command": [f"sync-{name}"]}} for name in ("docs", "faq")}


@pytest.mark.parametrize(
    ("hook", "source", "said"),
    [
        ({"type": "sync.trigger"}, "faq", "calls of its trigger URL start syncs of faq, and no longer of docs"),
        ({"type": "sync.failure"}, "faq", "it gets sync.failure of faq, and no longer of docs"),
        ({"type": "sync.failure"}, None, "it gets sync.failure of every data source, and no longer of docs alone"),
    ],
)
def test_another_data_source_is_said(
    *, hook: dict[str, str], source: str | None, said: str, declare: Declare, applied: Apply
) -> None:
    """An enabled webhook that from now on goes by other syncs is no calm edit; a disabled one is."""
    if hook["type"] != "sync.trigger":
        hook = hook | {"url": "https://ops.example.com"}
    for enabled, messages in ((True, [said]), (False, [])):
        before, after = (
            {"s": {"data_sources": TWO_SOURCES, "webhooks": {"h": hook | {"enabled": enabled, "data_source": each}}}}
            for each in ("docs", source)
        )
        (change,) = plan.make(declare(after), applied(declare(before))).changes
        assert [warning.message for warning in change.warnings] == messages


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ({"command": ["a"]}, {"command": ["b"]}, "its syncs run another command from now on"),
        ({"command": ["a"]}, {"http": {"url": "https://x.example.com"}}, "its syncs are requested from a server"),
        ({"http": {"url": "https://x.example.com"}}, {"command": ["a"]}, "its syncs run another command"),
        (
            {"http": {"url": "https://x.example.com"}},
            {"http": {"url": "https://y.example.com"}},
            "its syncs are requested from another server",
        ),
        (
            {"http": {"url": "https://x.example.com/a"}},
            {"http": {"url": "https://x.example.com/b"}},
            "its syncs are requested from another URL of the same server",
        ),
        ({"command": ["a"]}, None, "it can no longer be synced"),
        ({"command": ["a"], "timeout": "1m"}, {"command": ["a"], "timeout": "2m"}, None),
        (None, {"command": ["a"]}, None),
    ],
)
def test_a_sync_that_goes_elsewhere_is_said(
    *, before: Any, after: Any, said: str | None, declare: Declare, applied: Apply
) -> None:
    """What a sync calls is no calm edit; how long it may take is."""
    old, new = ({"s": {"data_sources": {"d": {"sync": sync} if sync else {}}}} for sync in (before, after))
    (change,) = plan.make(declare(new), applied(declare(old))).changes
    assert len(change.warnings) == (1 if said else 0)
    assert all(warning.message.startswith(said or "") for warning in change.warnings)


def test_what_a_receiver_can_no_longer_verify_by_is_said(declare: Declare, applied: Apply) -> None:
    """One means to verify or both; getting one more breaks nobody."""
    url = {"type": "conversation.started", "url": "https://a.example.com"}

    def messages(before: dict[str, bool], after: dict[str, bool]) -> list[str]:
        old, new = (declare({"b": {"webhooks": {"x": url | {"signing": signing}}}}) for signing in (before, after))
        (change,) = plan.make(new, applied(old)).changes
        return [warning.message for warning in change.warnings]

    neither = {"secret_header": False, "standard_webhooks": False}
    ends = "no longer sent; receivers that verify by that need to know before"
    assert messages({}, neither) == [f"`X-Secret-Key` and the Standard Webhooks headers are {ends}"]
    assert messages({}, {"secret_header": False}) == [f"`X-Secret-Key` is {ends}"]
    assert messages(neither, {}) == []


def test_a_changed_type_is_a_replacement(declare: Declare, applied: Apply) -> None:
    """New id, new secret: the old fingerprint stands against words, and the old hook's end is said."""
    change = changed("webhooks.crm.type", "conversation.claimed", declare, applied)
    assert (change.action, change.type) == ("replace", "conversation.claimed")
    assert told(change) == [
        ("secret", "fp 00000002", "generated at apply"),
        ("type", "conversation.started", "conversation.claimed"),
    ]
    assert codes(change) == ["deliveries-stop", "new-identity", "traffic-starts"]


def test_a_raised_secret_version_rotates(declare: Declare, applied: Apply) -> None:
    """The secret's fingerprint stands against words; lowering it rotates nothing and says so."""
    change = changed("webhooks.crm.secret_version", 2, declare, applied)
    assert change.action == "rotate"
    assert told(change) == [("secret", "fp 00000002", "generated at apply"), ("secret_version", 1, 2)]
    assert codes(change) == ["secret-rotates"]

    raised = declare(edited("webhooks.crm.secret_version", 2))
    (lowered,) = plan.make(declare(BOTS), applied(raised)).changes
    assert (lowered.action, told(lowered), codes(lowered)) == (
        "update",
        [("secret_version", 2, 1)],
        ["secret-version-lowered"],
    )


def test_a_secret_that_changes_its_source_rotates(declare: Declare, applied: Apply) -> None:
    """From generated to referenced and back: a fingerprint on one side, the reference or words on the other."""
    there = changed("webhooks.crm.secret", {"env": "CRM"}, declare, applied)
    assert (there.action, told(there)) == ("rotate", [("secret", "fp 00000002", {"env": "CRM"})])
    back = changed("webhooks.ops.secret", None, declare, applied)
    assert (back.action, told(back)) == ("rotate", [("secret", {"env": "OPS"}, "generated at apply")])


def test_a_rename_shows_both_addresses(declare: Declare, applied: Apply) -> None:
    """With the place of the `moved_from`, and every other edit beside it."""
    bots = edited("webhooks.crm", None)
    bots["support"]["webhooks"]["sales"] = {
        **BOTS["support"]["webhooks"]["crm"],
        "moved_from": "crm",
        "timeout": "5s",
        "secret_version": 2,
    }
    (change,) = plan.make(declare(bots), applied(declare(BOTS))).changes
    assert (change.action, change.address) == ("rename", "support/sales")
    assert told(change) == [
        ("address", "support/crm", "support/sales"),
        ("secret", "fp 00000002", "generated at apply"),
        ("secret_version", 1, 2),
        ("timeout", "10s", "5s"),
    ]
    assert codes(change) == ["secret-rotates"]


def test_a_renamed_bot_renames_all_that_hangs_on_it(declare: Declare, applied: Apply) -> None:
    """Bot, data source and hooks are one rename each, all caused by the bot's line."""
    bots = {"help": {**BOTS["support"], "id": "support", "moved_from": "support"}}
    made = plan.make(declare(bots), applied(declare(BOTS)))
    assert made.summary == Summary(rename=5)
    assert {change.line for change in made.changes} == {11}


def test_replacing_is_graver_than_renaming(declare: Declare, applied: Apply) -> None:
    """A renamed hook of another type is a new hook."""
    bots = edited("webhooks.crm", None)
    bots["support"]["webhooks"]["sales"] = {
        **BOTS["support"]["webhooks"]["crm"],
        "type": "conversation.claimed",
        "moved_from": "crm",
    }
    (change,) = plan.make(declare(bots), applied(declare(BOTS))).changes
    assert change.action == "replace"
    assert [field.path for field in change.fields] == ["address", "secret", "type"]


def test_a_deleted_hook_shows_what_is_lost_and_where_it_stood(declare: Declare, applied: Apply) -> None:
    """What it said goes to nothing; the place is its bot's block, or none if the bot went as well."""
    change = changed("webhooks.crm", None, declare, applied)
    assert (change.action, change.type) == ("delete", "conversation.started")
    assert told(change) == [
        ("secret", "fp 00000002", None),
        ("url", "https://crm.example.com/a", None),
        ("enabled", True, None),
    ]
    assert (change.file, change.line) == ("hooks.yaml", 11)
    assert codes(change) == ["deliveries-stop"]

    everything = plan.make(declare({}), applied(declare(BOTS)))
    assert everything.summary == Summary(delete=5)
    assert {change.file for change in everything.changes} == {None}


def test_a_deleted_bot_is_missing_from_the_bots_of_the_one_file(declare: Declare, applied: Apply) -> None:
    """With all that hung on it. Where there are several files nobody can say which, and none is blamed."""
    texts = {"hooks.yaml": b"version: 1\nx-note: 1\nbots:\n  kept: {}\n"}
    state = applied(
        declare(
            {
                "kept": {},
                "gone": {"webhooks": {"h": {"type": "conversation.started", "url": "https://a.example.com"}}},
            }
        )
    )
    places = [(change.file, change.line) for change in plan.make(config.load_texts(texts, "/"), state).changes]
    assert places == [("hooks.yaml", 3), ("hooks.yaml", 3)]
    more = texts | {"more.yaml": b"version: 1\n"}
    places = [(change.file, change.line) for change in plan.make(config.load_texts(more, "/"), state).changes]
    assert places == [(None, None), (None, None)]
    empty = plan.make(config.load_texts({"hooks.yaml": b"version: 1\n"}, "/"), state)
    assert {(change.file, change.line) for change in empty.changes} == {("hooks.yaml", 1)}


def test_changes_are_sorted_by_risk_then_kind_then_address(declare: Declare, applied: Apply) -> None:
    """What breaks something comes first; an edit that somebody outside notices before the calm ones."""
    hook = {"type": "conversation.started", "url": "https://a.example.com"}
    handles = ("calm", "deleted", "noticed", "replaced", "rotated")
    before = {"b": {"webhooks": dict.fromkeys((*handles, "renamed"), hook)}}
    after = {
        "a": {},
        "b": {
            "webhooks": {
                "added": hook | {"type": "conversation.claimed"},
                "calm": hook | {"timeout": "5s"},
                "moved": hook | {"moved_from": "renamed"},
                "noticed": hook | {"enabled": True},
                "replaced": hook | {"type": "conversation.claimed"},
                "rotated": hook | {"secret_version": 2},
            }
        },
    }
    made = plan.make(declare(after), applied(declare(before)))
    assert [(change.action.value, change.address) for change in made.changes] == [
        ("delete", "b/deleted"),
        ("replace", "b/replaced"),
        ("rotate", "b/rotated"),
        ("update", "b/noticed"),
        ("rename", "b/moved"),
        ("update", "b/calm"),
        ("create", "a"),
        ("create", "b/added"),
    ]


def test_a_lookalike_of_a_deleted_hook_offers_the_line_that_keeps_it(declare: Declare, applied: Apply) -> None:
    """Only within one bot and type, and only where most of what the two say is equal."""
    bots = edited("webhooks.crm", None)
    crm = BOTS["support"]["webhooks"]["crm"]
    bots["support"]["webhooks"] |= {
        "sales": crm,
        "other": {**crm, "type": "conversation.claimed"},
        "unlike": {"type": "conversation.started", "url": "https://elsewhere.example.com"},
    }
    made = plan.make(declare(bots), applied(declare(BOTS)))
    hints = {
        change.address: warning.message
        for change in made.changes
        for warning in change.warnings
        if warning.code == "looks-renamed"
    }
    assert list(hints) == ["support/sales"]
    assert "`moved_from: crm`" in hints["support/sales"]


@pytest.mark.parametrize(("kept", "is_offered"), [(3, True), (2, True), (1, False)])
def test_a_renamed_hook_may_have_been_edited_a_little(
    *, kept: int, is_offered: bool, declare: Declare, applied: Apply
) -> None:
    """Two of three things that both say are enough, one of three is not."""
    said = {"url": "https://a.example.com", "timeout": "5s", "description": "Tells the desk."}
    other = {"url": "https://b.example.com", "timeout": "6s", "description": "Wakes the pager."}
    edited = {name: (said if number < kept else other)[name] for number, name in enumerate(said)}
    kind = {"type": "conversation.started"}
    state = applied(declare({"b": {"webhooks": {"old": kind | said}}}))
    (_, added) = plan.make(declare({"b": {"webhooks": {"new": kind | edited}}}), state).changes
    assert ("looks-renamed" in codes(added)) is is_offered


def test_observed_and_drift_stand_outside_equality(declare: Declare, applied: Apply) -> None:
    """Traffic is shown by address for what changes, drift for all; two plans that differ only there are equal."""
    state = applied(declare(BOTS))
    desired = declare(edited("webhooks.crm", None))
    seen = {
        "id-support/crm": Observation(day_count=3, waiting=1, gone_since="2026-03-10T12:00:00Z"),
        "id-support/published": Observation(day_count=7),
        "id-support/ops": Observation(failing_since="2026-03-10T12:00:00Z"),
    }
    made = plan.make(desired, state, observed=seen)
    assert list(made.observed) == ["support/crm"]
    assert [(drift.address, drift.code, drift.since) for drift in made.drift] == [
        ("support/crm", "gone", "2026-03-10T12:00:00Z")
    ], "ops is disabled: that nothing succeeds there is no drift"
    assert made == plan.make(desired, state)


def test_the_order_of_the_files_changes_only_places(declare: Declare, applied: Apply) -> None:
    """The same resources in another order, on other lines: the same plan but for file and line."""
    state = applied(declare({"support": {"webhooks": {"gone": BOTS["support"]["webhooks"]["crm"]}}}))
    turned = {"support": {name: BOTS["support"][name] for name in reversed(BOTS["support"])}}
    turned["support"]["webhooks"] = dict(reversed(BOTS["support"]["webhooks"].items()))

    def without_places(made: Plan) -> Plan:
        changes = tuple(
            replace(
                change, file=None, line=None, fields=tuple(f._replace(file=None, line=None) for f in change.fields)
            )
            for change in made.changes
        )
        return replace(made, changes=changes)

    one = plan.make(declare(BOTS), state)
    other = plan.make(declare(turned, file="other.yaml"), state)
    assert one != other
    assert without_places(one) == without_places(other)
