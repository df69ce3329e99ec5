"""Kill a process at its k-th statement of SQL, for k = 1, 2, … until it survives; look at what each leaves behind.

Run as a program: `walk_store.py FOLDER`. Prints one JSON object: how many points were tried, and every violation.
A child is forked for each k, so that nothing is imported twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import apsw

from reconciler.model.delivery import (
    Attempt,
    AttemptError,
    Claim,
    DeliveryFilter,
    DeliveryStatus,
    NewDelivery,
    NewEvent,
    Settlement,
)
from reconciler.model.resource import Key, Kind, Resource
from reconciler.model.sync import NewSync
from reconciler.store.connect import open_store
from reconciler.store.port import Access, Commit, Demand, Store

POINTS_MAX = 500
EVERYTHING = DeliveryFilter()
PENDING, DELIVERED, EXHAUSTED = DeliveryStatus.PENDING, DeliveryStatus.DELIVERED, DeliveryStatus.EXHAUSTED


def event(event_id: str, *hooks: str) -> NewEvent:
    """An event whose delivery to hook `h` has the id `event/h`."""
    deliveries = tuple(NewDelivery(f"{event_id}/{hook}", hook) for hook in hooks)
    return NewEvent(id=event_id, type="sync.success", payload=b"{}", received_ms=1_000, deliveries=deliveries)


def settlement(claim: Claim, status: DeliveryStatus, due_ms: int | None = None) -> Settlement:
    """An attempt and what it led to."""
    good = status is DELIVERED
    attempt = Attempt(
        number=claim.attempt,
        round=claim.round,
        started_ms=2_000,
        duration_ms=5,
        status=200 if good else None,
        error=None if good else AttemptError.TIMEOUT,
    )
    return Settlement(delivery_id=claim.delivery_id, fence=claim.fence, status=status, due_ms=due_ms, attempt=attempt)


async def apply(store: Store, *hooks: str) -> int:
    """Make exactly these webhooks the state."""
    state = await store.read_state()
    present = {resource.id for resource in state.resources.values()}
    change = Commit(
        expected_lineage=state.lineage,
        expected_serial=state.serial,
        lineage="lineage",
        salt=b"salt",
        upserts=tuple(
            Resource(key=Key(Kind.WEBHOOK, f"bot/{hook}"), spec={"at": state.serial}, id=hook) for hook in hooks
        ),
        deletes=tuple(Key(Kind.WEBHOOK, f"bot/{hook}") for hook in sorted(present - set(hooks))),
        cancel_hooks=frozenset(present - set(hooks)),
        notes={"serial": str(state.serial + 1)},
    )
    return await store.commit(change, now_ms=1_500, verify=lambda _: None)


async def live(url: str, acknowledge: Any) -> None:
    """A short life of a store; whatever a verb answered is acknowledged before the next one is called."""
    store = await open_store(url, Access.DAEMON)
    acknowledge("serial", await apply(store, "a", "b", "c"))
    for batch in (["e1"], ["e2", "e3"], ["e4"]):
        await store.accept([event(name, "a", "b", "c") for name in batch], serial=1)
        acknowledge("accepted", batch)
    await store.request_sync(NewSync(id="s", data_source="bot/docs", hook_id="t", requested_ms=1, body=b""), serial=1)
    acknowledge("sync", "queued")
    demands = [Demand(hook, 9, 9) for hook in ("a", "b")]
    claims = await store.claim(demands, limit=6, owner="w", now_ms=2_000, lease_ms=100)
    for claim, status in zip(claims, (DELIVERED, PENDING, EXHAUSTED), strict=False):
        await store.settle([settlement(claim, status, 9_000 if status is PENDING else None)], now_ms=2_010)
        acknowledge("settled", [claim.delivery_id, status])
    (sync,) = await store.claim_syncs(limit=1, owner="w", now_ms=2_000, lease_ms=100)
    await store.finish_sync(sync, event=event("e5", "a"), serial=1, now_ms=2_020)
    acknowledge("accepted", ["e5"])
    acknowledge("sync", "ended")
    await store.redeliver(DeliveryFilter(statuses=frozenset({EXHAUSTED})), now_ms=2_030, limit=5)
    acknowledge("serial", await apply(store, "a", "b"))
    await store.prune(ended_before_ms=2_011, parked=frozenset(), parked_before_ms=0, keep=99, limit=99, now_ms=2_040)
    acknowledge("pruned", None)
    await store.close()


def child(url: str, log: Path, point: int) -> None:
    """Live until statement number `point`, then be killed just before it."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    seen = 0

    def count(_cursor: apsw.Cursor, _statement: str, _bindings: object) -> bool:
        nonlocal seen
        seen += 1
        if seen == point:
            os.kill(os.getpid(), signal.SIGKILL)
        return True

    def acknowledge(kind: str, what: Any) -> None:
        os.write(descriptor, json.dumps([kind, what]).encode() + b"\n")

    def watch(connection: apsw.Connection) -> None:
        connection.exec_trace = count

    apsw.connection_hooks.append(watch)
    asyncio.run(live(url, acknowledge))


async def violations(url: str, acknowledged: list[tuple[str, Any]]) -> list[str]:
    """What is not as it must be after the child's end."""
    found: list[str] = []

    def must(holds: object, text: str) -> None:
        if not holds:
            found.append(text)

    told: dict[str, list[Any]] = {}
    for kind, what in acknowledged:
        told.setdefault(kind, []).append(what)
    async with await open_store(url, Access.DAEMON) as store:
        await store.free_leases()
        state = await store.read_state()
        serial = max(told.get("serial", [0]))
        must(state.serial in (serial, serial + 1), f"serial {state.serial} after {serial}")
        hooks = {resource.id for resource in state.resources.values()}
        whole = {0: set(), 1: {"a", "b", "c"}, 2: {"a", "b"}}
        must(hooks == whole[state.serial], f"{hooks} at serial {state.serial}")
        must(await store.read_note("serial") == (str(state.serial) if state.serial else None), "a note apart")
        items = (await store.deliveries(EVERYTHING, cursor=None, limit=500)).items
        statuses = {item.id: item.status for item in items}
        stats = await store.stats()
        for status in DeliveryStatus:
            actual = sum(one is status for one in statuses.values())
            must(stats.by_status[status] == actual, f"{status} counted {stats.by_status[status]}, is {actual}")
        must(not stats.by_status[DeliveryStatus.SENDING], "a lease was not freed")
        prunable = {"e1/a", "e1/c", "e2/c", "e3/c", "e4/c"}
        pruned = prunable if state.serial == 2 and "e1/a" not in statuses else set()
        must(not pruned & set(statuses), "pruned by halves")
        must(pruned or "pruned" not in told, "not pruned")
        for name in ("e1", "e2", "e3", "e4", "e5"):
            expected = {f"{name}/a"} if name == "e5" else {f"{name}/{hook}" for hook in "abc"}
            there = {one for one in expected if one in statuses}
            accepted = any(name in batch for batch in told.get("accepted", []))
            must(there == expected - pruned or (not there and not accepted), f"{name} has only {there}")
        must(("e2/a" in statuses) == ("e3/a" in statuses), "half a batch")
        for delivery_id, status in told.get("settled", []):
            await check_settled(store, delivery_id, status, must)
        for item in items:
            detail = await store.delivery(item.id)
            must(detail is not None and len(detail[2]) == item.attempts, f"{item.id} has attempts apart")
            dead = item.hook_id not in hooks and item.status is PENDING
            must(not dead or state.serial == 0, f"{item.id} waits for a deleted hook")
        syncs = stats.syncs_waiting + stats.syncs_running
        ended = "ended" in told.get("sync", []) or "e5/a" in statuses
        must(syncs == 0 if ended else syncs == 1 or not told.get("sync"), f"{syncs} syncs")
    return found


async def check_settled(store: Store, delivery_id: str, status: str, must: Any) -> None:
    """An acknowledged settlement is there, or what rightly came after it."""
    detail = await store.delivery(delivery_id)
    if detail is None:
        must(status == DELIVERED, f"{delivery_id} is lost")
        return
    must(len(detail[2]) == 1, f"{delivery_id} has {len(detail[2])} attempts")
    later = {DELIVERED: {DELIVERED}, PENDING: {PENDING}, EXHAUSTED: {EXHAUSTED, PENDING}}
    must(detail[0].status in later[DeliveryStatus(status)], f"{delivery_id} is {detail[0].status}, was {status}")


def integrity(path: Path) -> list[str]:
    """SQLite's own check."""
    connection = apsw.Connection(str(path))
    try:
        rows = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    finally:
        connection.close()
    return [] if rows == ["ok"] else rows


def main() -> None:
    """Walk through all points."""
    folder = Path(sys.argv[1])
    report: dict[str, Any] = {"points": 0, "violations": [], "acknowledged": 0, "survived": False}
    for point in range(1, POINTS_MAX):
        path = folder / str(point) / "store.db"
        path.parent.mkdir()
        log = path.with_name("log")
        process = os.fork()
        if not process:
            child(f"sqlite:{path}", log, point)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        lines = log.read_text(encoding="ascii").splitlines() if log.exists() else []
        acknowledged = [(kind, what) for kind, what in map(json.loads, lines)]
        found = asyncio.run(violations(f"sqlite:{path}", acknowledged)) + integrity(path)
        report["violations"] += [f"killed at {point}: {text}" for text in found]
        report["points"] = point
        report["acknowledged"] = max(report["acknowledged"], len(acknowledged))
        if status == 0:
            report["survived"] = True
            break
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
