"""A store that is always written to stays as large as what it is told to keep, and never forgets what still waits."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

QUICK = (sys.executable, str(Path(__file__).with_name("shifted_daemon.py")))
KEPT = 300
ROUND = 1_500


def test_the_file_does_not_grow_with_what_is_pruned(lab: Any) -> None:
    """Round after round of events that come and go: the file is never larger than with one round unpruned."""
    lab.configure(concurrency=16)
    daemon = lab.start("--retention-count", str(KEPT), program=QUICK, env={"PRUNE_EVERY_S": "3600"})
    post(lab, daemon, range(KEPT + ROUND))
    lab.until(lambda: queue(daemon) == {"delivered": KEPT + ROUND, "waiting": 0}, patience_s=60)
    whole = pages(daemon)
    assert daemon.stop() == 0

    daemon = lab.start("--retention-count", str(KEPT), program=QUICK, env={"PRUNE_EVERY_S": "0.1"})
    lab.until(lambda: pruned(daemon), patience_s=60)
    sizes = []
    for number in range(1, 6):
        first = KEPT + number * ROUND
        post(lab, daemon, range(first, first + ROUND))
        lab.until(lambda: pruned(daemon), patience_s=60)
        sizes.append(pages(daemon))

    assert max(sizes) <= 1.1 * whole, (whole, sizes)
    assert queue(daemon)["delivered"] <= KEPT
    assert daemon.stop() == 0


def post(lab: Any, daemon: Any, numbers: range) -> None:
    """Post these events, a hundred at a time."""
    for start in range(numbers.start, numbers.stop, 100):
        events = [lab.event(number) for number in range(start, start + 100)]
        assert daemon.post_event(events).status_code == 202


def pages(daemon: Any) -> int:
    """The size of the database."""
    size: int = daemon.get("/api/v1/status").json()["store"]["pages"]
    return size


def pruned(daemon: Any) -> bool:
    """Whether everything is delivered, and retention has caught up."""
    counts = queue(daemon)
    return not counts["waiting"] and counts["delivered"] <= KEPT


def test_what_waits_is_never_removed(lab: Any) -> None:
    """However little is to be kept, and however short: what has not come to its end stays, and is delivered."""
    configure_two(lab, "http://127.0.0.1:9/")
    daemon = lab.start("--retention", "1ms", "--retention-count", "1", program=QUICK, env={"PRUNE_EVERY_S": "0.1"})
    assert daemon.post_event([lab.event(number) for number in range(100)]).status_code == 202
    lab.until(lambda: queue(daemon) == {"delivered": 0, "waiting": 100})
    configure_two(lab, f"{lab.receiver.url}/patient")

    requests = lab.receiver.wait_for(100, where=lambda request: request.path == "/patient")

    assert len({request.headers["webhook-id"] for request in requests}) == 100
    lab.until(lambda: queue(daemon) == {"delivered": 0, "waiting": 0})
    assert daemon.stop() == 0


def configure_two(lab: Any, url: str) -> None:
    """A hook that works, and one that posts to `url` and is patient, for the same events."""
    lab.configure(retry={"attempts": 9, "schedule": ["500ms"]})
    document = json.loads((lab.folder / "hooks.yaml").read_text())
    webhooks = document["bots"]["support-bot"]["webhooks"]
    webhooks["patient"] = {**webhooks["crm"], "url": url}
    (lab.folder / "hooks.yaml").write_text(json.dumps(document))


def queue(daemon: Any) -> dict[str, int]:
    """How many deliveries are kept that have ended well, and how many wait."""
    counts = daemon.get("/api/v1/status").json()["queue"]
    return {"delivered": counts["delivered"], "waiting": counts["pending"] + counts["sending"]}
