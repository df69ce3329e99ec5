"""The measurements run, and account for every delivery they count."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_end_to_end_measurement_reports_all_its_figures(tmp_path: Path) -> None:
    """A short run delivers each event once and reports rates, CPU, latency and statements, all of them plausible."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench/end_to_end.py"), "--events=600", "--json", f"--folder={tmp_path}"],
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
