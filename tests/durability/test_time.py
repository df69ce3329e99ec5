"""Time that stands still, leaps, or runs backwards: what is scheduled keeps to its schedule, and nothing is lost."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pytest

SHIFTED = (sys.executable, str(Path(__file__).with_name("shifted_daemon.py")))
TEN_MINUTES_MS = 10 * 60 * 1000
UNRECORDED = 100
"""What comes twice after a kill at most: in flight, or answered in the last moments and not on the disk yet."""
BEYOND_THE_LEASE_S = 23.0
"""A lease lasts the time-out of the hook, 2 s, and 20 s."""


def shift(lab: Any, shift_ms: int) -> dict[str, str]:
    """Step the wall clock of the daemons that are started so; the environment that makes them listen."""
    made = lab.folder / "shift-made"
    made.write_text(str(shift_ms), encoding="ascii")
    shifted = made.rename(lab.folder / "shift")  # all at once: a daemon may be reading it
    return {"WALL_SHIFT": str(shifted)}


def test_a_daemon_that_was_stopped_beyond_its_leases_goes_on(lab: Any) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT: nothing is lost, and no more comes twice than was in flight."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 50)

    daemon.process.send_signal(signal.SIGSTOP)
    with pytest.raises(AssertionError, match="did not come true"):
        lab.until(lambda: False, patience_s=BEYOND_THE_LEASE_S)
    daemon.process.send_signal(signal.SIGCONT)
    before = len(load.acknowledged)
    lab.until(lambda: len(load.acknowledged) > before + 50)
    load.stop()

    assert set(load.refused) <= {503}
    lab.settle(load, daemon)
    assert daemon.stop() == 0


@pytest.mark.parametrize("step_ms", [TEN_MINUTES_MS, -TEN_MINUTES_MS], ids=["forward", "back"])
def test_a_clock_that_is_stepped_moves_nothing_that_runs(lab: Any, step_ms: int) -> None:
    """Retries come when they were due, leases hold; only the timestamp that is signed follows the clock."""
    lab.configure(retry={"attempts": 5, "schedule": ["3s"], "jitter": 0})
    daemon = lab.start(program=SHIFTED, env=shift(lab, 0))
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 20)
    lab.receiver.answers = [500] * 3
    lab.receiver.wait_for(len(lab.receiver.requests) + 3)

    shift(lab, step_ms)
    before = len(load.acknowledged)
    lab.until(lambda: len(load.acknowledged) > before + 50)
    load.stop()

    lab.settle(load, daemon, in_flight=3)
    stamps = [int(request.headers["webhook-timestamp"]) for request in lab.receiver.requests]
    assert abs(stamps[-1] - stamps[0] - step_ms // 1000) < 60
    assert daemon.stop() == 0


def test_a_clock_that_was_ahead_does_not_hold_up_what_waits(lab: Any) -> None:
    """A retry that was put off under a clock a year ahead comes within its own wait of the next start."""
    lab.configure("http://127.0.0.1:9/", retry={"attempts": 5, "schedule": ["2s"], "jitter": 0})
    daemon = lab.start(program=SHIFTED, env=shift(lab, 365 * 24 * 6 * TEN_MINUTES_MS))
    event = {"id": "e-1", "event": "conversation.started", "conversation": CONVERSATION}
    assert daemon.post_event(event).status_code == 202
    lab.until(lambda: waiting(daemon)["attempts"])
    daemon.stop(signal.SIGKILL)
    lab.configure(retry={"attempts": 5, "schedule": ["2s"], "jitter": 0})

    daemon = lab.start(program=SHIFTED, env=shift(lab, 0))

    lab.receiver.wait_for(1)
    assert daemon.stop() == 0


@pytest.mark.parametrize("step_ms", [TEN_MINUTES_MS, -TEN_MINUTES_MS], ids=["forward", "back"])
def test_a_restart_under_another_time_loses_nothing(lab: Any, step_ms: int) -> None:
    """What was being sent when the daemon was killed is sent by the next one, whatever its clock says."""
    lab.configure()
    daemon = lab.start(program=SHIFTED, env=shift(lab, 0))
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 50)
    daemon.stop(signal.SIGKILL)
    load.stop()

    daemon = lab.start(program=SHIFTED, env=shift(lab, step_ms))

    lab.settle(load, daemon, in_flight=UNRECORDED)
    assert daemon.stop() == 0


CONVERSATION = {
    "id": "c-1",
    "botId": "def-456",
    "channelType": "web",
    "initialMessage": "Hello",
    "createdAt": "2026-03-10T12:00:00.000Z",
}


def waiting(daemon: Any) -> dict[str, Any]:
    """The one delivery that there is."""
    (delivery,) = daemon.get("/api/v1/deliveries").json()["items"]
    return dict(delivery)
