"""When there is something to tell of a webhook, and what is told."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.event import with_delivery_id
from reconciler.model.hook import EventType, NoticeType
from reconciler.model.notice import (
    EXHAUSTED_EVERY_MS,
    FAILING_MS_MIN,
    GONE_AGAIN_MS,
    QUIET_MS,
    SECONDS_A_NOTICE,
    Allowance,
    Ending,
    Notice,
    Trouble,
    after_attempt,
    example_notice,
    notice_payload,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.model.snapshot import Bot

MINUTE = 60_000
FAILED, DELIVERED, GONE = Ending.FAILED, Ending.DELIVERED, Ending.GONE


def told(endings: Iterable[tuple[int, Ending]]) -> list[tuple[int, NoticeType]]:
    """What is told, and when, of attempts that end so at these times."""
    trouble: Trouble | None = None
    heard = []
    for at_ms, ending in endings:
        trouble, notice = after_attempt(trouble, ending, at_ms)
        if notice is not None:
            heard.append((at_ms, notice))
    return heard


def test_a_busy_webhook_is_failing_when_ten_attempts_in_a_row_have_failed() -> None:
    """The tenth failure tells; none before and none after it does."""
    assert told((at, FAILED) for at in range(50)) == [(9, NoticeType.FAILING)]


def test_a_quiet_webhook_is_failing_when_its_few_attempts_have_failed_for_minutes() -> None:
    """Three failures over five minutes tell; three at once do not."""
    assert told([(0, FAILED), (1, FAILED), (2, FAILED)]) == []
    spread = [(0, FAILED), (MINUTE, FAILED), (FAILING_MS_MIN, FAILED)]
    assert told(spread) == [(FAILING_MS_MIN, NoticeType.FAILING)]
    assert told([(0, FAILED), (FAILING_MS_MIN, FAILED)]) == []


def test_failures_with_a_success_between_them_are_no_trouble() -> None:
    """Only an unbroken run counts."""
    assert told((at, DELIVERED if at % 10 == 9 else FAILED) for at in range(100)) == []


def test_recovery_is_told_once_and_only_of_what_was_told() -> None:
    """The first success after a told failure says so."""
    endings = [*((at, FAILED) for at in range(10)), (20, DELIVERED), (21, DELIVERED), (22, FAILED), (23, DELIVERED)]
    assert told(endings) == [(9, NoticeType.FAILING), (20, NoticeType.RECOVERED)]


def test_a_webhook_that_comes_and_goes_is_told_of_seldom() -> None:
    """Between two notices that one webhook is failing lies the quiet time, whatever happens between them."""
    endings = [(at * 1000 + n, FAILED if n < 10 else DELIVERED) for at in range(0, 3600, 20) for n in range(11)]
    times = [at_ms for at_ms, notice in told(endings) if notice is NoticeType.FAILING]
    assert len(times) > 1
    assert all(later - earlier >= QUIET_MS for earlier, later in itertools.pairwise(times))


def test_gone_is_told_at_once_and_again_only_after_another_chance() -> None:
    """Attempts that were in flight beside the first 410 tell nothing; one a minute later is news."""
    endings = [(0, GONE), (5, GONE), (GONE_AGAIN_MS - 1, GONE), (GONE_AGAIN_MS, GONE)]
    assert told(endings) == [(0, NoticeType.GONE), (GONE_AGAIN_MS, NoticeType.GONE)]
    assert told([(0, GONE), (GONE_AGAIN_MS, DELIVERED)])[1:] == [(GONE_AGAIN_MS, NoticeType.RECOVERED)]


def test_trouble_that_is_over_is_forgotten_when_the_quiet_time_has_passed() -> None:
    """Nothing is kept of a webhook for ever."""
    trouble: Trouble | None = None
    for at in range(10):
        trouble, _ = after_attempt(trouble, FAILED, at)
    assert trouble is not None
    assert not trouble.is_over(QUIET_MS * 2)
    trouble, _ = after_attempt(trouble, DELIVERED, 10)
    assert not trouble.is_over(11)
    assert trouble.is_over(9 + QUIET_MS)


@given(st.lists(st.tuples(st.integers(0, 20 * MINUTE), st.sampled_from(Ending)), max_size=200))
def test_notices_alternate_between_trouble_and_recovery(steps: list[tuple[int, Ending]]) -> None:
    """No recovery is told without trouble before it, and no two in a row."""
    now_ms, endings = 0, []
    for step_ms, ending in steps:
        now_ms += step_ms
        endings.append((now_ms, ending))
    in_trouble = False
    for _, notice in told(endings):
        assert notice is not NoticeType.RECOVERED or in_trouble
        in_trouble = notice is not NoticeType.RECOVERED


@given(st.lists(st.floats(0, 10), max_size=300))
def test_notices_are_bounded_whatever_happens(pauses: list[float]) -> None:
    """Thirty at once, then one every two seconds, however many are asked for."""
    allowance, now_s, given_out = Allowance(), 0.0, 0
    for pause in pauses:
        now_s += pause
        allowance, allowed = allowance.taken(now_s)
        given_out += allowed
    assert given_out <= 30 + now_s / SECONDS_A_NOTICE + 1e-6
    if len(pauses) <= 30:
        assert given_out == len(pauses)


@pytest.mark.parametrize("kind", list(NoticeType))
def test_a_notice_names_the_webhook_and_takes_a_delivery_id(kind: NoticeType, support: Bot) -> None:
    """Every kind is a payload that `deliveryId` fits into as the second key."""
    hook = support.hooks[EventType.CONVERSATION_STARTED][0]
    notice = Notice(type=kind, hook_id=hook.id, at_ms=EXHAUSTED_EVERY_MS, since_ms=0, error="timeout", count=3)

    payload: dict[str, Any] = orjson.loads(
        with_delivery_id(orjson.dumps(notice_payload(notice, hook, suppressed=2)), kind.value, "d-1")
    )

    assert list(payload)[:4] == ["event", "deliveryId", "timestamp", "webhook"]
    assert payload["event"] == kind.value
    assert payload["timestamp"] == "1970-01-01T00:01:00.000Z"
    assert payload["webhook"] == {"id": hook.id, "address": hook.address, "type": hook.type.value}
    assert payload["suppressed"] == 2


def test_the_example_is_a_notice(support: Bot) -> None:
    """What a test sends has the shape of the real thing."""
    kind, payload = example_notice(support.hooks[EventType.CONVERSATION_STARTED][0], now_ms=FAILING_MS_MIN)

    assert kind is NoticeType.FAILING
    assert payload["since"] == "1970-01-01T00:00:00.000Z"
