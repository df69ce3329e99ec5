# ruff: noqa: ASYNC240 - a test may look at a file while nothing else runs
"""The file: who may open it how, and what is refused."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from reconciler.errors import StateUnreadable, StoreLocked, StoreUnavailable, UsageError
from reconciler.model.delivery import DeliveryFilter
from reconciler.model.resource import Key, Kind, Resource
from reconciler.store.connect import open_store
from reconciler.store.port import Access, Commit
from reconciler.store.sqlite import sql

if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    return {
        str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")
    }


async def test_every_connection_is_durable(opening: Any, event: Any, runner: asyncio.Runner) -> None:
    """WAL and synchronous=FULL on whatever connection is made, and readers cannot write."""
    made: list[apsw.Connection] = []
    apsw.connection_hooks.append(made.append)
    try:
        writer = await opening(Access.DAEMON)
        await writer.accept([event("e", "h")], serial=0)
        await asyncio.gather(*(writer.stats() for _ in range(8)))
        reader = await opening(Access.READ)
        await reader.stats()
        pragmas = [(one.pragma("journal_mode"), one.pragma("synchronous"), one.pragma("query_only")) for one in made]
    finally:
        apsw.connection_hooks.remove(made.append)
    assert len(made) >= 3
    assert [pragma[:2] for pragma in pragmas] == [("wal", 2)] * len(made)
    assert [pragma[2] for pragma in pragmas] == [0] + [1] * (len(made) - 1)


LOOK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM event").fetchall()
connection.close()
"""


async def test_another_program_that_looks_in_does_not_take_the_log_away(
    opening: Any, event: Any, path: Path, runner: asyncio.Runner
) -> None:
    """Whoever opens and closes the database beside the daemon is never taken for its last user.

    Were the daemon's locks lost, the visitor would remove the log, and with it all that comes after.
    """
    store = await opening(Access.DAEMON)
    await store.accept([event("before", "h")], serial=0)
    await asyncio.gather(*(store.stats() for _ in range(8)))  # by readers of its own
    log = path.with_name(path.name + "-wal")
    inode = log.stat().st_ino
    visitor = await asyncio.create_subprocess_exec(sys.executable, "-c", LOOK, str(path))
    assert await visitor.wait() == 0
    await store.accept([event("after", "h")], serial=0)
    assert log.stat().st_ino == inode
    again = await opening(Access.READ)
    assert (await again.stats()).events == 2


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE resource ADD COLUMN more TEXT",
        "UPDATE resource SET kind = 'cron'",
        "UPDATE resource SET spec = '{'",
        "DELETE FROM meta",
        "DROP TABLE resource",
    ],
)
async def test_a_state_of_another_version_is_unreadable_not_a_riddle(
    opening: Any, path: Path, change: str, runner: asyncio.Runner
) -> None:
    """Rows that this version cannot understand are said to be so, by every way of opening."""
    store = await opening(Access.WRITE)
    bot = Resource(key=Key(Kind.BOT, "bot"), spec={"name": "Bot"})
    change_of_state = Commit(expected_lineage=None, expected_serial=0, lineage="l", salt=b"s", upserts=(bot,))
    await store.commit(change_of_state, now_ms=1, verify=lambda _: None)
    await store.close()
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    for access in (Access.READ, Access.WRITE):
        with pytest.raises(StateUnreadable, match=r"version|damaged"):
            await (await opening(access)).read_state()


async def test_what_is_made_is_for_its_owner_only(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """Folder 0700; database, its companions and the lock 0600."""
    store = await opening(Access.DAEMON)
    await store.write_note("a", "b")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    files = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert files == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "store.db.lock"], 0o600)


async def test_a_folder_that_was_there_keeps_its_mode(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """Only what is made here is made private."""
    path.parent.mkdir(mode=0o755)
    await opening(Access.WRITE)
    assert path.parent.stat().st_mode & 0o777 == 0o755


async def test_closing_folds_the_log_into_the_file(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """A closed store is one file, and the lock is free."""
    store = await opening(Access.DAEMON)
    await store.write_note("a", "b")
    await store.stats()
    await store.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db.lock"]
    again = await opening(Access.DAEMON)
    assert await again.read_note("a") == "b"


async def test_reading_changes_nothing_beside_a_daemon(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """A reader sees what is committed and leaves every file as it is."""
    daemon = await opening(Access.DAEMON)
    await daemon.write_note("a", "b")
    before = tree(path.parent)
    reader = await opening(Access.READ)
    assert await reader.read_note("a") == "b"
    await daemon.write_note("a", "c")
    assert await reader.read_note("a") == "c"
    with pytest.raises(StoreUnavailable, match="reading only"):
        await reader.write_note("a", "d")
    await reader.close()
    assert set(tree(path.parent)) == set(before)


async def test_reading_a_closed_store_leaves_at_most_empty_companions(
    opening: Any, path: Path, runner: asyncio.Runner
) -> None:
    """The database itself keeps every byte and its time."""
    await (await opening(Access.WRITE)).close()
    before = tree(path.parent)
    reader = await opening(Access.READ)
    await reader.read_state()
    await reader.close()
    after = tree(path.parent)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"store.db-wal", "store.db-shm"}
    assert after.get("store.db-wal", (0, 0))[0] == 0


@pytest.fixture
def frozen(path: Path, opening: Any, runner: asyncio.Runner) -> Iterator[Path]:
    """A closed store with a note, in a folder where nothing can be made, not even by root."""

    async def fill() -> None:
        store = await opening(Access.WRITE)
        await store.write_note("a", "b")
        await store.close()

    runner.run(fill())
    path.parent.chmod(0o555)
    path.chmod(0o444)
    yield path
    path.parent.chmod(0o755)


NOBODY = 65_534

READ_AS_NOBODY = """
import asyncio, os, sys
from reconciler.store.connect import open_store
from reconciler.store.port import Access
import reconciler.store.memory, reconciler.store.sqlite
async def main():
    async with await open_store("sqlite:" + sys.argv[1], Access.READ) as store:
        print(await store.read_note("a"), (await store.read_state()).serial)
if os.getuid() == 0:
    os.setgid(65534); os.setuid(65534)
asyncio.run(main())
"""


def open_to_all(path: Path) -> None:
    """Let others walk down to a temporary file of this test."""
    for folder in path.parents:
        if folder.owner() == path.owner() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)


def test_a_read_only_folder_can_be_read(frozen: Path) -> None:
    """Where companions cannot be made, the file is read as it stands, and nothing is left."""
    open_to_all(frozen)
    before = tree(frozen.parent)
    done = subprocess.run(
        [sys.executable, "-c", READ_AS_NOBODY, str(frozen)], check=False, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("b 0\n", "")
    assert tree(frozen.parent) == before


def test_a_read_only_folder_with_an_unread_log_is_refused_with_advice(
    path: Path, opening: Any, runner: asyncio.Runner
) -> None:
    """What a killed daemon left in the log is not passed over in silence."""

    async def fill() -> None:
        store = await opening(Access.WRITE)
        await store.write_note("a", "b")

    runner.run(fill())
    left = path.parent.parent / "left"
    left.mkdir()
    for name in ("store.db", "store.db-wal"):
        shutil.copyfile(path.with_name(name), left / name)
        (left / name).chmod(0o444)
    left.chmod(0o555)
    open_to_all(left / "store.db")
    done = subprocess.run(
        [sys.executable, "-c", READ_AS_NOBODY, str(left / "store.db")], check=False, capture_output=True, text=True
    )
    left.chmod(0o755)
    assert "StateUnreadable" in done.stderr
    assert "copy the folder somewhere writable" in done.stderr


async def test_a_second_daemon_is_refused_and_told_whose_store_it_is(
    opening: Any, path: Path, runner: asyncio.Runner
) -> None:
    """The holder's pid is named; commands beside it are fine; closing frees the store."""
    first = await opening(Access.DAEMON)
    with pytest.raises(StoreLocked, match=f"pid {os.getpid()}"):
        await opening(Access.DAEMON)
    link = path.parent.with_name("link")
    link.symlink_to(path.parent)
    with pytest.raises(StoreLocked):
        await open_store(f"sqlite:{link}/store.db", Access.DAEMON)
    command = await opening(Access.WRITE)
    await command.write_note("a", "b")
    assert await first.read_note("a") == "b"
    await first.close()
    await opening(Access.DAEMON)


HOLD = """
import asyncio, sys
from reconciler.store.connect import open_store
from reconciler.store.port import Access
async def main():
    store = await open_store("sqlite:" + sys.argv[1], Access.DAEMON)
    await store.write_note("a", "b")
    print("held", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_a_killed_daemon_holds_nothing(path: Path, opening: Any, runner: asyncio.Runner) -> None:
    """The lock goes with the process, and its committed work stays."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        with pytest.raises(StoreLocked, match=f"pid {child.pid}"):
            runner.run(opening(Access.DAEMON))
        child.send_signal(signal.SIGKILL)
        child.wait()

    async def look() -> None:
        again = await opening(Access.DAEMON)
        assert await again.read_note("a") == "b"

    runner.run(look())


def not_a_database(path: Path) -> None:
    """A text."""
    path.write_text("version: 1\nbots: {}\n" * 100, encoding="ascii")


def another_program_s(path: Path) -> None:
    """A good database with other tables."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mail (id)")
    connection.close()


def a_later_version_s(path: Path) -> None:
    """A store of a format that is not known yet."""
    connection = apsw.Connection(str(path))
    connection.execute(sql.SCHEMA)
    connection.execute(f"PRAGMA user_version = {sql.SCHEMA_VERSION + 1}")
    connection.close()


def cut_short(path: Path) -> None:
    """A store whose end is missing."""
    connection = apsw.Connection(str(path))
    connection.execute(sql.SCHEMA)
    connection.close()
    os.truncate(path, 5_000)


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("make", [not_a_database, another_program_s, a_later_version_s, cut_short])
async def test_what_is_not_ours_is_refused_and_left_alone(
    make: Any, access: Access, opening: Any, path: Path, runner: asyncio.Runner
) -> None:
    """Foreign, damaged and newer files end in an error that names the file, and keep every byte."""
    path.parent.mkdir()
    make(path)
    before = path.read_bytes()
    with pytest.raises(StateUnreadable, match=r"store\.db"):
        await opening(access)
    assert path.read_bytes() == before


async def test_damage_found_while_reading_is_named(
    opening: Any, path: Path, event: Any, runner: asyncio.Runner
) -> None:
    """A page that was overwritten is reported as damage, not as an absence."""
    store = await opening(Access.WRITE)
    await store.accept([event(f"e{number}", "h") for number in range(500)], serial=0)
    await store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        for page in range(2, size // 4096):
            file.seek(page * 4096)
            file.write(b"\xff" * 64)
    reader = await opening(Access.READ)
    with pytest.raises(StateUnreadable, match="damaged"):
        await reader.deliveries(DeliveryFilter(), cursor=None, limit=500)


async def test_an_interrupted_making_is_finished_by_the_next(
    opening: Any, path: Path, runner: asyncio.Runner
) -> None:
    """An empty file, and one that was only switched to WAL, are new stores; to a reader they are not there yet."""
    path.parent.mkdir()
    path.touch()
    assert (await (await opening(Access.READ)).read_state()).serial == 0
    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.close()
    assert (await (await opening(Access.READ)).read_state()).serial == 0
    store = await opening(Access.WRITE)
    await store.write_note("a", "b")
    assert await store.read_note("a") == "b"


async def test_many_may_make_the_store_at_once(opening: Any, runner: asyncio.Runner) -> None:
    """One of them makes the tables, the others find them."""
    stores = await asyncio.gather(*(opening(Access.WRITE) for _ in range(6)))
    await asyncio.gather(*(store.write_note(f"n{place}", "x") for place, store in enumerate(stores)))
    assert [await stores[0].read_note(f"n{place}") for place in range(6)] == ["x"] * 6


async def test_a_path_that_cannot_be_is_unavailable(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """A file where the folder should be, or a folder where the file should be."""
    path.parent.write_text("", encoding="ascii")
    with pytest.raises((StoreUnavailable, StateUnreadable)):
        await opening(Access.WRITE)
    path.parent.unlink()
    path.mkdir(parents=True)
    for access in Access:
        with pytest.raises((StoreUnavailable, StateUnreadable)):
            await opening(access)


async def test_a_backup_is_a_store_of_that_moment(
    opening: Any, path: Path, event: Any, runner: asyncio.Runner
) -> None:
    """Taken while the store is in use, complete, for its owner only, and never over anything."""
    store = await opening(Access.DAEMON)
    await store.accept([event(f"e{number}", "h") for number in range(50)], serial=0)
    copy = path.parent.with_name("copy.db")
    writing = asyncio.gather(*(store.accept([event(f"f{number}", "h")], serial=0) for number in range(50)))
    await store.backup(str(copy))
    await writing
    assert copy.stat().st_mode & 0o777 == 0o600
    with pytest.raises(UsageError, match="exists"):
        await store.backup(str(copy))
    with pytest.raises(UsageError, match="cannot write"):
        await store.backup(str(copy.parent / "nowhere" / "copy.db"))
    async with await open_store(f"sqlite:{copy}", Access.READ) as backup:
        assert 50 <= await backup.count(DeliveryFilter()) <= 100
        assert (await backup.delivery("e7/h")) is not None
    async with await open_store(f"sqlite:{copy}", Access.DAEMON) as restored:
        await restored.accept([event("new", "h")], serial=0)


async def test_another_lock_holder_of_any_kind_is_a_daemon(opening: Any, path: Path, runner: asyncio.Runner) -> None:
    """A lock without a pid in it still refuses."""
    path.parent.mkdir()
    with path.with_name("store.db.lock").open("w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreLocked, match="another daemon holds"):
            await opening(Access.DAEMON)
