"""What a delivery costs, from the posted event to the recorded outcome, beside the least it could cost here.

The whole way: an event is posted over HTTP, is durably accepted, signed, delivered to a receiver, and the outcome is
recorded. The limit, taken in the same run with the same load: a bare Starlette route that parses the same event, and
a bare aiohttp loop that signs and posts the same body; their CPU seconds added. They take turns with the daemon, each
warmed up by a tenth of the events that then count; the medians of the rounds are told, the share's of each round's
own two figures. Poster and receiver are processes of their own. Needs about a minute and nothing but loopback.
"""

from __future__ import annotations

import argparse
import atexit
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from array import array
from dataclasses import dataclass
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any, Protocol

from wire import EVENT_BYTES, cpu_seconds, hooks_yaml, start, tell

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
HOOKS = 8
CONNECTIONS = 64
IN_FLIGHT = HOOKS * 8  # each webhook's default concurrency is 8
TOKEN = "bench-token"
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is no proxy's business
READY_S = 20
DRAIN_S = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What `events` deliveries, or halves of one, took."""

    events: int
    seconds: float
    cpu_s: float

    @property
    def rate(self) -> float:
        """A second of wall time."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU time each."""
        return self.cpu_s / self.events * 1e6


def post_events(port: int, events: int, **more: object) -> dict[str, Any]:
    """Run the poster to its end; every event must have been answered 202."""
    arguments = {"port": port, "events": events, "connections": CONNECTIONS, "bots": HOOKS} | more
    process, report = start(
        "load.py",
        *(f"--{name}={value}" for name, value in arguments.items()),
        env={"BENCH_TOKEN": TOKEN},
    )
    process.wait()
    if report["statuses"] != {"202": events}:
        raise SystemExit(f"not every event was accepted: {report['statuses']}")
    return dict(report)


def limit_of_ingest(events: int) -> Cost:
    """Parsing the event and answering, and nothing else."""
    server, ready = start("limit_ingest.py")
    post_events(ready["port"], events // 10)
    cpu_s = cpu_seconds(server.pid)
    report = post_events(ready["port"], events)
    cost = Cost(events=events, seconds=report["seconds"], cpu_s=cpu_seconds(server.pid) - cpu_s)
    end(server)
    return cost


def limit_of_sending(events: int) -> Cost:
    """Signing the body and posting it, and nothing else."""
    sink, ready = start("sink.py")
    sender, report = start(
        "limit_send.py", f"--port={ready['port']}", f"--events={events}", f"--in-flight={IN_FLIGHT}"
    )
    sender.wait()
    end(sink)
    return Cost(events=events, seconds=report["seconds"], cpu_s=report["cpu_s"])


class Sink:
    """The receiver's process."""

    def __init__(self, events: int, folder: Path) -> None:
        self.times = folder / "sink-times"
        self.process, ready = start("sink.py", f"--events={events}", f"--times={self.times}")
        self.port: int = ready["port"]

    def requests(self) -> int:
        """How many requests have come."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(json.loads(self.process.stdout.readline())["requests"])

    def first_ns(self) -> array[int]:
        """When the first request for each event came."""
        self.requests()
        return read_times(self.times)


class Daemon:
    """`reconcile serve` in `folder`, on a fresh store or on the one that is there."""

    def __init__(self, folder: Path, configuration: str, *, count_to: Path | None = None, wait: bool = True) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        (folder / "hooks.yaml").write_text(configuration, encoding="utf-8")
        with socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        program = [sys.executable, str(ROOT / "bench/counted.py"), str(count_to)] if count_to else [str(reconcile())]
        self.process = subprocess.Popen(
            [*program, "serve", "-f", "hooks.yaml", "--port", str(self.port), "--allow-target", "127.0.0.0/8"],
            cwd=folder,
            env=os.environ | {"RECONCILER_ADMIN_TOKEN": TOKEN},
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
        )
        atexit.register(self.process.kill)
        if wait:
            wait_until(self.is_ready, READY_S, f"the daemon is not ready; see {folder}/log")

    def get(self, path: str) -> Any:
        """The answer of the operations API."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with DIRECT.open(request, timeout=10) as answer:
            return json.loads(answer.read() or "null")

    def is_ready(self) -> bool:
        """Whether it answers and serves the configuration."""
        if self.process.poll() is not None:
            raise SystemExit("the daemon has ended")
        try:
            return bool(self.get("/api/v1/hooks")["items"])
        except OSError:
            return False

    def is_idle(self) -> bool:
        """Whether no delivery waits or is being sent: every outcome is on disk."""
        return not any(
            self.get(f"/api/v1/deliveries?status={status}&limit=1")["items"] for status in ("pending", "sending")
        )

    def stop(self) -> None:
        """Stop it gracefully."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def cpu_s(self) -> float:
        """Its CPU time so far, that of ended syncs included."""
        return cpu_seconds(self.process.pid, children=True)


class Delivers(Protocol):
    """What takes events at `port` and posts them on."""

    port: int

    def cpu_s(self) -> float:
        """CPU time so far of all that belongs to it."""

    def is_idle(self) -> bool:
        """Whether every outcome is recorded."""


def deliver(system: Delivers, sink: Sink, events: int, **more: object) -> tuple[Cost, dict[str, Any]]:
    """Post events and wait until the last outcome is recorded."""
    before, cpu_s = sink.requests(), system.cpu_s()
    report = post_events(system.port, events, **more)
    wait_until(lambda: sink.requests() - before >= events, DRAIN_S, "not every event reached the receiver")
    wait_until(system.is_idle, DRAIN_S, "not every outcome was recorded")
    seconds = (time.monotonic_ns() - report["started_ns"]) / 1e9
    if sink.requests() - before != events:
        raise SystemExit(f"{sink.requests() - before} requests for {events} events")
    return Cost(events=events, seconds=seconds, cpu_s=system.cpu_s() - cpu_s), report


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """The whole way, and the two halves of the limit, one after the other."""

    whole: Cost
    ingest: Cost
    sending: Cost

    @property
    def limit_us(self) -> float:
        """Microseconds of CPU time that both halves of the limit take for an event."""
        return self.ingest.cpu_us + self.sending.cpu_us

    @property
    def share(self) -> float:
        """Of the limit's deliveries per CPU second."""
        return self.limit_us / self.whole.cpu_us


def median(rounds: list[Round], figure: Callable[[Round], float]) -> float:
    """The figure's median over the rounds."""
    return statistics.median(map(figure, rounds))


def deliveries_to(sink: Sink) -> str:
    """The configuration whose webhooks all go to the sink."""
    return hooks_yaml(hooks=HOOKS, sink_port=sink.port)


def reconcile() -> Path:
    """The installed command, beside this interpreter."""
    return Path(sys.executable).parent / "reconcile"


def wait_until(condition: Any, limit_s: float, complaint: str) -> None:
    """Ask `condition` until it holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(complaint)
        time.sleep(0.01)


def read_times(path: Path) -> array[int]:
    """An array that another process has written."""
    times = array("q")
    times.frombytes(path.read_bytes())
    return times


def end(process: subprocess.Popen[str]) -> None:
    """Close a part's input, which ends it."""
    assert process.stdin is not None
    process.stdin.close()
    process.wait(30)


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of the sorted values do not exceed."""
    return values[min(len(values) - 1, int(len(values) * share))]


def measure_latency(
    daemon: Daemon, sink: Sink, *, first: int, events: int, rate: float, folder: Path
) -> dict[str, Any]:
    """From the 202, as its poster sees it, to the first request at the receiver, events coming at `rate`."""
    answered = folder / "answered-times"
    _, report = deliver(daemon, sink, events, first=first, rate=rate, times=answered)
    answered_ns, first_ns = read_times(answered), sink.first_ns()
    # A delivery may overtake its own 202: then it was not late at all.
    waits = sorted(max(0.0, (first_ns[n] - answered_ns[n]) / 1e6) for n in range(first, first + events))
    return {
        "rate": rate,
        "first_attempt_p50_ms": percentile(waits, 0.5),
        "first_attempt_p99_ms": percentile(waits, 0.99),
        "accepted_p50_ms": report["p50_ms"],
        "accepted_p99_ms": report["p99_ms"],
    }


def count_statements(folder: Path, events: int) -> dict[str, float]:
    """SQL statements and commits a delivery, start-up left out by a second, longer run."""
    totals: list[dict[str, int]] = []
    for number, size in enumerate((events // 10, events)):
        sink = Sink(size, folder)
        report = folder / f"counts-{number}"
        daemon = Daemon(folder / f"counted-{number}", deliveries_to(sink), count_to=report)
        deliver(daemon, sink, size)
        daemon.stop()
        end(sink.process)
        totals.append(json.loads(report.read_text(encoding="utf-8")))
    spent = {word: totals[1].get(word, 0) - totals[0].get(word, 0) for word in totals[1]}
    difference = events - events // 10
    return {"statements": sum(spent.values()) / difference, "commits": spent.get("COMMIT", 0) / difference}


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=10_000, help="events of a round")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--folder", type=Path, help="where the store is made; default: a new folder in build/")
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / "build"))
    events = options.events

    warm_up, paced = events // 10, events // 3
    sink = Sink(options.rounds * (warm_up + events) + paced, folder)
    daemon = Daemon(folder / "daemon", deliveries_to(sink))
    rounds = []
    first = 0
    for _ in range(options.rounds):
        ingest, sending = limit_of_ingest(events), limit_of_sending(events)
        deliver(daemon, sink, warm_up, first=first)
        whole, _ = deliver(daemon, sink, events, first=first + warm_up)
        rounds.append(Round(whole=whole, ingest=ingest, sending=sending))
        first += warm_up + events
    half = round(median(rounds, lambda one: one.whole.rate) / 2)
    latency = measure_latency(daemon, sink, first=first, events=paced, rate=half, folder=folder)
    daemon.stop()
    end(sink.process)
    statements = count_statements(folder, events // 3)
    if options.folder is None:
        shutil.rmtree(folder)

    figures = {
        "events": events,
        "rounds": options.rounds,
        "event_bytes": EVENT_BYTES,
        "end_to_end": {
            "per_s": median(rounds, lambda one: one.whole.rate),
            "cpu_us": median(rounds, lambda one: one.whole.cpu_us),
            "per_cpu_s": median(rounds, lambda one: 1e6 / one.whole.cpu_us),
        },
        "limit": {
            "ingest_per_s": median(rounds, lambda one: one.ingest.rate),
            "ingest_cpu_us": median(rounds, lambda one: one.ingest.cpu_us),
            "send_per_s": median(rounds, lambda one: one.sending.rate),
            "send_cpu_us": median(rounds, lambda one: one.sending.cpu_us),
            "cpu_us": median(rounds, lambda one: one.limit_us),
            "per_cpu_s": median(rounds, lambda one: 1e6 / one.limit_us),
        },
        "share_of_limit": median(rounds, lambda one: one.share),
        "shares": sorted(round(one.share, 3) for one in rounds),
        "half_load": latency,
        "sql": statements,
    }
    if options.json:
        tell(figures)
    else:
        print(render(figures))


def render(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    whole, limit, latency, statements = (figures[key] for key in ("end_to_end", "limit", "half_load", "sql"))
    shares = figures["shares"]
    accepted = f"{latency['accepted_p50_ms']:>10.1f} ms {latency['accepted_p99_ms']:>7.1f} ms"
    attempted = f"{latency['first_attempt_p50_ms']:>10.1f} ms {latency['first_attempt_p99_ms']:>7.1f} ms"
    spread = f"({shares[0]:.0%} to {shares[-1]:.0%})"
    rounds, size = figures["rounds"], f"{figures['events']:,} events of {figures['event_bytes']} bytes"
    return f"""
{size} a round, posted one by one over {CONNECTIONS} connections to {HOOKS} webhooks; medians of {rounds} rounds

                                        a second   CPU each   per CPU second
  end to end                          {_costs(whole["per_s"], whole["cpu_us"])} {whole["per_cpu_s"]:>16,.0f}
  limit: Starlette parses the event   {_costs(limit["ingest_per_s"], limit["ingest_cpu_us"])}
  limit: aiohttp signs and posts it   {_costs(limit["send_per_s"], limit["send_cpu_us"])}
  both halves of the limit                       {limit["cpu_us"]:>7,.0f} µs {limit["per_cpu_s"]:>16,.0f}

  share of the limit's deliveries per CPU second    {figures["share_of_limit"]:>8.0%}  {spread}
  SQL statements a delivery                         {statements["statements"]:>8.3f}
  commits a delivery                                {statements["commits"]:>8.3f}

  at half load, {latency["rate"]:>6,.0f} events a second           p50        p99
  posted to 202                              {accepted}
  202 to first attempt                       {attempted}
"""


def _costs(per_s: float, cpu_us: float) -> str:
    return f"{per_s:>10,.0f} {cpu_us:>7,.0f} µs"


if __name__ == "__main__":
    main()
