"""`control.export`."""

from __future__ import annotations

import json
from copy import copy
from typing import TYPE_CHECKING, Any

import pytest

from reconciler import plan
from reconciler.control.export import export_state, read_export
from reconciler.control.reveal import secret_of
from reconciler.errors import StateUnreadable
from reconciler.model.resource import EMPTY_STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTS: dict[str, Any] = {
    "b": {
        "data_sources": {"docs": {"sync": {"command": ["x"]}}},
        "webhooks": {
            "published": {"type": "sync.trigger", "data_source": "docs"},
            "crm": {"type": "conversation.started", "url": "https://x", "rotation": {"overlap": "1h"}},
        },
    }
}


def test_an_export_holds_no_secret(bench: Any) -> None:
    """Fingerprints alone: no secret, no sealed one, no salt, no folder of this machine."""
    bench.apply(BOTS)
    exported = export_state(bench.state)
    for address in ("b/published", "b/crm"):
        assert secret_of(bench.state, address, keyring=bench.keyring).encode() not in exported
        assert bench.hook(address).secret.fingerprint.encode() in exported
    assert b"sealed" not in exported
    assert bench.state.salt.hex().encode() not in exported
    assert b"/config" not in exported


def test_planning_against_an_export_is_planning_against_the_store(bench: Any) -> None:
    """The same bytes, an overlap and a carried out swap included, and exporting again gives the same export."""
    bench.apply(BOTS)
    bench.apply(
        {
            "b": BOTS["b"]
            | {"webhooks": BOTS["b"]["webhooks"] | {"crm": BOTS["b"]["webhooks"]["crm"] | {"secret_version": 2}}}
        }
    )
    exported = export_state(bench.state)
    state = read_export(exported)
    assert export_state(state) == exported
    desired = bench.declare({"b": {"webhooks": {"new": {"type": "conversation.started", "url": "https://y"}}}})
    assert plan.to_json(plan.make(desired, state)) == plan.to_json(plan.make(desired, bench.state))


def test_an_empty_state_can_be_exported() -> None:
    """Lineage null, serial 0, no resources."""
    assert read_export(export_state(EMPTY_STATE)) == EMPTY_STATE


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"format_version": 1}', b'{"format_version": 9}', b"\x00"])
def test_what_is_no_export_is_refused(content: bytes) -> None:
    """As a state that cannot be read."""
    with pytest.raises(StateUnreadable):
        read_export(content)


def test_a_broken_resource_is_refused(bench: Any) -> None:
    """An export that was cut up is not half read."""
    bench.apply(BOTS)
    document = json.loads(export_state(bench.state))
    for name in ("kind", "address", "spec"):
        broken = json.loads(json.dumps(document))
        broken["resources"][0][name] = 5
        with pytest.raises(StateUnreadable):
            read_export(json.dumps(broken).encode())


def test_an_edited_export_is_refused_or_planned_with(bench: Any) -> None:
    """Whatever stands in it: a plan, or StateUnreadable, and nothing else."""
    bench.apply(BOTS)
    document = json.loads(export_state(bench.state))
    desired = bench.declare({"b": {"webhooks": {"crm": {"type": "conversation.claimed", "url": "https://y"}}}})
    refused = 0
    for edited in _edits(document):
        try:
            state = read_export(json.dumps(edited).encode())
        except StateUnreadable:
            refused += 1
            continue
        made = plan.make(desired, state)
        plan.render_text(made)
        assert plan.from_json(plan.to_json(made)) == made
    assert refused > 100


def _edits(value: Any) -> Iterator[Any]:
    """The document with one of its values cut or replaced by a foreign one."""
    match value:
        case dict():
            for name in value:
                yield {key: each for key, each in value.items() if key != name}
        case list():
            yield []
    yield from (foreign for foreign in (None, True, 7, -1, 1.5, "other", [], {}) if foreign != value)
    for key, each in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        for edited in _edits(each):
            changed = copy(value)
            changed[key] = edited
            yield changed
