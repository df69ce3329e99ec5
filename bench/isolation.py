"""Fifty healthy webhooks beside five whose receivers hang for the full time-out, with 20,000 deliveries waiting each.

Two daemons with the same configuration: in one of them nothing waits for the five. Events for the healthy ones are
posted to both in turns, first at a steady rate, which gives the latency from the 202 to the first request, then as
fast as they are answered, which gives the throughput. What counts is the ratio of the two daemons. Needs about a
minute and nothing but loopback.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from end_to_end import ROOT, Daemon, Sink, end, percentile, post_events, read_times, wait_until
from waiting import apply, fill
from wire import hooks_yaml, start, tell

HEALTHY = 50
HANGING = 5
DRAIN_S = 60
SETTLED_S = 20


class Side:
    """A daemon with its receivers; `first` numbers the next event."""

    def __init__(self, folder: Path, events: int, waiting: int) -> None:
        self.folder = folder
        folder.mkdir()
        self.sink = Sink(events, folder)
        self.silence, ready = start("hang.py")
        configuration = _configuration(self.sink.port, ready["port"])
        apply(folder, configuration)
        if waiting:
            fill(folder, {f"bot-{HEALTHY + n}/started": waiting for n in range(HANGING)})
        self.waiting = waiting
        self.first = 0
        self.daemon = Daemon(folder, configuration)
        if waiting:
            wait_until(self._is_hanging, SETTLED_S, "no attempt hangs")

    def _is_hanging(self) -> bool:
        return bool(self.daemon.get("/api/v1/status")["workers"]["in_flight"] >= HANGING)

    def post(self, events: int, **more: object) -> dict[str, Any]:
        """Post events to the healthy ones and wait until all have arrived."""
        before, number = self.sink.requests(), self.first
        report = post_events(self.daemon.port, events, bots=HEALTHY, first=number, **more)
        wait_until(lambda: self.sink.requests() - before >= events, DRAIN_S, "not every event reached its receiver")
        self.first += events
        return {**report, "seconds": (time.monotonic_ns() - report["started_ns"]) / 1e9, "first": number}

    def p99_ms(self, events: int, rate: float) -> float:
        """From 202 to first attempt, events coming at `rate`."""
        answered = self.folder / "answered-times"
        number = self.post(events, rate=rate, times=answered)["first"]
        answered_ns, first_ns = read_times(answered), self.sink.first_ns()
        waits = sorted(max(0.0, (first_ns[n] - answered_ns[n]) / 1e6) for n in range(number, number + events))
        return percentile(waits, 0.99)

    def per_s(self, events: int) -> float:
        """Deliveries a second, posted as fast as they are answered."""
        return events / float(self.post(events)["seconds"])

    def stop(self) -> dict[str, Any]:
        """End everything; what the daemon said of itself before. Its grace would only wait for what hangs."""
        status: dict[str, Any] = self.daemon.get("/api/v1/status")
        self.daemon.process.kill()
        self.daemon.process.wait()
        end(self.sink.process)
        end(self.silence)
        return status


def _configuration(sink_port: int, silent_port: int) -> str:
    lines = hooks_yaml(hooks=HEALTHY + HANGING, sink_port=sink_port)
    for number in range(HEALTHY, HEALTHY + HANGING):
        lines = lines.replace(f":{sink_port}/hooks/{number}\n", f":{silent_port}/hooks/{number}\n")
    return lines


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Both daemons in turns."""
    total = 2 * options.rounds * options.events + options.events
    alone = Side(folder / "alone", total, 0)
    alone.post(options.events // 2)  # warms up
    beside = Side(folder / "beside", total, options.waiting)
    beside.post(options.events // 2)
    rounds: list[dict[str, float]] = []
    sides = [("alone", alone), ("beside", beside)]
    for _ in range(options.rounds):
        found: dict[str, float] = {}
        for name, side in sides:
            found[f"{name}_p99_ms"] = side.p99_ms(options.events, options.rate)
        for name, side in sides:
            found[f"{name}_per_s"] = side.per_s(options.events)
        found["p99_ratio"] = found["beside_p99_ms"] / found["alone_p99_ms"]
        found["throughput_ratio"] = found["beside_per_s"] / found["alone_per_s"]
        rounds.append(found)
        sides.reverse()  # whoever else uses the machine shall not favour one
    middle = {name: statistics.median(found[name] for found in rounds) for name in rounds[0]}
    alone.stop()
    status = beside.stop()
    return {
        "healthy": HEALTHY,
        "hanging": HANGING,
        "waiting": options.waiting,
        "rate": options.rate,
        **middle,
        "left_waiting": status["queue"]["pending"] + status["queue"]["sending"],
        "workers": status["workers"],
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_500, help="a measurement")
    parser.add_argument("--rounds", type=int, default=5, help="the medians of which are shown")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--waiting", type=int, default=20_000, help="for each receiver that hangs")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="isolation-", dir=ROOT / "build"))
    try:
        figures = measure(options, folder)
    finally:
        shutil.rmtree(folder)
    if options.json:
        tell(figures)
    else:
        print(render(figures))


def render(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    p99 = f"{figures['alone_p99_ms']:>7.1f} ms {figures['beside_p99_ms']:>7.1f} ms {figures['p99_ratio']:>9.2f}"
    per_s = f"{figures['alone_per_s']:>10,.0f} {figures['beside_per_s']:>10,.0f} {figures['throughput_ratio']:>9.2f}"
    return f"""
{figures["healthy"]} healthy webhooks beside {figures["hanging"]} that hang, with {figures["waiting"]:,} waiting each

                                                 alone     beside     ratio
  202 to first attempt, p99, {figures["rate"]:>6,.0f} a second {p99}
  deliveries a second, as fast as possible  {per_s}
"""


if __name__ == "__main__":
    main()
