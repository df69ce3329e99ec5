"""A store that is none, or not this one's, or somebody else's: refused with a word, and left as it is."""

from __future__ import annotations

import hashlib
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def text(database: Path) -> None:
    """A text file."""
    database.write_text("dear diary\n" * 1000)


def noise_of(size: int) -> bytes:
    """Bytes without any sense, the same every time."""
    return hashlib.shake_128(b"noise").digest(size)


def noise(database: Path) -> None:
    """Whatever the disk gave back."""
    database.write_bytes(noise_of(64 * 1024))


def foreign(database: Path) -> None:
    """Another program's database."""
    database.unlink()
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE contacts (name TEXT)")
    connection.close()


def damaged(database: Path) -> None:
    """The store with everything after its first page overwritten."""
    content = bytearray(database.read_bytes())
    content[4096:] = noise_of(len(content) - 4096)
    database.write_bytes(content)


def cut(database: Path) -> None:
    """The store as a copy that was broken off."""
    database.write_bytes(database.read_bytes()[: 4096 * 3 + 100])


def newer(database: Path) -> None:
    """The store of a later version."""
    with sqlite3.connect(database) as connection:
        connection.execute("PRAGMA user_version = 999")
    connection.close()


def older(database: Path) -> None:
    """The store of a version that was never released."""
    with sqlite3.connect(database) as connection:
        connection.execute("ALTER TABLE resource DROP COLUMN moved_from")
    connection.close()


@pytest.mark.parametrize("spoil", [text, noise, foreign, damaged, cut, newer, older])
def test_it_is_refused_and_not_touched(lab: Any, spoil: Callable[[Path], None]) -> None:
    """The daemon, an apply, a plan and a look at the log all exit 66, name the file, and change nothing in it."""
    lab.configure()
    assert lab.reconcile("--yes").returncode == 0
    for companion in ("-wal", "-shm"):
        lab.database.with_name(lab.database.name + companion).unlink(missing_ok=True)
    spoil(lab.database)
    before = lab.database.read_bytes()

    code, said = lab.failing_start()
    answers = [lab.reconcile("--plan"), lab.reconcile("--yes"), lab.reconcile("hooks")]

    assert code == 66, said
    assert said.startswith("error: ")
    for answer in answers:
        assert answer.returncode == 66, answer.stderr
        assert "Traceback" not in answer.stderr
        assert answer.stdout == ""
    assert lab.database.read_bytes() == before


def test_a_second_daemon_is_refused_and_the_first_goes_on(lab: Any) -> None:
    """Two daemons would deliver everything twice: the second exits 5 and names the first."""
    lab.configure()
    first = lab.start()
    load = lab.load(first)

    code, said = lab.failing_start()

    assert code == 5
    assert str(first.process.pid) in said
    before = len(load.acknowledged)
    lab.until(lambda: len(load.acknowledged) > before + 20)
    load.stop()
    lab.settle(load, first, in_flight=0)
    assert first.stop() == 0


def test_a_lock_dies_with_its_daemon(lab: Any) -> None:
    """After kill -9 nothing has to be cleared away before the next one starts."""
    lab.configure()
    lab.start().stop(signal.SIGKILL)

    assert lab.start().stop() == 0


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
def test_a_store_that_is_taken_away_acknowledges_nothing_more(lab: Any, *, replaced: bool) -> None:
    """What would be written to a file that no start will read again is refused; put back, the file goes on."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 20)
    load.stop()
    lab.until(lambda: not daemon.get("/api/v1/status").json()["queue"]["pending"])
    aside = lab.database.with_name("aside.db")
    lab.database.rename(aside)
    if replaced:
        lab.database.write_bytes(aside.read_bytes())

    lab.until(lambda: daemon.post_event(lab.event(1_000_000)).status_code == 503)
    assert "Retry-After" in daemon.post_event(lab.event(1_000_001)).headers
    lab.until(lambda: daemon.get("/readyz").status_code == 503)
    aside.rename(lab.database)

    lab.until(lambda: daemon.post_event(lab.event(1_000_002)).status_code == 202)
    lab.until(lambda: daemon.get("/readyz").status_code == 200)
    kept = lab.idle_account(daemon).deliveries.keys()
    assert daemon.stop() == 0
    assert load.acknowledged <= kept
    assert "e-1000002" in kept
    assert any("was removed or replaced" in line for line in daemon.raw_log)


def test_a_log_that_is_taken_away_is_folded_in_at_the_end(lab: Any) -> None:
    """Without its -wal the store acknowledges nothing more; an orderly stop still saves what was acknowledged."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 20)
    lab.database.with_name("reconciler.db-wal").unlink()
    lab.until(lambda: load.refused[503] > 5)
    load.stop()
    assert daemon.stop() == 0

    daemon = lab.start()
    assert load.acknowledged <= lab.idle_account(daemon).deliveries.keys()
    assert daemon.stop() == 0


@pytest.mark.parametrize(
    "mount",
    [
        "mount --bind state state && mount -o remount,ro,bind state",
        "mount --bind state/reconciler.db state/reconciler.db && mount -o remount,ro,bind state/reconciler.db",
    ],
    ids=["folder", "file"],
)
def test_what_cannot_be_written_can_still_be_read(lab: Any, mount: str) -> None:
    """A daemon says so and exits 1, and so does an apply; plan, hooks and the log read as before."""
    lab.configure()
    daemon = lab.start()
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 10)
    load.stop()
    assert daemon.stop() == 0
    lab.configure(description="changed")
    before = lab.database.read_bytes()
    within = lab.within(mount)

    code, said = lab.failing_start(within=within)
    applied = lab.reconcile("--yes", within=within)

    assert code == 1, said
    assert any(word in said.lower() for word in ("read-only", "permissions"))
    assert applied.returncode == 1, applied.stderr
    assert any(word in applied.stderr.lower() for word in ("read-only", "permissions"))
    assert "1 to change" in lab.reconcile("--plan", within=within).stdout
    assert "support-bot/crm" in lab.reconcile("hooks", within=within).stdout
    assert lab.reconcile("deliveries", "--json", within=within).returncode == 0
    assert lab.database.read_bytes() == before
