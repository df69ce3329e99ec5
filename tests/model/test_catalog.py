"""The catalog says what each event carries."""

from __future__ import annotations

import pytest

from reconciler.model.catalog import CATALOG, OPEN, Direction, JsonType, lookup
from reconciler.model.hook import EventType

OUTGOING = [event for event in EventType if not event.is_incoming]


def test_all_seven_types_stand_in_catalog_order() -> None:
    """One incoming type first, six outgoing ones after it."""
    assert list(CATALOG) == list(EventType)
    assert [spec.direction for spec in CATALOG.values()] == [Direction.INCOMING] + [Direction.OUTGOING] * 6
    assert all(spec.title and spec.summary for spec in CATALOG.values())


@pytest.mark.parametrize("event", OUTGOING)
def test_every_outgoing_event_carries_the_delivery_id_second(event: EventType) -> None:
    """Receivers drop repeats by it."""
    assert CATALOG[event].variables[1].path == "deliveryId"


@pytest.mark.parametrize("event", OUTGOING)
def test_variables_are_complete(event: EventType) -> None:
    """Each has a meaning, an object has no example and stands before its fields, and no path stands twice."""
    seen: set[str] = set()
    for variable in CATALOG[event].variables:
        parent = variable.path.rpartition(".")[0]
        assert not parent or parent in seen
        assert variable.path not in seen
        seen.add(variable.path)
        assert variable.meaning.endswith(".")
        assert (variable.example is None) is (variable.json_type is JsonType.OBJECT)
        assert variable.is_scalar is (variable.json_type is not JsonType.OBJECT)
        assert variable.constant is None or variable.constant == variable.example


def test_a_path_is_a_variable_or_open_or_nothing() -> None:
    """Anything may stand below an open object, nothing below a scalar or a closed one."""
    event = EventType.CONVERSATION_ESCALATED
    assert lookup(event, "conversation.state") is CATALOG[event].by_path["conversation.state"]
    assert lookup(event, "conversation.userData.plan.0.name") is OPEN
    assert lookup(event, "conversation.userEmail") is None
    assert lookup(event, "conversation.id.length") is None
    assert lookup(event, "conversationx.id") is None
    assert lookup(event, "") is None
    assert lookup(EventType.CONVERSATION_STARTED, "conversation.userData") is None
    assert lookup(EventType.SYNC_TRIGGER, "success") is None
