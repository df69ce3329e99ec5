"""What planning costs, beside the bare reading of the same files.

For configurations of 10 to 100,000 webhooks, each in a cold process: `yaml.load` with the C loader, which reads the
files and does nothing else; `reconcile --plan` where nothing is applied yet, so that every webhook is printed, as
text and as JSON; and `reconcile --plan` where all of it is applied, so that there is nothing to print. The
processes take turns, and the best of some runs counts. Needs two minutes and a gigabyte of memory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from wire import tell

ROOT = Path(__file__).resolve().parents[1]
SIZES = (10, 1_000, 10_000, 100_000)
RUNS = 5
LARGE = 50_000
"""From this size on one run is long enough to be exact."""
HOOKS_PER_BOT = 10
HOOKS_PER_FILE = 500
TYPES = ("conversation.started", "conversation.escalated", "conversation.claimed", "conversation.released")
BARE_LOAD = """\
import sys, yaml
from pathlib import Path
for path in sorted(Path(sys.argv[1]).glob("*.yaml")):
    with path.open("rb") as file:
        yaml.load(file, yaml.CSafeLoader)
"""
AIM_S = {1_000: 0.4}
AIM_RATIO = {10_000: 2.5}
AIM_MB = {100_000: 1024}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a process took: wall time, CPU time of all its threads, and its memory at the peak."""

    seconds: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """All costs of one size. `ratio` is of wall time, the plan's to the bare load's."""

    hooks: int
    yaml_mb: float
    load: Cost
    plan: Cost
    plan_json: Cost
    unchanged: Cost
    ratio: float


def write_files(folder: Path, hooks: int) -> int:
    """A configuration of that many webhooks, half of them with a custom payload; its size in bytes."""
    folder.mkdir(parents=True)
    written = 0
    for first in range(0, hooks, HOOKS_PER_FILE):
        lines = ["version: 1", "defaults:", "  timeout: 8s", "bots:"]
        for number in range(first, min(first + HOOKS_PER_FILE, hooks)):
            if number % HOOKS_PER_BOT == 0:
                bot = number // HOOKS_PER_BOT
                lines += [f"  bot-{bot}:", f"    name: Bot {bot}", "    webhooks:"]
            lines += hook_lines(number)
        written += (folder / f"hooks-{first:06}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return written


def hook_lines(number: int) -> list[str]:
    """A webhook as people write them: no two are alike, and URL and body have templates."""
    lines = [
        f"      hook-{number}:",
        f"        type: {TYPES[number % len(TYPES)]}",
        f"        description: Tells system {number} of it.",
        f"        url: https://crm-{number}.example.com/hooks/{{{{conversation.channelType}}}}",
        f"        enabled: {'true' if number % 3 else 'false'}",
    ]
    if number % 2:
        lines += [
            "        custom_payload:",
            "          method: PUT",
            '          headers: {X-Bot: "{{conversation.botName}}"}',
            "          body: |",
            f'            {{"n": {number}, "bot": "{{{{conversation.botName}}}}", "id": "{{{{conversation.id}}}}"}}',
        ]
    return lines


def run(command: list[str], folder: Path) -> Cost:
    """Run a command to its end, its output thrown away. What is installed is compiled, as it is after an install."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "PYTHONDONT"))}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    complaint = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {complaint.decode()}")
    return Cost(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mb=used.ru_maxrss / 1024)


def best(costs: list[Cost]) -> Cost:
    """The least of each figure: what disturbs a run only ever adds."""
    return Cost(
        seconds=min(cost.seconds for cost in costs),
        cpu_s=min(cost.cpu_s for cost in costs),
        peak_mb=min(cost.peak_mb for cost in costs),
    )


def measure(hooks: int, runs: int, folder: Path) -> Figures:
    """All costs of one size, the processes taking turns."""
    files = folder / f"files-{hooks}"
    yaml_bytes = write_files(files, hooks)
    bare, applied = folder / f"bare-{hooks}", folder / f"applied-{hooks}"
    bare.mkdir()
    applied.mkdir()
    reconcile = str(Path(sys.executable).parent / "reconcile")
    plan = [reconcile, "--plan", "-f", str(files)]
    run([reconcile, "--yes", "-f", str(files)], applied)
    commands = {
        "load": ([sys.executable, "-c", BARE_LOAD, str(files)], bare),
        "plan": (plan, bare),
        "plan_json": ([*plan, "--format", "json"], bare),
        "unchanged": ([*plan, "--detailed-exitcode"], applied),  # ends with 2 if anything would change
    }
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(runs if hooks < LARGE else 1):
        for name, (command, place) in commands.items():
            costs[name].append(run(command, place))
    least = {name: best(taken) for name, taken in costs.items()}
    ratio = least["plan"].seconds / least["load"].seconds
    return Figures(hooks=hooks, yaml_mb=yaml_bytes / 1e6, ratio=ratio, **least)


def render(measured: list[Figures]) -> str:
    """The figures as a table, and what they come to."""
    lines = [
        "",
        "Cold processes, wall time in seconds, peak memory in MB",
        "",
        "  webhooks    YAML  yaml.load    plan  ratio    as JSON  unchanged     peak",
    ]
    for each in measured:
        times = f"{each.load.seconds:>8.2f} {each.plan.seconds:>7.2f} {each.ratio:>6.2f}"
        others = f"{each.plan_json.seconds:>10.2f} {each.unchanged.seconds:>10.2f} {each.plan.peak_mb:>8.0f}"
        lines.append(f"  {each.hooks:>8,} {each.yaml_mb:>5.1f} MB {times} {others}")
    lines.append("")
    for each in measured:
        if each.hooks in AIM_S:
            lines.append(f"  {each.hooks:,}: {each.plan.seconds:.2f} s (aim: under {AIM_S[each.hooks]} s)")
        if each.hooks in AIM_RATIO:
            lines.append(f"  {each.hooks:,}: {each.ratio:.2f} times the bare load (aim: {AIM_RATIO[each.hooks]})")
        if each.hooks in AIM_MB:
            peak = max(cost.peak_mb for cost in (each.plan, each.plan_json, each.unchanged))
            lines.append(f"  {each.hooks:,}: {peak:.0f} MB at most (aim: within {AIM_MB[each.hooks]} MB)")
    for fewer, more in pairwise(each for each in measured if each.hooks >= 1_000):
        added_us = (more.plan.cpu_s - fewer.plan.cpu_s) / (more.hooks - fewer.hooks) * 1e6
        lines.append(f"  from {fewer.hooks:,} to {more.hooks:,} each webhook adds {added_us:.0f} µs of CPU")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--folder", type=Path, help="where files and stores are made; default: a new folder in build/"
    )
    options = parser.parse_args()
    (ROOT / "build").mkdir(exist_ok=True)
    folder = options.folder or Path(tempfile.mkdtemp(prefix="planning-", dir=ROOT / "build"))
    try:
        measured = [measure(hooks, options.runs, folder) for hooks in options.sizes]
    finally:
        if options.folder is None:
            shutil.rmtree(folder)
    if options.json:
        tell([asdict(each) for each in measured])
    else:
        print(render(measured))


if __name__ == "__main__":
    main()
