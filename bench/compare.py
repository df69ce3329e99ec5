"""This project beside others that do the same work, in turns, on the same cores, with the same poster and receiver.

Deliveries: an event is posted over HTTP, made durable before its 202, signed twice, delivered to the receiver, and
its outcome recorded; beside Fastify, BullMQ and undici on a Redis that syncs each append. Triggers: a GET starts a
run of `/bin/true`; beside adnanh/webhook, which keeps nothing on disk, while ours is answered once the sync is on it.
CPU time is that of all of each side's processes, Redis and ended commands included. Takes about three minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from end_to_end import CONNECTIONS, HOOKS, ROOT, Cost, Daemon, Sink, deliver, deliveries_to, end, reconcile
from peer import BullMq, Webhook
from provide import Missing, packages_of_node, require, version
from wire import start, tell

if TYPE_CHECKING:
    from collections.abc import Callable

CONCURRENCY = HOOKS * 8  # each webhook's default concurrency is 8
TRIGGERS_YAML = """version: 1
bots:
  desk:
    data_sources:
      docs: {sync: {command: [/bin/true]}}
    webhooks:
      published: {type: sync.trigger, data_source: docs, enabled: true}
"""
IDLE_CPU_S = 0.05
DELIVERIES_AIM = {"per_s": 1.3, "per_cpu_s": 2.0}
TRIGGERS_AIM = {"per_s": 2.5}


def call(port: int, path: str, calls: int, cpu_s: Callable[[], float]) -> Cost:
    """Call a URL by GET, `calls` times; every answer must be a 200. What is started then is waited for.

    The rate is that of the answers; the CPU time is that of what they have started, too.
    """
    before_s = cpu_s()
    arguments = ("--get", f"--port={port}", f"--events={calls}", f"--connections={CONNECTIONS}")
    process, report = start("load.py", *arguments, env={"BENCH_PATH": path})
    process.wait()
    if report["statuses"] != {"200": calls}:
        raise SystemExit(f"not every trigger was answered 200: {report['statuses']}")
    rest_until_idle(cpu_s)
    return Cost(events=calls, seconds=report["seconds"], cpu_s=cpu_s() - before_s)


def rest_until_idle(cpu_s: Callable[[], float]) -> None:
    """Wait until hardly any CPU time is spent, so that nobody's backlog is worked off in the other's turn."""
    before_s, now_s = -1.0, cpu_s()
    while now_s - before_s > IDLE_CPU_S:
        time.sleep(1.0)
        before_s, now_s = now_s, cpu_s()


def trigger_path(daemon: Daemon) -> str:
    """The path of the trigger's URL, which is a password."""
    command = [str(reconcile()), "url", "desk/published"]
    url = subprocess.run(command, cwd=daemon.folder, capture_output=True, text=True, check=True).stdout.strip()
    return "/" + url.split("/", 3)[3]


def measure_deliveries(folder: Path, *, events: int, rounds: int, split: bool) -> dict[str, list[Cost]]:
    """Rounds of both, one after the other; the first events of each are not counted."""
    warm_up = events // 5
    sink = Sink(0, folder)
    ours = Daemon(folder / "ours", deliveries_to(sink))
    theirs = BullMq(folder / "bullmq", sink, concurrency=CONCURRENCY, split=split)
    costs: dict[str, list[Cost]] = {"ours": [], "theirs": []}
    for number in range(rounds + 1):
        for name, system in (("theirs", theirs), ("ours", ours)):
            size, first = (events, warm_up + (number - 1) * events) if number else (warm_up, 0)
            cost, _ = deliver(system, sink, size, first=first)
            if number:
                costs[name].append(cost)
    theirs.stop()
    ours.stop()
    end(sink.process)
    return costs


def measure_triggers(folder: Path, *, calls: int, rounds: int) -> dict[str, list[Cost]]:
    """Rounds of both, one after the other; the first calls of each are not counted."""
    ours = Daemon(folder / "triggers", TRIGGERS_YAML)
    theirs = Webhook(folder / "webhook")
    costs: dict[str, list[Cost]] = {"ours": [], "theirs": []}
    path = trigger_path(ours)
    for number in range(rounds + 1):
        size = calls if number else calls // 10
        for name, system, at in (("theirs", theirs, theirs.path), ("ours", ours, path)):
            cost = call(system.port, at, size, system.cpu_s)
            if number:
                costs[name].append(cost)
    theirs.stop()
    ours.stop()
    return costs


def figures(costs: dict[str, list[Cost]], aim: dict[str, float]) -> dict[str, Any]:
    """The medians of both sides, and ours in multiples of theirs: the median over the rounds."""
    report: dict[str, Any] = {
        name: {
            "per_s": statistics.median(cost.rate for cost in mine),
            "cpu_us": statistics.median(cost.cpu_us for cost in mine),
            "per_cpu_s": statistics.median(1e6 / cost.cpu_us for cost in mine),
        }
        for name, mine in costs.items()
    }
    pairs = list(zip(costs["ours"], costs["theirs"], strict=True))
    report["times"] = {
        "per_s": statistics.median(ours.rate / theirs.rate for ours, theirs in pairs),
        "per_cpu_s": statistics.median(theirs.cpu_us / ours.cpu_us for ours, theirs in pairs),
    }
    report["aim"] = aim
    return report


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=15_000, help="events of a round")
    parser.add_argument("--calls", type=int, default=40_000, help="calls of a trigger in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["deliveries", "triggers"])
    parser.add_argument("--split", action="store_true", help="give the peer's worker a process of its own")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    try:
        if options.only != "triggers":
            require("redis-server")
            packages_of_node()
        if options.only != "deliveries":
            require("webhook")
    except Missing as missing:
        sys.exit(f"compare: {missing}")

    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="peers-", dir=ROOT / "build"))
    load = os.getloadavg()[0]
    report: dict[str, Any] = {"load_before": load, "events": options.events, "calls": options.calls}
    if options.only != "triggers":
        costs = measure_deliveries(folder, events=options.events, rounds=options.rounds, split=options.split)
        report["deliveries"] = figures(costs, DELIVERIES_AIM)
    if options.only != "deliveries":
        costs = measure_triggers(folder, calls=options.calls, rounds=options.rounds)
        report["triggers"] = figures(costs, TRIGGERS_AIM)
    shutil.rmtree(folder)
    if options.json:
        tell(report)
    else:
        print(render(report, options))


def render(report: dict[str, Any], options: argparse.Namespace) -> str:
    """The figures as tables."""
    cores, load = os.cpu_count(), report["load_before"]
    lines = [f"{cores} cores, load average {load:.1f} before; medians of {options.rounds} rounds in turns"]
    if "deliveries" in report:
        stack = f"BullMQ, Fastify, undici; Node {version('node')}, Redis {version('redis-server')}"
        head = f"{options.events:,} deliveries a round, {CONNECTIONS} connections, {CONCURRENCY} in flight"
        lines += ["", head, *_table(report["deliveries"], stack)]
    if "triggers" in report:
        head = f"{options.calls:,} triggers a round by GET, {CONNECTIONS} connections, each to run /bin/true"
        lines += ["", head, *_table(report["triggers"], f"adnanh/webhook {version('webhook')}")]
    return "\n".join(lines)


def _table(figures: dict[str, Any], peer: str) -> list[str]:
    lines = [f"  {'':<60} a second   CPU each   per CPU second"]
    for name, title in (("theirs", peer), ("ours", "this project")):
        one = figures[name]
        lines.append(f"  {title:<60} {one['per_s']:>8,.0f} {one['cpu_us']:>7,.0f} µs {one['per_cpu_s']:>16,.0f}")
    times, aim = figures["times"], figures["aim"]
    lines.append(f"  {'times':<60} {times['per_s']:>8.2f} {'':>10} {times['per_cpu_s']:>16.2f}")
    wanted = (f"{aim[key]:.1f}" if key in aim else "" for key in ("per_s", "per_cpu_s"))
    lines.append("  {:<60} {:>8} {:>10} {:>16}".format("wanted, at least", next(wanted), "", next(wanted)))
    return lines


if __name__ == "__main__":
    main()
