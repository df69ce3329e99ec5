"""Events reach the webhooks in scope, and nobody else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from reconciler.model.delivery import NewEvent
from reconciler.model.event import EventProblem, Posted, check
from reconciler.model.fanout import fan_out, sync_event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from reconciler.model.snapshot import Bot, Snapshot

RESULTS = {"totalTokens": 1, "modifiedRows": 2, "totalDocuments": 3, "unmodifiedRows": 4, "totalDataSourceRows": 5}


@pytest.fixture
def decide(snapshot: Snapshot, new_id: Callable[[], str]) -> Callable[..., Any]:
    """Fan an event out to the fleet."""

    def run(value: dict[str, Any], gone: Collection[str] = ()) -> NewEvent | list[EventProblem]:
        posted = check(value, now_iso="2026-03-10T12:00:00.000Z")
        assert isinstance(posted, Posted), posted
        return fan_out(posted, snapshot, new_id=new_id, received_ms=7, encode=orjson.dumps, gone=gone)

    return run


def success(bot: str, data_source: str) -> dict[str, Any]:
    """A sync that went well."""
    return {"event": "sync.success", "results": RESULTS, "bot": bot, "dataSource": data_source}


def started(bot_id: str) -> dict[str, Any]:
    """A new conversation."""
    conversation = {"id": "c", "botId": bot_id, "channelType": "web", "createdAt": "2026-03-10T12:00:00Z"}
    return {"event": "conversation.started", "conversation": conversation}


def reached(event: NewEvent) -> list[str]:
    """The hooks that get a delivery."""
    return [delivery.hook_id for delivery in event.deliveries]


@pytest.mark.parametrize("bot", ["def-456", "support", "My Bot"])
@pytest.mark.parametrize("data_source", ["ds-1", "docs", "Data source one"])
def test_a_sync_event_finds_bot_and_source_by_id_handle_or_name(
    decide: Callable[..., Any], bot: str, data_source: str
) -> None:
    """Each of them for itself; the payload carries the configured names."""
    event = decide(success(bot, data_source))
    assert reached(event) == ["docs-only", "any"]
    assert event.unmatched is None
    body = json.loads(event.payload)
    assert (body["bot"], body["dataSource"]) == ("My Bot", "Data source one")


def test_an_unknown_source_still_reaches_the_hooks_that_ask_for_any(decide: Callable[..., Any]) -> None:
    """Its name goes out as it was posted."""
    event = decide(success("support", "nowhere"))
    assert (reached(event), event.unmatched) == (["any"], "dataSource")
    assert json.loads(event.payload)["dataSource"] == "nowhere"


@pytest.mark.parametrize(
    "value", [success("nobody", "docs"), started("nobody"), started("support"), started("My Bot")]
)
def test_an_unknown_bot_reaches_nobody(decide: Callable[..., Any], value: dict[str, Any]) -> None:
    """A conversation knows its bot by the platform's id alone."""
    event = decide(value)
    assert (event.deliveries, event.unmatched) == ((), "bot")


def test_an_ambiguous_name_is_a_problem_that_names_the_candidates(decide: Callable[..., Any]) -> None:
    """Of bots and of data sources; an id or handle settles it."""
    assert decide(success("Twin", "docs")) == [
        EventProblem("/bot", "ambiguous", "several bots have this name (left, right): use an id or a handle")
    ]
    (problem,) = decide(success("support", "Twin"))
    assert (problem.pointer, problem.code) == ("/dataSource", "ambiguous")
    assert "support/blog, support/faq" in problem.message
    assert reached(decide(success("support", "faq"))) == ["faq-only", "any"]
    assert decide(success("left", "docs")).unmatched == "dataSource"


def test_an_id_goes_before_a_handle_and_a_handle_before_a_name(
    snapshot: Snapshot, support: Bot, new_id: Callable[[], str]
) -> None:
    """The order decides where one text means several bots."""
    from dataclasses import replace  # noqa: PLC0415 - the one test that bends the fleet

    other = replace(support, handle="My Bot", hooks={})
    bent = replace(snapshot, bots={**snapshot.bots, "My Bot": other})
    posted = check(success("My Bot", "docs"), now_iso="")
    assert isinstance(posted, Posted)
    event = fan_out(posted, bent, new_id=new_id, received_ms=0, encode=orjson.dumps)
    assert isinstance(event, NewEvent)
    assert event.deliveries == ()
    assert event.unmatched is None


def test_a_conversation_reaches_the_enabled_hooks_of_its_type(decide: Callable[..., Any]) -> None:
    """A hook that is disabled at this moment gets no delivery; the bot's name is filled in."""
    event = decide(started("def-456") | {"id": "e-1"})
    assert (event.id, event.type, event.received_ms) == ("e-1", "conversation.started", 7)
    assert reached(event) == ["chat"]
    assert type(event.type) is str
    assert json.loads(event.payload)["conversation"]["botName"] == "My Bot"
    assert b"deliveryId" not in event.payload


def test_a_hook_that_is_gone_gets_nothing_new(decide: Callable[..., Any]) -> None:
    """It has said so with a 410."""
    assert reached(decide(success("support", "docs"), gone={"any"})) == ["docs-only"]


def test_every_delivery_has_an_id_of_its_own_and_an_event_without_id_gets_one(decide: Callable[..., Any]) -> None:
    """No id stands twice."""
    event = decide(success("support", "docs"))
    ids = [event.id, *(delivery.id for delivery in event.deliveries)]
    assert len(set(ids)) == 3


def test_a_sync_of_our_own_tells_of_its_results(support: Bot, new_id: Callable[[], str]) -> None:
    """In the documented order, with whatever else was counted behind."""
    event = sync_event(
        support,
        support.data_sources["docs"],
        results={"skipped": 9} | dict(reversed(RESULTS.items())),
        event_id="sync-1",
        new_id=new_id,
        received_ms=3,
        encode=orjson.dumps,
    )
    assert (event.id, event.type, reached(event)) == ("sync-1", "sync.success", ["docs-only", "any"])
    assert event.payload == (
        b'{"success":true,"results":{"totalTokens":1,"modifiedRows":2,"totalDocuments":3,"unmodifiedRows":4,'
        b'"totalDataSourceRows":5,"skipped":9},"bot":"My Bot","dataSource":"Data source one"}'
    )


def test_a_sync_of_our_own_tells_why_it_failed(support: Bot, new_id: Callable[[], str]) -> None:
    """The reason goes out as it is given."""
    event = sync_event(
        support,
        support.data_sources["blog"],
        reason='exit 1: "no"',
        event_id="sync-2",
        new_id=new_id,
        received_ms=3,
        encode=orjson.dumps,
    )
    assert (event.type, event.deliveries) == ("sync.failure", ())
    assert event.payload == b'{"success":false,"reason":"exit 1: \\"no\\"","bot":"My Bot","dataSource":"Twin"}'
