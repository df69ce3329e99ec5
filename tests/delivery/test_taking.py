"""Deliveries that the dispatcher has as they are accepted, without asking the store for them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from reconciler.model.delivery import DeliveryStatus, NewDelivery, NewEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from reconciler.model.delivery import Claim, Taking
    from tests.delivery.conftest import World


async def accept(it: World, *hook_ids: str, storing: bool = True) -> int:
    """Post an event for each of the hooks as ingest does; how many of the deliveries were taken."""
    taking = it.dispatcher.reserve(hook_ids)
    claims: list[Any] = []
    if storing:
        events = [
            NewEvent(
                id=it.mint.new_id(0),
                type="conversation.started",
                payload=b'{"event":"conversation.started","n":1}',
                received_ms=it.clock.now_ms(),
                deliveries=(NewDelivery(it.mint.new_id(0), hook_id),),
            )
            for hook_id in hook_ids
        ]
        answers = await it.store.accept(events, serial=0, taking=taking)
        claims = [claim for answer in answers for claim in answer.claims]
    if taking is not None:
        it.dispatcher.take(taking, claims)
    await it.clock.run_until_idle()
    return len(claims)


async def reserve_and_store(it: World) -> tuple[Taking, Sequence[Claim]]:
    """Post an event for the hook `h` with delivery `d`, up to where the dispatcher is told what was taken."""
    taking = it.dispatcher.reserve(["h"])
    assert taking is not None
    event = NewEvent("e", "conversation.started", b"{}", it.clock.now_ms(), (NewDelivery("d", "h"),))
    (answer,) = await it.store.accept([event], serial=0, taking=taking)
    return taking, answer.claims


async def known(it: World) -> None:
    """Let the dispatcher find out that nothing is stored for its hooks."""
    it.dispatcher.wake(list(it.hooks))
    await it.clock.advance(1)


def slowly(it: World, verb: Any) -> Any:
    """A verb of the store whose answer takes its time."""

    async def call(*arguments: Any, **more: Any) -> Any:
        answer = await verb(*arguments, **more)
        await it.clock.wait(asyncio.Event(), 0.003)
        return answer

    return call


async def never(*_: Any, **__: Any) -> Any:
    """The store is not to be asked."""
    raise AssertionError("a claim")


def test_what_is_taken_is_sent_without_a_claim(world: Callable[..., World]) -> None:
    """With room at the hook its delivery leaves in the turn of the loop in which it was stored."""

    async def go() -> None:
        async with world() as it:
            it.hook("h")
            await known(it)
            it.store.claim = never
            assert await accept(it, "h", "h") == 2
            assert len(it.sender.sent) == 2
            await it.clock.advance(1)
            assert it.count(DeliveryStatus.DELIVERED) == 2

    asyncio.run(go())


def test_no_more_is_taken_than_a_hook_has_room_for(world: Callable[..., World]) -> None:
    """Beyond what may be in flight and a little more, deliveries wait in the store and are claimed in their turn."""

    async def go() -> None:
        async with world() as it:
            it.hook("h", concurrency=2)
            await known(it)
            it.sender.answer = lambda _: (5.0, 200)
            taken = await accept(it, *["h"] * 50)
            assert 2 <= taken <= 4
            assert len(it.sender.sent) == 2
            it.dispatcher.wake(["h"])
            await it.clock.advance(1)
            assert await accept(it, "h") == 0  # others came before it
            it.dispatcher.wake(["h"])
            it.sender.answer = lambda _: 200
            await it.clock.advance(20)
            assert it.count(DeliveryStatus.DELIVERED) == 51

    asyncio.run(go())


def test_room_is_free_again_when_nothing_was_stored(world: Callable[..., World]) -> None:
    """A store that cannot be written costs no hook its room."""

    async def go() -> None:
        async with world() as it:
            it.hook("h", concurrency=1)
            await known(it)
            for _ in range(100):
                assert await accept(it, "h", storing=False) == 0
            assert await accept(it, "h") == 1
            assert len(it.sender.sent) == 1

    asyncio.run(go())


def test_nothing_is_taken_for_a_hook_that_is_shut(world: Callable[..., World]) -> None:
    """Disabled, unknown, throttled or failing hooks get theirs from the store, when their time has come."""

    async def go() -> None:
        async with world() as it:
            it.hook("failing")
            await known(it)
            it.hook("off", enabled=False)
            it.sender.answer = lambda _: 500
            for _ in range(10):
                await accept(it, "failing")
            assert it.dispatcher.breakers().keys() == {"failing"}
            assert it.dispatcher.reserve(["off", "nobody", "failing"]) is None

    asyncio.run(go())


def test_what_was_taken_too_late_is_given_back(world: Callable[..., World]) -> None:
    """A hook that shut while its delivery was being stored keeps it waiting, and no claim is forgotten."""

    async def go() -> None:
        async with world() as it:
            it.hook("h")
            await known(it)
            taking, claims = await reserve_and_store(it)
            it.hook("h", enabled=False)
            it.dispatcher.take(taking, claims)
            await it.clock.advance(1)
            assert it.row("d").status is DeliveryStatus.PENDING
            assert it.sender.sent == []

    asyncio.run(go())


def test_a_dispatcher_that_stops_takes_nothing(world: Callable[..., World]) -> None:
    """What was reserved before is given back, and nothing new is."""

    async def go() -> None:
        async with world() as it:
            it.hook("h")
            await known(it)
            taking, claims = await reserve_and_store(it)
            stopping = it.dispatcher.stop(1.0)
            it.dispatcher.take(taking, claims)
            await stopping
            assert it.dispatcher.reserve(["h"]) is None
            assert it.row("d").status is DeliveryStatus.PENDING

    asyncio.run(go())


def test_newcomers_queue_up_behind_a_backlog(world: Callable[..., World]) -> None:
    """While more is stored for a hook than it was asked for, new deliveries wait behind that."""

    async def go() -> None:
        async with world() as it:
            it.hook("h", concurrency=1)
            await known(it)
            it.sender.answer = lambda _: (0.1, 200)
            await it.post(*["h"] * 60)
            await it.clock.advance(0.5)
            assert it.dispatcher.reserve(["h"]) is None
            await it.clock.advance(10)
            assert it.dispatcher.reserve(["h"]) is not None

    asyncio.run(go())


def test_what_is_stored_has_the_room_before_newcomers(world: Callable[..., World]) -> None:
    """A delivery in the store that there is no room to claim is not kept there by those that come later."""

    async def go() -> None:
        async with world() as it:
            it.hook("h", concurrency=1)
            await known(it)
            for _ in range(50):  # a quick receiver, for which much is held
                await accept(it, "h")
                await it.clock.advance(0.001)
            it.sender.answer = lambda _: (0.2, 200)
            assert await accept(it, *["h"] * 160) == 160
            again = it.dispatcher.reserve(["h"])
            assert again is not None
            it.dispatcher.take(again, ())
            it.dispatcher.wake(["h"])  # something is stored, and nothing is asked for while so many are held
            assert it.dispatcher.reserve(["h"]) is None

    asyncio.run(go())


def test_one_crowded_moment_does_not_put_an_end_to_taking(world: Callable[..., World]) -> None:
    """However quickly others follow, those that come after the crowd are taken as they are accepted again."""

    async def go() -> None:
        async with world() as it:
            it.hook("h")
            await known(it)
            taking = it.dispatcher.reserve(["h"] * 500)
            assert taking is not None
            it.dispatcher.take(taking, [])
            assert it.dispatcher.reserve(["h"]) is None
            it.store.claim = slowly(it, it.store.claim)
            taken = []
            for _ in range(200):
                taken.append(await accept(it, "h"))
                it.dispatcher.wake(["h"])
                await it.clock.advance(0.001)
            assert sum(taken[:10]) < 10
            assert sum(taken[100:]) == 100

    asyncio.run(go())


def test_nothing_overtakes_what_is_about_to_be_stored(world: Callable[..., World]) -> None:
    """A delivery for which there was no room goes before those that come while its event is being stored."""

    async def go() -> None:
        async with world() as it:
            it.hook("h", concurrency=1)
            await known(it)
            it.sender.answer = lambda _: (0.1, 200)
            taking = it.dispatcher.reserve(["h"] * 50)
            assert taking is not None
            assert taking.rooms["h"] < 50
            it.dispatcher.take(taking, [])  # room again, but the other events are still on their way to the disk
            assert it.dispatcher.reserve(["h"]) is None
            it.dispatcher.wake(["h"])
            await it.clock.advance(1)
            assert it.dispatcher.reserve(["h"]) is not None

    asyncio.run(go())
