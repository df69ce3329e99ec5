"""No room on the disk: nothing is promised, nothing is lost, and it goes on by itself when there is room again."""

from __future__ import annotations

import contextlib
import resource
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

DISK = "mkdir -p state && mount -t tmpfs -o size=24m,mode=700 tmpfs state"


def fill(path: Path) -> None:
    """Take what is left of a disk, to the last page."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_full_disk_refuses_events_and_loses_none(lab: Any) -> None:
    """While full: 503 with advice, never 202; alive, but not ready. With room again, what was promised is kept."""
    lab.configure()
    daemon = lab.start(within=lab.within(DISK))
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 50)

    fill(daemon.state / "filler")
    lab.until(lambda: load.refused[503] > 20)
    before = len(load.acknowledged)
    lab.until(lambda: daemon.get("/readyz").status_code == 503)
    not_ready = daemon.get("/readyz").json()
    told = lab.reconcile("status", "--server", daemon.url, env={"RECONCILER_TOKEN": daemon.token})
    lab.until(lambda: "reconciler_store_up 0.0" in daemon.get("/metrics").text)
    assert daemon.get("/healthz").status_code == 200
    while_full = len(load.acknowledged) - before
    (daemon.state / "filler").unlink()
    lab.until(lambda: len(load.acknowledged) > before + 50)
    lab.until(lambda: daemon.get("/readyz").status_code == 200)
    lab.until(lambda: "reconciler_store_up 1.0" in daemon.get("/metrics").text)
    load.stop()

    assert while_full == 0, "something was acknowledged while nothing could be written"
    assert "warning: the store cannot be written" in told.stderr
    assert not_ready == {"status": "not ready", "reasons": ["the store cannot be written"]}
    assert (set(load.refused), load.without_advice) == ({503}, 0)
    lab.settle(load, daemon)
    assert daemon.stop() == 0


def test_a_file_that_may_not_grow_refuses_events_and_loses_none(lab: Any) -> None:
    """A quota's EFBIG is no other trouble than a full disk, and passes like it."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 50)
    log = lab.database.with_name("reconciler.db-wal")
    _, most = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)

    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, most))
    lab.until(lambda: load.refused[503] > 20)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (most, most))
    before = len(load.acknowledged)
    lab.until(lambda: len(load.acknowledged) > before + 50)
    load.stop()

    assert (set(load.refused), load.without_advice) == ({503}, 0)
    lab.settle(load, daemon)
    assert daemon.stop() == 0


def test_an_edit_made_while_nothing_can_be_written_takes_effect_later(lab: Any) -> None:
    """Nobody has to touch the files again: once there is room they are applied, and the wait was logged once."""
    lab.configure()
    daemon = lab.start()
    log = lab.database.with_name("reconciler.db-wal")
    _, most = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)

    def files() -> Any:
        return daemon.get("/api/v1/status").json()["files"]

    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (log.stat().st_size, most))
    lab.configure(description="edited")
    lab.until(lambda: files()["outcome"] == "failed")
    first_at = files()["at"]
    lab.until(lambda: files()["at"] != first_at)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (most, most))

    lab.until(lambda: files()["outcome"] == "applied")
    assert daemon.get("/api/v1/hooks/support-bot/crm").json()["spec"]["description"] == "edited"
    assert daemon.stop() == 0
    assert sum('"files.refused"' in line for line in daemon.raw_log) == 1


def test_a_daemon_does_not_start_without_room(lab: Any) -> None:
    """It says what is wrong and exits 1: a supervisor may try again."""
    lab.configure()

    code, said = lab.failing_start(
        within=lab.within(f"{DISK} && (dd if=/dev/zero of=state/filler bs=4096 2>/dev/null || true)")
    )

    assert code == 1
    assert "disk is full" in said or "No space left" in said
