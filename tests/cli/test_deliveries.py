"""The log, read from the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.cli.opening import opened, read_state
from reconciler.clock import SystemClock
from reconciler.model.delivery import Attempt, AttemptError, DeliveryStatus, NewDelivery, NewEvent, Settlement
from reconciler.model.resource import Key, Kind
from reconciler.store.port import Access, Demand

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STORE = "sqlite:state/reconciler.db"
ADDRESS = "support-bot/chats"
WANTED = frozenset(
    {"id", "hook", "event", "event_id", "status", "attempts", "created_at", "next_attempt_at"}
    | {"last_status", "last_error"}
)
HOSTILE = b'\x1b]0;owned\x07<html>\n{"a": "\xff"}'


def delivery_id(number: int) -> str:
    """The id of the number-th delivery of the log below."""
    return f"0199f0c2-0000-7000-8000-00000000000{number}"


async def _fill(now_ms: int) -> None:
    """Three deliveries, an hour apart: the first exhausted by a time-out, the second delivered, one waiting."""
    state = await read_state(STORE)
    hook_id = state.resources[Key(Kind.WEBHOOK, ADDRESS)].id
    assert hook_id is not None
    async with opened(STORE, Access.WRITE) as store:
        for number in (1, 2, 3):
            event = NewEvent(
                id=f"evt-{number}",
                type="conversation.started",
                payload=b'{"event":"conversation.started","conversation":{"id":"c-%d"}}' % number,
                received_ms=now_ms - (4 - number) * 3_600_000,
                deliveries=(NewDelivery(delivery_id(number), hook_id),),
            )
            await store.accept([event], serial=state.serial)
        claims = await store.claim([Demand(hook_id, 2, 0)], limit=2, owner="w", now_ms=now_ms, lease_ms=60_000)
        assert [claim.delivery_id for claim in claims] == [delivery_id(1), delivery_id(2)]
        ends = [
            (DeliveryStatus.EXHAUSTED, {"error": AttemptError.TIMEOUT, "message": "10 s without an answer"}),
            (DeliveryStatus.DELIVERED, {"status": 200, "body": HOSTILE}),
        ]
        await store.settle(
            [
                Settlement(
                    delivery_id=claim.delivery_id,
                    fence=claim.fence,
                    status=status,
                    attempt=Attempt(number=1, round=1, started_ms=now_ms, duration_ms=7, **attempt),
                    error="timeout" if "error" in attempt else None,
                )
                for claim, (status, attempt) in zip(claims, ends, strict=True)
            ],
            now_ms=now_ms,
        )


@pytest.fixture
def log(applied: Path) -> Path:
    """An applied configuration with three deliveries in its store."""
    asyncio.run(_fill(SystemClock().now_ms()))
    return applied


def ids(ended: Any) -> list[int]:
    """Which deliveries a JSON list holds, by number."""
    return [int(item["id"][-1]) for item in ended.json["items"]]


def test_log_is_newest_first_with_what_scripts_need(reconcile: Callable[..., Any], log: Path) -> None:
    """A page is `items` and `next`; each item has the agreed keys, and the hook is its address."""
    ended = reconcile("deliveries", "--json")

    assert ids(ended) == [3, 2, 1]
    assert ended.json["next"] is None
    assert set(ended.json["items"][0]) >= WANTED
    assert {item["hook"] for item in ended.json["items"]} == {ADDRESS}
    assert [item["status"] for item in ended.json["items"]] == ["pending", "delivered", "exhausted"]
    assert (ended.json["items"][2]["last_error"], ended.json["items"][1]["last_status"]) == ("timeout", 200)


def test_filters_narrow_the_log(reconcile: Callable[..., Any], log: Path) -> None:
    """Status, error, event, hook and time combine."""
    assert ids(reconcile("deliveries", "--json", "--status", "pending", "--status", "exhausted")) == [3, 1]
    assert ids(reconcile("deliveries", "--json", "--error", "timeout")) == [1]
    assert ids(reconcile("deliveries", "--json", "--since", "150m")) == [3, 2]
    assert ids(reconcile("deliveries", "--json", "--until", "150m")) == [1]
    assert ids(reconcile("deliveries", "--json", "--hook", ADDRESS, "--event", "conversation.started")) == [3, 2, 1]
    assert ids(reconcile("deliveries", "--json", "--event", "sync.failure")) == []
    assert reconcile("deliveries", "--hook", "support-bot/nope").code == 64


def test_pages_follow_each_other_by_cursor(reconcile: Callable[..., Any], log: Path) -> None:
    """`next` of one page is `--cursor` of the following one; text says so on stderr."""
    first = reconcile("deliveries", "--json", "--limit", "2")
    second = reconcile("deliveries", "--json", "--limit", "2", "--cursor", first.json["next"])

    assert (ids(first), ids(second), second.json["next"]) == ([3, 2], [1], None)
    assert f"--cursor {first.json['next']}" in reconcile("deliveries", "--limit", "2").err


def test_table_is_plain_where_nobody_watches(reconcile: Callable[..., Any], log: Path) -> None:
    """Without a terminal: aligned columns, no colour, no box."""
    lines = reconcile("deliveries").out.splitlines()

    assert lines[0].split()[:4] == ["ID", "HOOK", "EVENT", "STATUS"]
    assert lines[1].startswith(f"{delivery_id(3)}  {ADDRESS}  conversation.started  pending")
    assert "timeout" in lines[3]
    assert all(character.isascii() and character.isprintable() for line in lines for character in line)


def test_one_delivery_is_shown_with_its_attempts(reconcile: Callable[..., Any], log: Path) -> None:
    """Payload, attempts and answers; a hostile answer is shown harmless, and exact in JSON."""
    text = reconcile("delivery", delivery_id(2))
    document = reconcile("delivery", delivery_id(2), "--json").json

    assert "\x1b" not in text.out
    assert "attempt 1  " in text.out
    assert "| <html>" in text.out
    assert '"c-2"' in text.out
    assert document["payload"]["conversation"]["id"] == "c-2"
    assert document["attempts"][0]["status"] == 200
    failed = reconcile("delivery", delivery_id(1)).out
    assert "7 ms  timeout" in failed
    assert "10 s without an answer" in failed


def test_unknown_delivery_exits_64(reconcile: Callable[..., Any], log: Path) -> None:
    """An id that is not in the log is an unknown address."""
    ended = reconcile("delivery", "nope", "--json")

    assert (ended.code, ended.json["error"]["code"]) == (64, "unknown-address")


def test_empty_log_is_said_on_stderr(reconcile: Callable[..., Any], applied: Path) -> None:
    """No rows, no table."""
    ended = reconcile("deliveries")

    assert (ended.code, ended.out, ended.err) == (0, "", "no delivery matches\n")
