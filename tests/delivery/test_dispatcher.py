"""The dispatcher on a fake clock: when what is attempted, what becomes of it, and who waits for whom."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import EgressRefused, SendFailed, StoreUnavailable
from reconciler.model.delivery import AttemptError, DeliveryFilter, DeliveryStatus
from reconciler.model.exchange import Reply
from reconciler.model.hook import Retry
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable

    World = Callable[..., Any]

PENDING, SENDING = DeliveryStatus.PENDING, DeliveryStatus.SENDING
DELIVERED, EXHAUSTED = DeliveryStatus.DELIVERED, DeliveryStatus.EXHAUSTED


def host_of(request: Any) -> str:
    """Which hook's receiver a request goes to."""
    return str(request.url.split("/")[2].split(".")[0])


# -- the life of a delivery ------------------------------------------------------------------------------------


def test_a_delivery_is_sent_at_once_and_recorded(world: World) -> None:
    """An accepted event is sent without waiting for any clock, and its attempt is kept with it."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: Reply(status=201, headers=(("X-Id", "7"),), body=b"thanks")
            (delivery,) = await it.post("a")
            assert it.times(delivery) == [0]
            assert it.row(delivery).status is DELIVERED
            (attempt,) = it.row(delivery).attempts
            assert (attempt.number, attempt.round, attempt.status, attempt.error) == (1, 1, 201, None)
            assert (attempt.headers, attempt.body) == ('[["X-Id","7"]]', b"thanks")

    asyncio.run(go())


def test_retries_follow_the_schedule_to_the_millisecond(world: World) -> None:
    """Five attempts, waiting 30 s, 1 m, 2 m and 4 m from the end of one to the start of the next, then exhausted."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: 500
            (delivery,) = await it.post("a")
            await it.clock.advance(3600)
            assert it.times(delivery) == [0, 30_000, 90_000, 210_000, 450_000]
            row = it.row(delivery)
            assert row.status is EXHAUSTED
            assert [attempt.number for attempt in row.attempts] == [1, 2, 3, 4, 5]
            assert {sent.delivery_id for sent in it.sender.sent} == {delivery}

    asyncio.run(go())


def test_what_is_redelivered_is_sent_as_soon_as_somebody_says_so(world: World) -> None:
    """An operator who asks for a delivery again does not wait for the next look at the store."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", retry=Retry(attempts=1, schedule_ms=(1_000,), jitter=0.0))
            it.sender.answer = lambda _: 500
            await it.post("a")
            await it.clock.advance(5)
            assert it.count(DeliveryStatus.EXHAUSTED) == 1
            it.sender.answer = lambda _: 200
            await it.store.redeliver(DeliveryFilter(), now_ms=it.clock.now_ms(), limit=1)
            it.dispatcher.wake(["a"], retries=True)
            await it.clock.advance(0.005)
            assert len(it.sender.sent) == 2

    asyncio.run(go())


def test_waits_run_from_the_end_of_an_attempt(world: World) -> None:
    """A time-out's ten seconds come on top of the wait."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: (60, 200)
            (delivery,) = await it.post("a")
            await it.clock.advance(3600)
            assert it.times(delivery) == [0, 40_000, 110_000, 240_000, 490_000]
            assert it.row(delivery).attempts[0].error is AttemptError.TIMEOUT
            assert it.row(delivery).attempts[0].duration_ms == 10_000

    asyncio.run(go())


def test_each_of_many_retries_comes_at_its_own_time(world: World) -> None:
    """Deliveries of one hook that failed at different moments are each retried at theirs."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: 503
            deliveries = []
            for _ in range(9):  # one less than what opens the breaker
                deliveries += await it.post("a")
                await it.clock.advance(0.137)
            it.sender.answer = lambda _: 200
            await it.clock.advance(60)
            assert {tuple(it.times(delivery)) for delivery in deliveries} == {(0, 30_000)}
            assert it.count(DELIVERED) == 9

    asyncio.run(go())


def test_a_success_ends_the_retries(world: World) -> None:
    """The receiver that comes back gets the delivery once more, and that is all."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: 500 if len(it.sender.sent) < 3 else 204
            (delivery,) = await it.post("a")
            await it.clock.advance(3600)
            assert it.times(delivery) == [0, 30_000, 90_000]
            assert it.row(delivery).status is DELIVERED

    asyncio.run(go())


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 500, 503])
def test_every_answer_but_a_success_is_a_failed_attempt(world: World, status: int) -> None:
    """Redirects and client errors are retried like server errors."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: status
            (delivery,) = await it.post("a")
            await it.clock.advance(29)
            row = it.row(delivery)
            assert (row.status, row.last_status, row.last_error) == (PENDING, status, f"http-{status}")

    asyncio.run(go())


@pytest.mark.parametrize(
    ("answer", "error"),
    [(EgressRefused("10.0.0.1 is private"), AttemptError.EGRESS), (None, AttemptError.UNRENDERABLE)],
)
def test_a_refusal_ends_a_delivery_and_says_why(world: World, answer: Any, error: AttemptError) -> None:
    """What must not be sent is not tried again by itself."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", **({} if answer else {"url": Template.parse("https://a.example/{{conversation.dots}}/x")}))
            it.sender.answer = lambda _: answer
            if answer is None:
                it.hook("a", url=Template.parse("https://{{conversation.id}}.example/"))
            (delivery,) = await it.post("a")
            await it.clock.advance(3600)
            row = it.row(delivery)
            assert (row.status, row.last_error) == (DeliveryStatus.REFUSED, error.value)
            assert row.attempts[0].error is error
            assert row.attempts[0].message

    asyncio.run(go())


def test_an_error_of_our_own_is_a_failed_attempt_and_stops_nobody(world: World) -> None:
    """One delivery that trips the program fails as `internal`; the others go on."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.hook("b")
            it.sender.answer = lambda request: ZeroDivisionError("secret") if host_of(request) == "a" else 200
            broken, good = await it.post("a", "b")
            await it.clock.advance(0.1)
            assert it.row(good).status is DELIVERED
            (attempt,) = it.row(broken).attempts
            assert attempt.error is AttemptError.INTERNAL
            assert attempt.message.startswith("ZeroDivisionError in ")
            assert "secret" not in attempt.message
            assert it.row(broken).status is PENDING

    asyncio.run(go())


def test_what_is_kept_holds_no_secret(world: World) -> None:
    """A receiver that echoes the secret in headers and body does not get it into the records."""

    async def go() -> None:
        async with world() as it:
            secret = it.hook("a").secrets.current
            echo = Reply(status=500, headers=(("X-Echo", secret),), body=f'{{"got": "{secret}"}}'.encode())
            it.sender.answer = lambda _: echo
            (delivery,) = await it.post("a")
            await it.clock.advance(0.1)
            (attempt,) = it.row(delivery).attempts
            assert secret not in attempt.headers
            assert secret.encode() not in attempt.body
            assert b"[secret]" in attempt.body

    asyncio.run(go())


# -- what receivers ask for ------------------------------------------------------------------------------------


def test_retry_after_holds_back_the_whole_hook(world: World) -> None:
    """429 with Retry-After: neither this delivery nor any other of the hook goes out before; other hooks do."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.hook("b")
            throttled = Reply(status=429, headers=(("Retry-After", "300"),), body=b"")
            it.sender.answer = lambda request: (
                throttled if host_of(request) == "a" and it.clock.now_ms() < start + 1000 else 200
            )
            start = it.clock.now_ms()
            deliveries = await it.post("a", "a", "a", "b")
            await it.clock.advance(299)
            late = await it.post("a")
            assert [host_of(sent.request) for sent in it.sender.sent] == ["a", "b"]
            assert it.dispatcher.status()["paused_hooks"] == 1
            await it.clock.advance(2)
            assert it.count(DELIVERED) == 5
            assert it.times(deliveries[0]) == [0, 300_000]
            assert all(0 <= sent.at_ms - start - 300_000 < 100 for sent in it.sender.sent[2:])
            assert late

    asyncio.run(go())


def test_gone_parks_the_hook_until_the_mark_is_cleared(world: World) -> None:
    """410: what waits goes on waiting, and goes out once somebody has cleared the mark."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: 410
            deliveries = await it.post("a", "a", "a")
            await it.clock.advance(3600)
            assert len(it.sender.sent) == 1
            assert it.contents.hooks["a"].gone_ms is not None
            assert it.count(PENDING) == 3
            it.sender.answer = lambda _: 200
            await it.store.clear_gone("a")
            it.dispatcher.wake(["a"])
            await it.clock.advance(3)
            assert it.count(DELIVERED) == 3
            assert len(it.times(deliveries[0])) == 2

    asyncio.run(go())


# -- the configuration moves -----------------------------------------------------------------------------------


def test_a_disabled_hook_parks_what_waits_and_enabling_resumes_it(world: World) -> None:
    """Nothing of a disabled hook is sent, and nothing of it is lost."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", enabled=False)
            deliveries = await it.post("a", "a")
            await it.clock.advance(600)
            assert it.sender.sent == []
            it.hook("a", enabled=True)
            it.dispatcher.wake()
            await it.clock.advance(1)
            assert [it.row(delivery).status for delivery in deliveries] == [DELIVERED, DELIVERED]

    asyncio.run(go())


def test_disabling_parks_retries_and_claims_that_have_not_been_started(world: World) -> None:
    """What was claimed ahead goes back when its hook is disabled, without an attempt being counted."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=4)
            it.sender.answer = lambda _: (5, 500)
            deliveries = await it.post(*["a"] * 10)
            assert it.dispatcher.status()["claimed"] > 0
            it.hook("a", enabled=False)
            it.dispatcher.wake()
            await it.clock.advance(3600)
            assert len(it.sender.sent) == 4
            assert it.count(PENDING) == 10
            it.sender.answer = lambda _: 200
            it.hook("a", enabled=True)
            it.dispatcher.wake()
            await it.clock.advance(1)
            assert it.count(DELIVERED) == 10
            assert [len(it.row(delivery).attempts) for delivery in deliveries] == [2] * 4 + [1] * 6

    asyncio.run(go())


def test_each_attempt_is_made_from_the_spec_in_force_at_that_moment(world: World) -> None:
    """A retry goes to the new URL, signed with the new secret, under the same id."""

    async def go() -> None:
        async with world() as it:
            hook = it.hook("a")
            it.sender.answer = lambda request: 500 if "old" in request.url else 200
            it.hook("a", url=Template.parse("https://a.example/old"))
            (delivery,) = await it.post("a")
            await it.clock.advance(10)
            it.hook("a", url=Template.parse("https://a.example/new"), retry=hook.retry)
            await it.clock.advance(25)
            assert [sent.request.url for sent in it.sender.sent] == ["https://a.example/old", "https://a.example/new"]
            assert {sent.delivery_id for sent in it.sender.sent} == {delivery}
            stamps = [dict(sent.request.headers)["webhook-timestamp"] for sent in it.sender.sent]
            assert int(stamps[1]) - int(stamps[0]) == 30

    asyncio.run(go())


def test_deleting_a_hook_cancels_what_waits_and_what_was_claimed(world: World) -> None:
    """Nothing more is sent to a deleted hook; what was claimed, or fails for the last time, ends as cancelled."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=4)
            it.sender.answer = lambda _: (5, 500)
            deliveries = await it.post(*["a"] * 6)
            assert it.dispatcher.status()["claimed"] == 2
            it.delete("a")
            it.dispatcher.wake()
            await it.clock.advance(3600)
            assert len(it.sender.sent) == 4
            assert {it.row(delivery).status for delivery in deliveries} == {DeliveryStatus.CANCELLED}

    asyncio.run(go())


# -- isolation -------------------------------------------------------------------------------------------------


def test_a_hook_never_has_more_in_flight_than_it_wants(world: World) -> None:
    """`concurrency` bounds the requests to one receiver, first attempts and retries together."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=3)
            it.sender.answer = lambda _: (1, 500)
            await it.post(*["a"] * 50)
            await it.clock.advance(120)
            assert it.sender.most_in_flight == 3

    asyncio.run(go())


def test_hanging_receivers_do_not_delay_the_others(world: World) -> None:
    """Five receivers that hang, with thousands waiting: the healthy ones get theirs at once."""

    async def go() -> None:
        async with world() as it:
            for number in range(5):
                it.hook(f"hang{number}")
                await it.post(*[f"hang{number}"] * 400, wake=False)
            for number in range(20):
                it.hook(f"ok{number}")
            it.sender.answer = lambda request: (60, 200) if host_of(request).startswith("hang") else (0.01, 200)
            it.dispatcher.wake()
            await it.clock.advance(2)
            for _ in range(30):
                deliveries = await it.post(*[f"ok{number}" for number in range(20)])
                await it.clock.advance(0.05)
                assert {it.row(delivery).status for delivery in deliveries} <= {DELIVERED, SENDING}
            await it.clock.advance(0.1)
            assert it.count(DELIVERED) == 600
            assert it.sender.in_flight == 40

    asyncio.run(go())


def test_a_new_delivery_does_not_wait_behind_the_backlog_of_other_hooks(world: World) -> None:
    """A hundred busy hooks with long queues: one event for a quiet hook is sent within a few milliseconds."""

    async def go() -> None:
        async with world() as it:
            busy = [f"busy{number}" for number in range(100)]
            for hook_id in busy:
                it.hook(hook_id)
                await it.post(*[hook_id] * 60, wake=False)
            it.hook("quiet")
            it.sender.answer = lambda _: (0.1, 200)
            it.dispatcher.wake(busy)
            await it.clock.advance(0.3)
            (delivery,) = await it.post("quiet")
            posted_ms = it.clock.now_ms()
            await it.clock.advance(1)
            (sent,) = [sent for sent in it.sender.sent if sent.delivery_id == delivery]
            assert sent.at_ms - posted_ms <= 120  # the slots are full: the next one that frees is its
            assert it.count(DELIVERED) >= 5000

    asyncio.run(go())


def test_receivers_that_hang_from_the_start_do_not_fill_what_is_claimed_ahead(world: World) -> None:
    """Sixty hooks whose receivers never answer, each with a queue: a healthy one still gets all of its own."""

    async def go() -> None:
        async with world() as it:
            dead = [f"dead{number}" for number in range(60)]
            for hook_id in dead:
                it.hook(hook_id, concurrency=4)
                await it.post(*[hook_id] * 100, wake=False)
            it.hook("ok")
            it.sender.answer = lambda request: (60, 200) if host_of(request) != "ok" else (0.01, 200)
            it.dispatcher.wake(dead)
            await it.clock.advance(0.5)
            await it.post(*["ok"] * 200)
            await it.clock.advance(0.5)
            assert it.count(DELIVERED) == 200

    asyncio.run(go())


def test_turns_are_fair_between_hooks(world: World) -> None:
    """A hook with a long queue does not go before one with a short one."""

    async def go() -> None:
        async with world(slots=8) as it:
            it.hook("long", concurrency=100)
            it.hook("short", concurrency=100)
            it.sender.answer = lambda _: (0.01, 200)
            await it.post(*["long"] * 300)
            await it.clock.advance(0.1)
            done = len(it.sender.sent)
            await it.post(*["short"] * 10)
            await it.clock.advance(0.1)
            later = [host_of(sent.request) for sent in it.sender.sent[done:]]
            assert later.count("short") == 10
            assert later[:22].count("short") >= 8

    asyncio.run(go())


def test_first_attempts_go_before_retries_and_retries_still_get_a_tenth(world: World) -> None:
    """Under a load of new deliveries, old failures move on at a tenth of the pace."""

    async def go() -> None:
        async with world(slots=10) as it:
            hooks = [f"hook{number}" for number in range(20)]
            for hook_id in hooks:
                it.hook(hook_id)
            it.sender.answer = lambda _: 500
            await it.post(*hooks * 5)
            await it.clock.advance(0.2)
            it.sender.answer = lambda _: (0.01, 200)
            await it.clock.advance(29.7)
            await it.post(*hooks * 45)
            await it.clock.advance(0.3)
            done = len(it.sender.sent)
            await it.clock.advance(0.3)
            window = [it.row(sent.delivery_id).attempts for sent in it.sender.sent[done:]]
            retries = sum(1 for attempts in window if len(attempts) == 2)
            assert 0.05 <= retries / len(window) <= 0.2
            await it.clock.advance(5)
            assert it.count(DELIVERED) == 1000

    asyncio.run(go())


def test_retries_that_hang_leave_half_of_the_slots_to_first_attempts(world: World) -> None:
    """A crowd of dead receivers in retry cannot fill the house."""

    async def go() -> None:
        async with world(slots=20) as it:
            dead = [f"dead{number}" for number in range(30)]
            for hook_id in dead:
                it.hook(hook_id)
            it.hook("ok")
            it.sender.answer = lambda _: 500
            await it.post(*dead)
            it.sender.answer = lambda request: (60, 200) if host_of(request) != "ok" else (0.01, 200)
            await it.clock.advance(35)
            assert it.sender.in_flight == 20
            await it.post(*["ok"] * 20)
            await it.clock.advance(0.5)
            assert it.count(DELIVERED) == 20

    asyncio.run(go())


# -- the store ------------------------------------------------------------------------------------------------


class Flaky:
    """A store whose verbs fail while they are told to."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.failing: set[str] = set()
        self.calls: dict[str, int] = {}

    def __getattr__(self, verb: str) -> Any:
        async def call(*args: Any, **options: Any) -> Any:
            self.calls[verb] = self.calls.get(verb, 0) + 1
            if verb in self.failing:
                raise StoreUnavailable("the disk is full")
            return await getattr(self._store, verb)(*args, **options)

        return call


def test_outcomes_are_kept_until_the_store_takes_them(world: World) -> None:
    """A store that is away loses no outcome, and no further attempts are made whose outcome could not be written."""

    async def go() -> None:
        it = world()
        it.store = flaky = Flaky(it.store)
        async with it:
            it.hook("a", concurrency=2)
            it.sender.answer = lambda _: (1, 200)
            flaky.failing = {"settle"}
            await it.post(*["a"] * 20)
            await it.clock.advance(12)
            assert len(it.sender.sent) <= 4
            flaky.failing = set()
            await it.clock.advance(20)
            assert it.count(DELIVERED) == 20
            assert len(it.sender.sent) == 20

    asyncio.run(go())


def test_claiming_goes_on_when_the_store_is_back(world: World) -> None:
    """Claims that could not be asked for are asked for again."""

    async def go() -> None:
        it = world()
        it.store = flaky = Flaky(it.store)
        async with it:
            it.hook("a")
            flaky.failing = {"claim", "ready", "gone"}
            await it.post("a", "a")
            await it.clock.advance(30)
            assert it.sender.sent == []
            flaky.failing = set()
            await it.clock.advance(1)
            assert it.count(DELIVERED) == 2

    asyncio.run(go())


def test_work_that_nobody_announced_is_found_within_a_second(world: World) -> None:
    """Deliveries that another process queued, and wake-ups that were missed, are found by looking."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            (delivery,) = await it.post("a", wake=False)
            await it.clock.advance(1)
            assert it.row(delivery).status is DELIVERED

    asyncio.run(go())


def test_many_deliveries_take_few_questions_and_few_writes(world: World) -> None:
    """Under load, claims and settlements are batched: far fewer than one call a delivery."""

    async def go() -> None:
        it = world()
        it.store = counted = Flaky(it.store)
        async with it:
            for number in range(10):
                it.hook(f"h{number}")
            it.sender.answer = lambda _: (0.005, 200)
            await it.post(*[f"h{number % 10}" for number in range(3000)])
            await it.clock.advance(2)
            assert it.count(DELIVERED) == 3000
            assert counted.calls["claim"] <= 100
            assert counted.calls["settle"] <= 100

    asyncio.run(go())


def test_a_lost_lease_changes_nothing_and_is_counted(world: World) -> None:
    """An outcome that comes after somebody else has claimed the delivery is not recorded."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: (5, 500)
            (delivery,) = await it.post("a")
            it.row(delivery).owner = "somebody-else"
            await it.clock.advance(10)
            assert it.row(delivery).attempts == []
            assert b"reconciler_leases_lost_total 1.0" in it.metrics.exposition()

    asyncio.run(go())


def test_a_claim_that_waited_too_long_is_given_back_rather_than_attempted(world: World) -> None:
    """After a pause of the process no attempt is begun that could outlive its lease."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=1)
            it.sender.answer = lambda _: (1, 200)
            await it.post("a", "a", "a")
            assert len(it.sender.sent) == 1
            it.clock._now_ms += 27_000
            await it.clock.advance(10)
            assert it.count(DELIVERED) == 3
            assert [len(row.attempts) for row in it.contents.deliveries.values()] == [1, 1, 1]

    asyncio.run(go())


# -- stopping --------------------------------------------------------------------------------------------------


def test_a_graceful_stop_lets_attempts_end_and_gives_the_rest_back(world: World) -> None:
    """What is in flight ends and is recorded; what was claimed ahead is pending again."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=2)
            it.sender.answer = lambda _: (1, 200)
            await it.post(*["a"] * 10)
            stop = asyncio.create_task(it.dispatcher.stop(10))
            await it.clock.advance(2)
            assert stop.done()
            assert it.task.done()
            assert (it.count(DELIVERED), it.count(PENDING), it.count(SENDING)) == (2, 8, 0)
            assert len(it.sender.sent) == 2

    asyncio.run(go())


@pytest.mark.parametrize("grace_s", [0, 3])
def test_a_stop_cuts_off_what_outlives_its_grace(world: World, grace_s: int) -> None:
    """A receiver that hangs does not hold up the end; its delivery is pending again, no attempt counted."""

    async def go() -> None:
        async with world() as it:
            it.hook("a", concurrency=2)
            it.sender.answer = lambda _: (9, 200)
            await it.post(*["a"] * 10)
            stop = asyncio.create_task(it.dispatcher.stop(grace_s))
            await it.clock.advance(grace_s + 0.1)
            assert stop.done()
            assert it.task.done()
            assert (it.count(PENDING), it.count(SENDING)) == (10, 0)
            assert not any(row.attempts for row in it.contents.deliveries.values())

    asyncio.run(go())


def test_an_idle_dispatcher_stops_at_once(world: World) -> None:
    """Nothing to wait for, no waiting."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            await it.post("a")
            await it.clock.advance(0.1)
            stop = asyncio.create_task(it.dispatcher.stop(10))
            await it.clock.run_until_idle()
            assert stop.done()
            assert it.task.done()

    asyncio.run(go())


def test_cancelling_ends_everything_at_once(world: World) -> None:
    """A second signal waits for nobody."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: (9, 200)
            await it.post(*["a"] * 10)
            it.task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await it.task
            assert it.sender.in_flight == 0

    asyncio.run(go())


def test_a_stop_without_a_store_ends_all_the_same(world: World) -> None:
    """What cannot be written at the end is attempted again another time; the program still ends."""

    async def go() -> None:
        it = world()
        it.store = flaky = Flaky(it.store)
        async with it:
            it.hook("a")
            flaky.failing = {"settle", "release"}
            await it.post("a")
            stop = asyncio.create_task(it.dispatcher.stop(1))
            await it.clock.advance(20)
            assert stop.done()
            assert it.task.done()

    asyncio.run(go())


def test_what_a_killed_process_had_claimed_is_attempted_once_its_lease_is_over(world: World) -> None:
    """A new worker takes over, under the same delivery id, no sooner than the lease says."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            it.sender.answer = lambda _: (9, 200)
            (delivery,) = await it.post("a")
            it.task.cancel()
            await asyncio.gather(it.task, return_exceptions=True)
            it.sender.answer = lambda _: 200
            await it.start("worker-2")
            await it.clock.advance(29)
            assert it.times(delivery) == [0]
            await it.clock.advance(3)
            assert it.times(delivery) == [0, 30_000]
            assert it.row(delivery).status is DELIVERED

    asyncio.run(go())


def test_failures_are_classed_for_the_metrics(world: World) -> None:
    """Attempts are counted by outcome, ends by status."""

    async def go() -> None:
        async with world() as it:
            it.hook("a")
            for answer in (SendFailed("dns", "no such name"), 200, EgressRefused("no")):
                it.sender.answer = lambda _, answer=answer: answer
                await it.post("a")
                await it.clock.advance(1)
            text = it.metrics.exposition().decode()
            assert 'reconciler_attempts_total{outcome="dns"} 1.0' in text
            assert 'reconciler_attempts_total{outcome="2xx"} 1.0' in text
            assert 'reconciler_deliveries_total{status="delivered"} 1.0' in text
            assert 'reconciler_deliveries_total{status="refused"} 1.0' in text
            assert 'reconciler_egress_refusals_total{purpose="delivery"} 1.0' in text

    asyncio.run(go())
