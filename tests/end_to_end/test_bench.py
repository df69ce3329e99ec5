"""The measurements run, and account for every delivery they count."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_end_to_end_measurement_reports_all_its_figures(tmp_path: Path) -> None:
    """A short run delivers each event once and reports rates, CPU, latency and statements, all of them plausible."""
    options = ("--events=600", "--rounds=2", "--json")
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/end_to_end.py"), *options, f"--folder={tmp_path}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["end_to_end"]["per_s"] > 0
    assert 0 < figures["share_of_limit"] < 1.5
    assert 0 <= figures["half_load"]["first_attempt_p50_ms"] <= figures["half_load"]["first_attempt_p99_ms"]
    assert 0 < figures["sql"]["commits"] < figures["sql"]["statements"]


def test_isolation_measurement_reports_both_sides() -> None:
    """A short run measures healthy webhooks with and without receivers that hang; these keep their queue."""
    options = ("--events=200", "--rounds=1", "--rate=400", "--waiting=50", "--json")
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/isolation.py"), *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["left_waiting"] == 5 * 50
    assert figures["workers"]["in_flight"] >= 5
    assert figures["p99_ratio"] > 0
    assert figures["throughput_ratio"] > 0


def test_backlog_measurement_reports_all_its_figures() -> None:
    """A short run fills a store, claims from it at three sizes, and lets a daemon deliver it."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/backlog.py"), "--waiting=2000", "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert sorted(map(int, figures["claim_us"])) == [20, 200, 2000]
    assert all(us > 0 for us in figures["claim_us"].values())
    assert 20 < figures["daemon"]["memory_mb"] < 300
    assert 0 < figures["daemon"]["first_delivery_s"] < 60


def test_planning_measurement_reports_all_its_figures(tmp_path: Path) -> None:
    """A short run on two small configurations measures reading, planning and planning again."""
    folder = f"--folder={tmp_path}"
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/planning.py"), "--sizes", "10", "200", "--runs=1", "--json", folder],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    few, many = json.loads(done.stdout)
    assert (few["hooks"], many["hooks"]) == (10, 200)
    for figures in (few, many):
        assert figures["ratio"] > 1
        for cost in (figures["load"], figures["plan"], figures["plan_json"], figures["unchanged"]):
            assert cost["seconds"] > 0
            assert 5 < cost["peak_mb"] < 500
    assert many["yaml_mb"] > few["yaml_mb"] > 0


@pytest.mark.parametrize(
    ("only", "needed"), [("triggers", ("webhook",)), ("deliveries", ("redis-server", "node", "npm"))]
)
def test_comparison_reports_both_sides(only: str, needed: tuple[str, ...]) -> None:
    """A short round of each: every event and call is answered by both, and the ratio is of what was measured."""
    if any(shutil.which(program) is None for program in needed):
        pytest.skip(f"needs {', '.join(needed)}")
    done = subprocess.run(
        [
            *(sys.executable, str(ROOT / "bench/compare.py"), f"--only={only}", "--json"),
            *("--events=600", "--calls=3000", "--rounds=1"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])[only]
    ratio = figures["ours"]["per_s"] / figures["theirs"]["per_s"]
    assert figures["times"]["per_s"] == pytest.approx(ratio)
    assert figures["times"]["per_cpu_s"] > 0
