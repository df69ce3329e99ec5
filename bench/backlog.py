"""A million deliveries that wait: the daemon's memory, its start, and what a claim costs beside a short queue.

Fills a store with deliveries to a few webhooks through the store's own door, measures what claiming costs while the
queue grows, then starts a daemon on it and looks at it while it delivers. Needs about a minute and a gigabyte and a
half of disk.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from end_to_end import ROOT, Daemon, Sink, end, wait_until
from waiting import apply, fill, store_url
from wire import hooks_yaml, tell

from reconciler.model.resource import Kind
from reconciler.store.connect import open_store
from reconciler.store.port import Access, Demand

HOOKS = 10
CLAIMS = 200
ROOM = 64
STARTS_WITHIN_S = 60
WATCH_S = 8.0


async def claim_us(folder: Path) -> float:
    """Microseconds a claimed delivery, with its release, as the median over many claims from all webhooks."""
    async with await open_store(store_url(folder), Access.DAEMON) as store:
        state = await store.read_state()
        hooks = [r.id for key, r in state.resources.items() if key.kind is Kind.WEBHOOK and r.id is not None]
        now_ms = time.time_ns() // 1_000_000  # noqa: TID251 - a measurement reads the clock
        took = []
        for _ in range(CLAIMS):
            started_s = time.perf_counter()
            claims = await store.claim(
                [Demand(hook_id, ROOM, ROOM) for hook_id in hooks],
                limit=ROOM * len(hooks),
                owner="bench",
                now_ms=now_ms,
                lease_ms=60_000,
            )
            took.append((time.perf_counter() - started_s) / len(claims) * 1e6)
            await store.release([(c.delivery_id, c.hook_id, c.fence.claims) for c in claims], owner="bench", due_ms=1)
        return statistics.median(took)


def memory_mb(pid: int, field: str) -> float:
    """`VmHWM` is the most that a process ever had, `VmRSS` what it has."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1000
    raise SystemExit(f"no {field} of process {pid}")


def watch(folder: Path, configuration: str, sink: Sink, waiting: int) -> dict[str, Any]:
    """Start a daemon on what waits, and look at it while it delivers."""
    started_s = time.monotonic()
    daemon = Daemon(folder, configuration, wait=False)
    wait_until(lambda: sink.requests() > 0, STARTS_WITHIN_S, f"nothing is delivered; see {folder}/log")
    first_s = time.monotonic() - started_s
    before, began_s = sink.requests(), time.monotonic()
    wait_until(
        lambda: sink.requests() >= waiting or time.monotonic() - began_s > WATCH_S, WATCH_S + 10, "it has ended"
    )
    delivered, seconds = sink.requests() - before, time.monotonic() - began_s
    asked_s = time.monotonic()
    status = daemon.get("/api/v1/status")
    status_s = time.monotonic() - asked_s
    figures = {
        "first_delivery_s": first_s,
        "memory_mb": memory_mb(daemon.process.pid, "VmHWM"),
        "per_s": delivered / seconds,
        "status_ms": status_s * 1000,
        "left": status["queue"]["pending"] + status["queue"]["sending"],
    }
    daemon.stop()
    return figures


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="backlog-", dir=ROOT / "build"))
    try:
        sink = Sink(0, folder)
        configuration = hooks_yaml(hooks=HOOKS, sink_port=sink.port)
        daemon_folder = folder / "daemon"
        apply(daemon_folder, configuration)
        sizes = [options.waiting // 100, options.waiting // 10, options.waiting]
        claims, filled, fill_s = [], 0, 0.0
        for size in sizes:
            fill_s += fill(daemon_folder, {f"bot-{n}/started": (size - filled) // HOOKS for n in range(HOOKS)})
            filled = size
            os.sync()  # or the system would be busy with writing a gigabyte while claims are measured
            claims.append(asyncio.run(claim_us(daemon_folder)))
        figures = {
            "waiting": options.waiting,
            "filled_per_s": options.waiting / fill_s,
            "claim_us": dict(zip(map(str, sizes), claims, strict=True)),
            "claim_ratio": claims[-1] / claims[0],
            "daemon": watch(daemon_folder, configuration, sink, options.waiting),
        }
        end(sink.process)
    finally:
        shutil.rmtree(folder)
    if options.json:
        tell(figures)
    else:
        print(render(figures))


def render(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    daemon = figures["daemon"]
    claims = "\n".join(
        f"    with {int(size):>9,} waiting              {us:>10.1f} µs" for size, us in figures["claim_us"].items()
    )
    return f"""
{figures["waiting"]:,} deliveries waiting for {HOOKS} webhooks

  start of the daemon to its first delivery   {daemon["first_delivery_s"]:>8.1f} s
  memory, at most                             {daemon["memory_mb"]:>8.0f} MB
  delivered meanwhile, a second               {daemon["per_s"]:>8,.0f}
  status, answered in                         {daemon["status_ms"]:>8.0f} ms
  claiming one, and giving it back
{claims}
    the longest queue beside the shortest     {figures["claim_ratio"]:>8.2f}
"""


if __name__ == "__main__":
    main()
