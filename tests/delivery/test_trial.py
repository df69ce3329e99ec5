"""The test hook: a real request, marked, reported in full, recorded nowhere."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.delivery.trial import prepare_test, send_test
from reconciler.errors import EgressRefused, SendFailed, UsageError
from reconciler.model.exchange import Reply
from reconciler.model.hook import DataSource, EventType
from reconciler.model.snapshot import Bot
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.model.trial import Trial

    World = Callable[..., Any]

SOURCE = DataSource(
    address="bot/docs", bot="bot", id="ds-1", name="Data source one", sync=None, timeout_ms=1, scrub=()
)


@pytest.fixture
def tried(world: World) -> Callable[..., tuple[Trial, Any]]:
    """Test a hook whose receiver gives `answer`; the trial and the world it happened in."""

    def run(
        answer: Any = 200, payload: Mapping[str, Any] | None = None, seconds: float = 0, **changes: Any
    ) -> tuple[Trial, Any]:
        async def go() -> tuple[Trial, Any]:
            async with world() as it:
                hook = it.hook("a", **changes)
                bot = Bot(handle="bot", id="def-456", name="My Bot", data_sources={"docs": SOURCE}, hooks={})
                snapshot = replace(it.snapshot, bots={"bot": bot}, data_sources={"bot/docs": SOURCE})
                it.sender.answer = lambda _: (seconds, answer) if seconds else answer
                task = asyncio.create_task(
                    send_test(
                        hook,
                        snapshot=snapshot,
                        sender=it.sender,
                        clock=it.clock,
                        mint=it.mint,
                        payload=payload,
                        metrics=it.metrics,
                    )
                )
                await it.clock.advance(60)
                return await task, it

        return asyncio.run(go())

    return run


def test_a_test_shows_what_the_receiver_answered(tried: Any) -> None:
    """Status, headers, body and time come back; the request was marked and carried the bot's own names."""
    reply = Reply(status=202, headers=(("X-A", "b"),), body=b"ok")
    trial, it = tried(reply, seconds=1.5)
    assert trial.is_success
    assert (trial.status, trial.headers, trial.body) == (202, (("X-A", "b"),), b"ok")
    assert (trial.address, trial.method, trial.url) == ("bot/a", "POST", "https://a.example/")
    assert trial.duration_ms == 1500
    (sent,) = it.sender.sent
    headers = dict(sent.request.headers)
    assert headers["X-ChatThing-Test"] == "true"
    assert headers["X-ChatThing-Delivery-Id"] == trial.delivery_id
    body = json.loads(sent.request.body)
    assert body["deliveryId"] == trial.delivery_id
    assert (body["conversation"]["botId"], body["conversation"]["botName"]) == ("def-456", "My Bot")


def test_a_disabled_hook_can_be_tested_and_nothing_is_recorded(tried: Any) -> None:
    """Testing comes before enabling, and leaves no delivery behind."""
    trial, it = tried(200, enabled=False)
    assert trial.status == 200
    assert it.contents.deliveries == {}


@pytest.mark.parametrize(
    ("answer", "error"),
    [(SendFailed("connect", "no connection"), "connect"), (EgressRefused("10.0.0.1 is private"), "egress")],
)
def test_a_test_that_gets_no_answer_says_why(tried: Any, answer: Exception, error: str) -> None:
    """Failures come back as results, with their class and reason."""
    trial, _ = tried(answer)
    assert not trial.is_success
    assert (trial.status, trial.error, trial.message) == (None, error, str(answer))


def test_an_unrenderable_test_says_why(tried: Any) -> None:
    """A template that cannot be rendered is a result, too."""
    payload = {"timestamp": "2026-01-01T00:00:00Z", "conversation": CONVERSATION | {"id": ".."}}
    trial, it = tried(200, payload, url=Template.parse("https://a.example/{{conversation.id}}/x"))
    assert (trial.status, trial.error) == (None, "unrenderable")
    assert it.sender.sent == []


def test_unresolved_tokens_are_flagged(tried: Any) -> None:
    """The typo shows before going live."""
    trial, _ = tried(200, url=Template.parse("https://a.example/?e={{conversation.emial}}"))
    assert trial.unresolved == ("{{conversation.emial}}",)


def test_what_comes_back_is_scrubbed(tried: Any) -> None:
    """A receiver that echoes the request does not show the secret to whoever may test."""
    secret = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    reply = Reply(status=200, headers=(("X-Echo", secret),), body=f"<{secret}>".encode())
    trial, _ = tried(reply, url=Template.parse(f"https://a.example/?k={secret}"))
    assert secret not in str(trial)
    assert secret.encode() not in trial.body
    assert "AAECAwQ" not in trial.url


CONVERSATION = {
    "id": "c-1",
    "botId": "def-456",
    "channelType": "web",
    "createdAt": "2026-01-01T00:00:00Z",
}


def test_an_event_of_ones_own_can_be_sent(tried: Any) -> None:
    """A posted event stands in for the example; names that it leaves out are the bot's."""
    trial, it = tried(200, {"event": "conversation.started", "conversation": CONVERSATION})
    assert trial.is_success
    body = json.loads(it.sender.sent[0].request.body)
    assert body["conversation"]["id"] == "c-1"
    assert body["conversation"]["botName"] == "My Bot"
    assert body["timestamp"].endswith("Z")


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"event": "conversation.claimed"}, "/agent"),
        ({"event": "nonsense"}, "an event is one of"),
        ({"conversation": 7}, "/conversation"),
        (
            {"event": "sync.failure", "reason": "r", "bot": "bot", "dataSource": "docs"},
            "hears conversation.started, but the event is sync.failure",
        ),
    ],
)
def test_an_event_that_is_none_of_the_hooks_type_is_refused(tried: Any, payload: Any, problem: str) -> None:
    """What the hook would never get is no test of it."""
    with pytest.raises(UsageError, match=problem):
        tried(200, payload)


def test_a_sync_hook_is_tested_with_the_name_of_its_own_data_source(world: World) -> None:
    """The example of a scoped hook carries the names that its real events carry."""

    async def go() -> None:
        async with world() as it:
            hook = it.hook("a", type=EventType.SYNC_SUCCESS, data_source="bot/docs")
            bot = Bot(handle="bot", id="def-456", name="My Bot", data_sources={"docs": SOURCE}, hooks={})
            snapshot = replace(it.snapshot, bots={"bot": bot}, data_sources={"bot/docs": SOURCE})
            prepared = prepare_test(hook, snapshot=snapshot, payload=None, delivery_id="x", now_ms=0, wall_s=0)
            body = json.loads(prepared.request.body)
            assert list(body) == ["success", "deliveryId", "results", "bot", "dataSource"]
            assert (body["bot"], body["dataSource"]) == ("My Bot", "Data source one")

    asyncio.run(go())
