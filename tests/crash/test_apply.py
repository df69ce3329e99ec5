"""Killed at any step of an apply, the store holds the old state or the new one, and the next run goes on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("apply", ["first", "next"])
def test_state_is_the_old_or_the_new_one_wherever_an_apply_is_killed(apply: str, tmp_path: Path) -> None:
    """One that makes key and store, and one of every kind of change; power may fail at any page after the commit."""
    walk = Path(__file__).with_name("walk_apply.py")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
    done = subprocess.run(
        [sys.executable, str(walk), str(tmp_path), apply],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        env=environ,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["violations"] == []
    assert report["survived"]
    assert report["points"] > 50
    assert report["cuts"] > 10
    assert report["new"] == 2, "what survives, and what was killed right after its commit"
    assert report["old"] == report["points"] + report["cuts"] - report["new"]
