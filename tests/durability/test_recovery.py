"""Delivering again what was given up: many, in the background of what is new, and again after an interruption."""

from __future__ import annotations

import json
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY = 1_200
NEW = 20


def post(lab: Any, daemon: Any, numbers: Iterable[int]) -> None:
    """Post events in arrays of a hundred."""
    events = [lab.event(number) for number in numbers]
    for start in range(0, len(events), 100):
        assert daemon.post_event(events[start : start + 100]).status_code == 202


def count(daemon: Any, status: str) -> int:
    """How many deliveries are in a state."""
    return int(daemon.get("/api/v1/status").json()["queue"][status])


def refuse_many(lab: Any) -> Any:
    """A daemon with many deliveries that the egress guard has refused, whose receiver may be reached now."""
    lab.configure("http://10.255.255.1/", concurrency=1)
    daemon = lab.start()
    post(lab, daemon, range(MANY))
    lab.until(lambda: count(daemon, "refused") == MANY)
    lab.configure(concurrency=1)
    daemon.wait_for_log("snapshot.swapped", serial=2)
    return daemon


def test_many_come_again_behind_what_is_new(lab: Any) -> None:
    """New events overtake a thousand redeliveries of the same webhook; all of them keep their ids."""
    daemon = refuse_many(lab)

    done = lab.reconcile(
        "retry", "--status", "refused", "--error", "egress", "--yes", "--json", "--server", daemon.url
    )
    post(lab, daemon, range(MANY, MANY + NEW))

    assert (done.returncode, json.loads(done.stdout)["retried"]) == (0, MANY), done.stderr
    requests = lab.receiver.wait_for(MANY + NEW)
    places = {request.json["conversation"]["id"]: place for place, request in enumerate(requests)}
    waiting = sum(
        1 for number in range(MANY) if places[f"c-{number}"] > max(places[f"c-{MANY + new}"] for new in range(NEW))
    )
    assert waiting > MANY // 2, "new events had to wait for what is delivered again"
    assert len({request.headers["webhook-id"] for request in requests}) == MANY + NEW
    assert lab.idle_account(daemon).over_limit == ()
    assert daemon.stop() == 0


def test_a_retry_that_broke_off_goes_on(lab: Any) -> None:
    """The daemon is killed while it delivers again: the rest is still there, and a second run puts it back, once."""
    daemon = refuse_many(lab)
    with daemon.client as client:
        first = client.post("/api/v1/deliveries/retry", json={"status": "refused", "limit": 700}).json()
    assert (first["matched"], first["retried"], first["remaining"]) == (MANY, 700, MANY - 700)
    lab.receiver.wait_for(100)
    daemon.stop(signal.SIGKILL)
    daemon = lab.start()

    again = lab.reconcile("retry", "--status", "refused", "--yes", "--json", "--server", daemon.url)

    counted = {"matched": MANY - 700, "retried": MANY - 700, "remaining": 0, "held_back": []}
    assert json.loads(again.stdout) == counted
    account = lab.idle_account(daemon)
    assert {len(found) for found in account.deliveries.values()} == {1}
    assert {(found[0].status.value, found[0].round) for found in account.deliveries.values()} == {("delivered", 2)}
    arrived = Counter(request.headers["webhook-id"] for request in lab.receiver.requests)
    assert len(arrived) == MANY
    assert arrived.total() - MANY <= 100, "more came twice than can have been unrecorded"
    assert daemon.stop() == 0
