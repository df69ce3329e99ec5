"""Kill `reconcile --yes` at its k-th step, for k = 1, 2, … until it survives; look at what each leaves behind.

A step is a statement of SQL, or a change to the file system: a folder or file made, linked, renamed or removed. Then
kill it once more right after its commit, and cut what SQLite has written ahead after each page and within it: what a
machine leaves that loses its power.

Run as a program: `walk_apply.py FOLDER first|next`. Prints one JSON object: how many points and cuts were tried, in
how many the old and the new state were found, and every violation. A child is forked for each, so that nothing is
imported twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw

from reconciler.cli.main import run
from reconciler.control.reveal import secret_of
from reconciler.mint import SystemMint
from reconciler.model.delivery import DeliveryFilter, NewDelivery, NewEvent
from reconciler.model.resource import Key, Kind, State
from reconciler.store.connect import open_store
from reconciler.store.port import Access
from reconciler.store.seal import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_HEAD, FRAME_HEAD = 32, 24
"""Bytes of SQLite's write-ahead log before its first frame, and of a frame before its page."""
POINTS_MAX = 1_000
VIOLATIONS_MAX = 20
WAITING = 3
STORE = "sqlite:state/reconciler.db"
OUTGOING = {"type": "conversation.started", "url": "https://crm.example.com/", "enabled": True}
TRIGGER = {"type": "sync.trigger", "data_source": "docs"}
SOURCES = {"docs": {"sync": {"command": ["true"]}}}
BEFORE = {
    "kept": OUTGOING,
    "edited": OUTGOING,
    "old": OUTGOING,
    "called": TRIGGER,
    "turned": OUTGOING | {"rotation": {"overlap": "1h"}},
    "typed": OUTGOING,
    "gone": OUTGOING,
}
AFTER = {
    "kept": OUTGOING,
    "edited": OUTGOING | {"timeout": "5s"},
    "new": OUTGOING | {"moved_from": "old"},
    "called": TRIGGER | {"secret_version": 2},
    "turned": OUTGOING | {"rotation": {"overlap": "1h"}, "secret_version": 2},
    "typed": OUTGOING | {"type": "conversation.claimed"},
    "added": OUTGOING | {"type": "conversation.released"},
}
CHANGES = {"create": 1, "update": 1, "rename": 1, "rotate": 2, "replace": 1, "delete": 1, "unchanged": 3}
FIRST_CHANGES = {"create": 9}
NAMES = {"kept": "kept", "edited": "edited", "old": "new", "called": "called", "turned": "turned"}
"""Webhooks that keep their id, under the name they have after the apply."""
TURNED = {"called", "turned"}
APPLY = ("--yes", "--allow-delete", "b/gone", "--allow-delete", "b/typed")


def write_hooks(webhooks: dict[str, Any]) -> None:
    """The configuration, which JSON is a way to write."""
    document = {"version": 1, "bots": {"b": {"data_sources": SOURCES, "webhooks": webhooks}}}
    Path("hooks.yaml").write_text(json.dumps(document), encoding="utf-8")


def call(*arguments: str) -> tuple[int, Any]:
    """A command in this process: its exit code, and the JSON it printed if it was asked for some."""
    out, err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(arguments)
    out.flush()
    text = out.buffer.getvalue().decode()  # type: ignore[attr-defined]
    return code, json.loads(text) if text.startswith("{") else err.getvalue()


async def post_events() -> None:
    """Leave some deliveries waiting."""
    async with await open_store(STORE, Access.WRITE) as store:
        state = await store.read_state()
        hooks = [state.resources[Key(Kind.WEBHOOK, f"b/{name}")].id for name in ("kept", "old", "typed", "gone")]
        events = [
            NewEvent(
                id=f"e{number}",
                type="conversation.started",
                payload=b"{}",
                received_ms=1_000,
                deliveries=tuple(NewDelivery(f"e{number}/{hook}", str(hook)) for hook in hooks),
            )
            for number in range(WAITING)
        ]
        await store.accept(events, serial=state.serial)


def killed_child(start: Callable[[], None]) -> int:
    """Fork, and let the child apply after `start`; how it ended, as `os.waitpid` says it."""
    process = os.fork()
    if not process:
        start()
        code, said = call(*APPLY)
        if code:
            os.write(2, str(said).encode())
        os._exit(code)
    return os.waitpid(process, 0)[1]


def kill_at(point: int) -> None:
    """Be killed just before step number `point`."""
    seen = 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def count(_cursor: apsw.Cursor, _statement: str, _bindings: object) -> bool:
        step()
        return True

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = count

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        made = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_CREAT | os.O_WRONLY)
        if made or event in ("os.mkdir", "os.link", "os.remove", "os.rename", "os.chmod"):
            step()

    apsw.connection_hooks.append(watch)
    sys.addaudithook(hear)


def kill_after_commit() -> None:
    """Be killed right after the state is committed, before anything is moved into the database file."""
    written = False

    def ended(statement: Any) -> None:
        nonlocal written
        written |= "INTO resource" in statement["sql"]
        if written and statement["sql"] == "COMMIT":
            os.kill(os.getpid(), signal.SIGKILL)

    apsw.connection_hooks.append(lambda connection: connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended))


def cut_the_log(origin: Path, folder: Path, old: Found | None, report: dict[str, Any]) -> None:
    """Look at what is left of a committed apply if only so much of the log has reached the disk."""
    os.chdir(shutil.copytree(origin, folder / "committed"))
    if not os.WIFSIGNALED(killed_child(kill_after_commit)):
        report["violations"].append("nothing was killed after the commit")
    log = Path("state/reconciler.db-wal").read_bytes()
    page = int.from_bytes(log[8:12], "big")
    frame = FRAME_HEAD + page
    sizes = {size for start in range(LOG_HEAD, len(log) + 1, frame) for size in (start, start + frame // 2)}
    for size in sorted(size for size in sizes if size <= len(log)):
        os.chdir(shutil.copytree(folder / "committed", folder / f"cut-{size}"))
        os.truncate("state/reconciler.db-wal", size)
        report["cuts"] += 1
        report["violations"] += [f"cut at {size}: {text}" for text in violations(old, report)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a store holds: the state, the generated secrets by handle, and the deliveries by hook id and status."""

    state: State
    secrets: dict[str, str]
    deliveries: Counter[tuple[str, str]]

    def id_of(self, name: str) -> str | None:
        """The id of a webhook."""
        return self.state.resources[Key(Kind.WEBHOOK, f"b/{name}")].id


async def look() -> Found:
    """Everything that the store of this folder holds, secrets opened with its key."""
    async with await open_store(STORE, Access.WRITE) as store:
        state = await store.read_state()
        items = (await store.deliveries(DeliveryFilter(), cursor=None, limit=500)).items
    key = Path("state/key")
    keyring = Keyring.load(environ_value=None, key_file=None, beside=key, create=False, mint=SystemMint())
    addresses = [address for (_, address), resource in state.resources.items() if resource.secret]
    return Found(
        state=state,
        secrets={address.rpartition("/")[2]: secret_of(state, address, keyring=keyring) for address in addresses},
        deliveries=Counter((item.hook_id, item.status.value) for item in items),
    )


def wrong_with_next(old: Found, new: Found) -> list[str]:
    """What is not as it must be once everything has been applied to what was there before."""
    found: list[str] = []

    def must(holds: object, text: str) -> None:
        if not holds:
            found.append(text)

    hooks = {address.rpartition("/")[2] for kind, address in new.state.resources if kind is Kind.WEBHOOK}
    must(hooks == set(AFTER), f"webhooks {sorted(hooks)}")
    must(new.state.serial == old.state.serial + 1, f"serial {new.state.serial}")
    must(new.state.lineage == old.state.lineage, "another lineage")
    if found:
        return found
    for was, now in NAMES.items():
        must(new.id_of(now) == old.id_of(was), f"{now} has another id")
        must((new.secrets[now] == old.secrets[was]) == (was not in TURNED), f"{now} has the wrong secret")
    ids = {old.id_of(name) for name in BEFORE}
    must(not ids & {new.id_of("typed"), new.id_of("added")}, "an id was given twice")
    previous = new.state.resources[Key(Kind.WEBHOOK, "b/turned")].secret
    was = old.state.resources[Key(Kind.WEBHOOK, "b/turned")].secret
    must(
        previous and was and previous.previous and previous.previous.fingerprint == was.fingerprint,
        "the overlap does not keep the secret before",
    )
    ended = {old.id_of("typed"), old.id_of("gone")}
    expected = {
        (hook, "cancelled" if hook in ended else "pending"): count for (hook, _), count in old.deliveries.items()
    }
    must(new.deliveries == expected, f"deliveries {dict(new.deliveries)}")
    return found


def wrong_with_first(new: Found) -> list[str]:
    """What is not as it must be once the first apply is through."""
    hooks = {address.rpartition("/")[2] for kind, address in new.state.resources if kind is Kind.WEBHOOK}
    if hooks != set(AFTER) or new.state.serial != 1 or set(new.secrets) != set(AFTER):
        return [f"webhooks {sorted(hooks)} at serial {new.state.serial}"]
    return []


def violations(old: Found | None, report: dict[str, Any]) -> list[str]:
    """What is not as it must be after the child's end, and after the next run."""
    everything = CHANGES if old else FIRST_CHANGES
    code, planned = call("--plan", "--json")
    if code:
        return [f"planning exits {code}: {planned}"]
    todo = {action: count for action, count in planned["summary"].items() if count}
    if todo == everything:
        state_is = "old"
    elif todo == {"unchanged": sum(everything.values()) - everything.get("delete", 0)}:
        state_is = "new"
    else:
        return [f"a mixture: {todo} is left to do"]
    report[state_is] += 1
    before = asyncio.run(look()) if old or state_is == "new" else None
    if state_is == "old" and before != old:
        return ["neither the old state nor the new one"]
    code, said = call(*APPLY)
    if code:
        return [f"the next run exits {code}: {said}"]
    after = asyncio.run(look())
    found = wrong_with_next(old, after) if old else wrong_with_first(after)
    if state_is == "new" and after != before:
        found.append("the next run has written although nothing was left to do")
    if call("--plan", "--detailed-exitcode")[0] != 0:
        found.append("something is left to do after the next run")
    return found + integrity()


def integrity() -> list[str]:
    """SQLite's own check."""
    with contextlib.closing(apsw.Connection("state/reconciler.db")) as connection:
        rows = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    return [] if rows == ["ok"] else rows


def main() -> None:
    """Walk through all points, of the first apply to nothing or of the next one to what is there."""
    folder = Path(sys.argv[1])
    report: dict[str, Any] = {"points": 0, "cuts": 0, "old": 0, "new": 0, "violations": [], "survived": False}
    origin, old = folder / "0", None
    origin.mkdir()
    os.chdir(origin)
    if sys.argv[2] == "next":
        write_hooks(BEFORE)
        code, said = call("--yes")
        assert code == 0, said
        asyncio.run(post_events())
        old = asyncio.run(look())
    write_hooks(AFTER)
    for point in range(1, POINTS_MAX):
        os.chdir(shutil.copytree(origin, folder / str(point)))
        status = killed_child(partial(kill_at, point))
        report["points"] = point
        if status == 0:
            report["survived"] = True
        elif not os.WIFSIGNALED(status):
            report["violations"].append(f"point {point}: exits {os.waitstatus_to_exitcode(status)}")
        report["violations"] += [f"killed at {point}: {text}" for text in violations(old, report)]
        if report["survived"] or len(report["violations"]) > VIOLATIONS_MAX:
            break
    cut_the_log(origin, folder, old, report)
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
