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
