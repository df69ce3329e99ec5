"""What follows an attempt is decided by the answer, the budget and the receiver's word."""

from __future__ import annotations

import pytest

from reconciler.model.delivery import AttemptError, DeliveryStatus
from reconciler.model.exchange import Reply
from reconciler.model.hook import Retry
from reconciler.model.outcome import Decision, decide, retry_after_ms

RETRY = Retry(attempts=3, schedule_ms=(30_000, 60_000), jitter=0.0)
NOW_MS = 1_000_000
WALL_S = 1_773_144_000  # 2026-03-10T12:00:00Z


def answer(status: int, **headers: str) -> Reply:
    """A reply; `_` in a header's name stands for `-`."""
    return Reply(
        status=status, headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()), body=b""
    )


def after(reply: Reply | None = None, *, error: AttemptError | None = None, attempt: int = 1) -> Decision:
    """The decision at NOW_MS."""
    return decide(attempt=attempt, retry=RETRY, now_ms=NOW_MS, wall_s=WALL_S, chance=0.5, reply=reply, error=error)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 226, 299])
def test_any_2xx_is_delivered(status: int) -> None:
    """Nothing is due any more."""
    assert after(answer(status)) == Decision(status=DeliveryStatus.DELIVERED, outcome="2xx")
    assert not after(answer(status)).is_failure


@pytest.mark.parametrize(
    ("status", "outcome"), [(301, "3xx"), (308, "3xx"), (400, "4xx"), (404, "4xx"), (500, "5xx"), (599, "5xx")]
)
def test_any_other_answer_is_a_failed_attempt_that_waits_its_turn(status: int, outcome: str) -> None:
    """A redirect fails like an error does; the wait runs from the end of the attempt."""
    decision = after(answer(status), attempt=2)
    assert decision == Decision(
        status=DeliveryStatus.PENDING, outcome=outcome, due_ms=NOW_MS + 60_000, error=f"http-{status}"
    )
    assert decision.is_failure


@pytest.mark.parametrize("error", [AttemptError.TIMEOUT, AttemptError.DNS, AttemptError.TLS, AttemptError.INTERNAL])
def test_no_answer_is_a_failed_attempt(error: AttemptError) -> None:
    """The error's class is kept."""
    decision = after(error=error)
    assert (decision.status, decision.error, decision.due_ms) == (DeliveryStatus.PENDING, error, NOW_MS + 30_000)


def test_the_last_failed_attempt_exhausts_the_delivery() -> None:
    """Attempts counts the first try: of three, the third is the last."""
    assert after(answer(500), attempt=2).status is DeliveryStatus.PENDING
    last = after(answer(500), attempt=3)
    assert (last.status, last.due_ms) == (DeliveryStatus.EXHAUSTED, None)
    assert after(error=AttemptError.TIMEOUT, attempt=3).status is DeliveryStatus.EXHAUSTED
    assert after(answer(200), attempt=3).status is DeliveryStatus.DELIVERED


@pytest.mark.parametrize("error", [AttemptError.EGRESS, AttemptError.UNRENDERABLE])
def test_what_was_never_asked_is_refused_and_no_failure_of_the_receiver(error: AttemptError) -> None:
    """A refusal ends the delivery at once, even with attempts left."""
    decision = after(error=error)
    assert (decision.status, decision.error, decision.due_ms) == (DeliveryStatus.REFUSED, error, None)
    assert not decision.is_failure


def test_410_parks_the_hook_and_leaves_the_delivery_waiting() -> None:
    """The waiting ones wait; a delivery without attempts left does not get another by that."""
    decision = after(answer(410))
    assert (decision.gone, decision.status) == (True, DeliveryStatus.PENDING)
    last = after(answer(410), attempt=3)
    assert (last.gone, last.status) == (True, DeliveryStatus.EXHAUSTED)
    assert not after(answer(404)).gone


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_delays_the_attempt_and_the_whole_hook(status: int) -> None:
    """A longer wait than the schedule's is honoured, a shorter one never shortens it."""
    long = after(answer(status, Retry_After="120"))
    assert (long.due_ms, long.throttle_until_ms) == (NOW_MS + 120_000, NOW_MS + 120_000)
    short = after(answer(status, Retry_After="5"))
    assert (short.due_ms, short.throttle_until_ms) == (NOW_MS + 30_000, NOW_MS + 5_000)


def test_retry_after_throttles_the_hook_after_the_last_attempt_too() -> None:
    """The receiver's word is about the hook, not about this delivery."""
    last = after(answer(503, retry_after="60"), attempt=3)
    assert (last.status, last.throttle_until_ms) == (DeliveryStatus.EXHAUSTED, NOW_MS + 60_000)


def test_retry_after_means_nothing_on_other_answers() -> None:
    """Only 429 and 503 speak for the whole hook."""
    assert after(answer(500, Retry_After="600")).throttle_until_ms is None


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("0", 0),
        ("7", 7_000),
        ("0007", 7_000),
        ("3600", 3_600_000),
        ("3601", 3_600_000),
        ("9" * 4_000, 3_600_000),
        ("Tue, 10 Mar 2026 12:02:00 GMT", 120_000),
        ("Tuesday, 10-Mar-26 12:02:00 GMT", 120_000),
        ("Tue Mar 10 12:02:00 2026", 120_000),
        ("Tue, 10 Mar 2026 11:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600_000),
    ],
)
def test_both_forms_are_read_and_bounded_to_an_hour(value: str, ms: int) -> None:
    """Seconds, or any of the three HTTP dates."""
    assert retry_after_ms(answer(429, Retry_After=value), wall_s=WALL_S) == ms


@pytest.mark.parametrize(
    "value",
    [
        "",
        "-1",
        "+5",
        "1.5",
        "soon",
        "٣",
        "1e9",
        "\x00",
        "Tue, 99 Mar 2026 12:02:00 GMT",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Tue, 10 Mar 2026 99:99:99 GMT",
        "a" * 10_000,
        ", , , , ,",
    ],
)
def test_a_value_that_makes_no_sense_asks_for_nothing(value: str) -> None:
    """Hostile values are harmless."""
    assert retry_after_ms(answer(429, Retry_After=value), wall_s=WALL_S) is None


def test_a_date_counts_from_the_receivers_own_clock() -> None:
    """Two machines whose clocks differ by an hour still agree on two minutes; a bad Date falls back to ours."""
    skewed = answer(503, Date="Tue, 10 Mar 2026 13:00:00 GMT", Retry_After="Tue, 10 Mar 2026 13:02:00 GMT")
    assert retry_after_ms(skewed, wall_s=WALL_S) == 120_000
    dateless = answer(503, Date="whenever", Retry_After="Tue, 10 Mar 2026 12:02:00 GMT")
    assert retry_after_ms(dateless, wall_s=WALL_S) == 120_000


def test_the_first_of_several_headers_counts() -> None:
    """As proxies read them."""
    reply = Reply(status=429, headers=(("retry-after", "1"), ("Retry-After", "9")), body=b"")
    assert retry_after_ms(reply, wall_s=WALL_S) == 1_000
