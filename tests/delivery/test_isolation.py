"""No receiver hurts another: breakers, windows, and slots that the slow cannot take from the quick."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.delivery.lane import AHEAD_MAX
from reconciler.errors import EgressRefused, SendFailed
from reconciler.model.breaker import BreakerState
from reconciler.model.delivery import DeliveryStatus
from reconciler.model.exchange import Reply
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Callable[..., Any]

PENDING, SENDING = DeliveryStatus.PENDING, DeliveryStatus.SENDING
DELIVERED = DeliveryStatus.DELIVERED
HANG = (60, 200)


def host_of(request: Any) -> str:
    """Which hook's receiver a request goes to."""
    return str(request.url.split("/")[2].split(".")[0])


def sent_after(it: Any, count: int) -> list[float]:
    """When what came after the first `count` requests was sent, in seconds after the first request."""
    return [(sent.at_ms - it.sender.sent[0].at_ms) / 1000 for sent in it.sender.sent[count:]]


def attempts_of(it: Any) -> int:
    """How many attempts are recorded."""
    return sum(len(row.attempts) for row in it.contents.deliveries.values())


# -- the breaker -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [500, 502, 504, 400, 302, SendFailed("connect", "refused"), SendFailed("dns", "-")]
)
def test_ten_failures_in_a_row_open_the_breaker(world: World, answer: Any) -> None:
    """Whatever the failure is, after ten of them nothing is sent for 30 s, however much waits."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: answer
            await it.post(*["a"] * 100)
            await it.clock.advance(29)
            assert len(it.sender.sent) == 10
            assert it.dispatcher.status()["open_breakers"] == 1
            assert it.dispatcher.breakers()["a"].state is BreakerState.OPEN
            assert it.dispatcher.breakers()["a"].failures == 10
            assert (it.count(PENDING), it.count(SENDING), it.dispatcher.status()["claimed"]) == (100, 0, 0)

    asyncio.run(go())


def test_one_probe_at_a_time_finds_out_whether_the_receiver_is_back(world: World) -> None:
    """Half-open sends exactly one; a failure waits twice as long, up to five minutes; a success opens the lane."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: 503
            await it.post(*["a"] * 100)
            await it.clock.advance(1100)
            assert sent_after(it, 10) == pytest.approx([30, 90, 210, 450, 750, 1050], abs=0.5)
            assert it.dispatcher.breakers()["a"].until_ms - it.clock.now_ms() == pytest.approx(250_000, abs=1000)
            it.hook("a", concurrency=8)  # another limit is no reason to forget
            it.sender.answer = lambda _: (0.05, 200)
            it.sender.most_in_flight = 0
            await it.clock.advance(249)
            assert len(it.sender.sent) == 16
            await it.clock.advance(1.04)
            assert len(it.sender.sent) == 17
            await it.clock.advance(5)
            assert it.sender.most_in_flight == 8
            assert it.count(DELIVERED) == 100
            assert it.dispatcher.breakers() == {}

    asyncio.run(go())


def test_a_breaker_delays_attempts_but_never_skips_or_adds_one(world: World) -> None:
    """Each delivery has its five attempts in the end, none earlier than its schedule says."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=4)
            it.sender.answer = lambda _: 500
            deliveries = await it.post(*["a"] * 12)
            await it.clock.advance(4 * 3600)
            for delivery in deliveries:
                times = it.times(delivery)
                waits = [later - earlier for earlier, later in pairwise(times)]
                assert len(times) == 5
                assert all(wait >= least for wait, least in zip(waits, (30e3, 60e3, 120e3, 240e3), strict=True))
            assert it.count(DeliveryStatus.EXHAUSTED) == 12
            assert attempts_of(it) == 60

    asyncio.run(go())


def test_a_success_in_between_keeps_the_breaker_closed(world: World) -> None:
    """Nine failures, a success, nine failures: nothing is held back."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: 200 if len(it.sender.sent) % 10 == 0 else 500
            await it.post(*["a"] * 50)
            await it.clock.advance(1)
            assert len(it.sender.sent) == 50
            assert it.dispatcher.breakers() == {}

    asyncio.run(go())


@pytest.mark.parametrize("answer", [EgressRefused("10.0.0.1 is private"), ZeroDivisionError("ours")])
def test_what_the_receiver_was_not_asked_does_not_open_its_breaker(world: World, answer: Exception) -> None:
    """Refusals and errors of our own say nothing about the receiver."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: answer
            await it.post(*["a"] * 30)
            await it.clock.advance(1)
            assert len(it.sender.sent) == 30
            assert it.dispatcher.breakers() == {}

    asyncio.run(go())


def test_a_probe_that_was_refused_on_our_side_is_followed_by_another(world: World) -> None:
    """The breaker stays half-open until the receiver was asked."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: 500
            await it.post(*["a"] * 20)
            await it.clock.advance(5)
            it.sender.answer = lambda _: EgressRefused("no") if len(it.sender.sent) < 14 else 200
            await it.clock.advance(31)
            assert it.count(DeliveryStatus.REFUSED) == 3
            assert it.count(DELIVERED) == 17

    asyncio.run(go())


def test_retry_after_is_heeded_instead_of_the_breaker(world: World) -> None:
    """A receiver that says when to come back is asked again then, not when a breaker thinks."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: Reply(status=503, headers=(("Retry-After", "2"),), body=b"")
            await it.post(*["a"] * 40)
            await it.clock.advance(25)
            assert sent_after(it, 0) == pytest.approx([2 * n for n in range(13)], abs=0.1)
            assert it.dispatcher.breakers() == {}

    asyncio.run(go())


def test_a_pause_is_told_until_it_ends(world: World) -> None:
    """Only the hook whose receiver asked, with the end it asked for, and no longer than that."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.hook("b")
            it.sender.answer = lambda request: (
                Reply(status=429, headers=(("Retry-After", "300"),), body=b"") if host_of(request) == "a" else 500
            )
            start_ms = it.clock.now_ms()
            await it.post("a", "b")
            await it.clock.advance(299)
            assert it.dispatcher.pauses() == {"a": start_ms + 300_000}
            assert it.dispatcher.status()["paused_hooks"] == 1
            it.sender.answer = lambda _: 200
            await it.clock.advance(2)
            assert it.dispatcher.pauses() == {}
            assert it.dispatcher.status()["paused_hooks"] == 0

    asyncio.run(go())


@pytest.mark.parametrize("change", ["url", "enabled", "test"])
def test_a_fresh_start_ends_a_pause(world: World, change: str) -> None:
    """Another URL, disabling and enabling, a test that succeeded: nothing is told any more, and what waits goes."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: Reply(status=503, headers=(("Retry-After", "300"),), body=b"")
            await it.post("a", "a", "a")
            await it.clock.advance(1)
            assert set(it.dispatcher.pauses()) == {"a"}
            it.sender.answer = lambda _: 200
            if change == "url":
                it.hook("a", url=Template.parse("https://a.example/elsewhere"))
            elif change == "enabled":
                it.hook("a", enabled=False)
                it.dispatcher.wake()
                await it.clock.advance(1)
                assert it.dispatcher.pauses() == {}
                it.hook("a", enabled=True)
            else:
                it.dispatcher.renew("a")
            it.dispatcher.wake()
            await it.clock.advance(3)
            assert it.dispatcher.pauses() == {}
            assert it.count(DELIVERED) == 2  # the one that was answered so keeps to its own time

    asyncio.run(go())


def test_a_receiver_that_wants_nothing_any_more_asks_for_no_pause(world: World) -> None:
    """The 410 is what its deliveries wait for, so the pause from before it is not told."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=2)
            answers = iter([(0.5, Reply(status=503, headers=(("Retry-After", "300"),), body=b"")), (1, 410)])
            it.sender.answer = lambda _: next(answers)
            await it.post("a", "a")
            await it.clock.advance(0.7)
            assert set(it.dispatcher.pauses()) == {"a"}
            await it.clock.advance(1)
            assert it.dispatcher.pauses() == {}

    asyncio.run(go())


@pytest.mark.parametrize("change", ["url", "enabled", "test"])
def test_a_fresh_start_forgets_an_open_breaker(world: World, change: str) -> None:
    """Another URL, disabling and enabling, a test that succeeded: the hook is taken up at once."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=2)
            it.sender.answer = lambda _: 500
            await it.post(*["a"] * 30)
            await it.clock.advance(1)
            assert "a" in it.dispatcher.breakers()
            it.sender.answer = lambda _: (0.1, 200)
            sent = len(it.sender.sent)
            if change == "url":
                it.hook("a", url=Template.parse("https://a.example/elsewhere"))
            elif change == "enabled":
                it.hook("a", enabled=False)
                it.dispatcher.wake()
                await it.clock.advance(1)
                it.hook("a", enabled=True)
            else:
                it.dispatcher.renew("a")
            it.dispatcher.wake()
            await it.clock.advance(3)
            assert len(it.sender.sent) - sent == 20
            assert it.dispatcher.breakers() == {}

    asyncio.run(go())


def test_breakers_are_told_in_metrics_terms_and_forgotten_with_their_hook(world: World) -> None:
    """A deleted hook's breaker is no longer counted."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.hook("b")
            it.sender.answer = lambda _: 500
            await it.post(*["a", "b"] * 10)
            await it.clock.advance(5)
            assert set(it.dispatcher.breakers()) == {"a", "b"}
            await it.clock.advance(26)
            assert it.dispatcher.status()["open_breakers"] == 2
            it.delete("a")
            it.dispatcher.wake()
            await it.clock.advance(2)
            assert set(it.dispatcher.breakers()) == {"b"}

    asyncio.run(go())


# -- the window ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [HANG, (0.01, 429), (0.01, 503), (0.01, 504)])
def test_overload_halves_what_a_hook_has_in_flight(world: World, answer: Any) -> None:
    """After one round of time-outs, or of answers that say `too much`, half as much is sent at a time."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=8)
            it.sender.answer = lambda _: answer
            await it.post(*["a"] * 8)
            await it.clock.advance(12)
            it.sender.answer = lambda _: (0.1, 200)
            it.sender.most_in_flight = 0
            await it.post(*["a"] * 4)
            await it.clock.advance(1)
            assert it.sender.most_in_flight == 4
            await it.post(*["a"] * 200)
            await it.clock.advance(5)
            assert it.sender.most_in_flight == 8

    asyncio.run(go())


# -- slots -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_hundreds_of_receivers_that_hang_leave_the_others_their_slots(world: World, *, known: bool) -> None:
    """200 hooks that stop answering, out of the blue or after good times: within two seconds nobody else waits."""

    async def go() -> None:
        async with world() as it:
            dead = [f"dead{number}" for number in range(200)]
            live = [f"live{number}" for number in range(20)]
            for hook_id in dead + live:
                it.hook(hook_id)
            it.sender.answer = lambda _: (0.01, 200)
            if known:
                await it.post(*(dead + live) * 3)
                await it.clock.advance(1)
            it.sender.answer = lambda request: HANG if host_of(request).startswith("dead") else (0.01, 200)
            await it.post(*dead * 30)
            await it.clock.advance(2.5)
            for _ in range(100):
                deliveries = await it.post(*live)
                await it.clock.advance(0.1)
                assert {it.row(delivery).status for delivery in deliveries} == {DELIVERED}
            assert it.dispatcher.status()["slow_hooks"] >= 64
            assert it.sender.in_flight <= it.dispatcher.status()["slots"]

    asyncio.run(go())


def test_a_few_receivers_that_hang_delay_nobody_for_a_moment(world: World) -> None:
    """50 hooks stop answering at once: a healthy hook's deliveries go out within milliseconds all along."""

    async def go() -> None:
        async with world() as it:
            dead = [f"dead{number}" for number in range(50)]
            for hook_id in [*dead, "live"]:
                it.hook(hook_id)
            it.sender.answer = lambda request: HANG if host_of(request) != "live" else (0.001, 200)
            await it.post(*dead * 20)
            for _ in range(300):
                (delivery,) = await it.post("live")
                await it.clock.advance(0.02)
                assert it.row(delivery).status in {DELIVERED, SENDING}
                assert it.times(delivery) == [0]
                await it.clock.advance(0.03)

    asyncio.run(go())


def test_a_hook_that_hangs_gives_back_what_was_claimed_ahead_for_it(world: World) -> None:
    """A fast hook holds hundreds of claims; when it stops answering, others get the room."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=16)
            it.sender.answer = lambda _: (0.005, 200)
            await it.post(*["a"] * 2000)
            await it.clock.advance(0.15)
            assert it.dispatcher.status()["claimed"] > AHEAD_MAX / 2
            it.sender.answer = lambda _: HANG
            await it.clock.advance(2.5)
            assert it.dispatcher.status()["claimed"] <= 1
            assert it.dispatcher.status()["slow_hooks"] == 1

    asyncio.run(go())


def test_a_slow_receiver_still_gets_its_whole_concurrency(world: World) -> None:
    """Slow is not ill: what takes two seconds goes on at full width."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=32)
            it.sender.answer = lambda _: (2, 200)
            await it.post(*["a"] * 320)
            await it.clock.advance(21)
            assert it.count(DELIVERED) >= 288
            assert it.sender.most_in_flight == 32

    asyncio.run(go())


def test_a_receiver_that_has_become_quick_again_leaves_the_slow(world: World) -> None:
    """Some quick answers and the hook is counted as quick, with all that it has in flight."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: (2, 200)
            await it.post(*["a"] * 16)
            await it.clock.advance(5)
            assert it.dispatcher.status()["slow_hooks"] == 1
            it.sender.answer = lambda _: (0.01, 200)
            await it.post(*["a"] * 40)
            await it.clock.advance(2)
            assert it.dispatcher.status()["slow_hooks"] == 0
            assert it.dispatcher.status()["in_flight"] == 0
            assert it.count(DELIVERED) == 56

    asyncio.run(go())
