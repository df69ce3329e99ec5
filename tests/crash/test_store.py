"""Killed at any statement, the store holds all that was acknowledged and nothing by halves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_nothing_acknowledged_is_lost_and_nothing_is_half_done_wherever_it_is_killed(tmp_path: Path) -> None:
    """Walks through opening, apply, accept, claim, settle, syncs, redelivery and pruning, statement by statement."""
    walk = Path(__file__).with_name("walk_store.py")
    done = subprocess.run(
        [sys.executable, str(walk), str(tmp_path)], check=False, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["violations"] == []
    assert report["survived"]
    assert report["points"] > 80
    assert report["acknowledged"] == 12
