"""`make demo` keeps its word."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def running(folder: Path) -> list[str]:
    """Processes whose arguments, working folder or environment name `folder`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in texts and int(process.name) != os.getpid():
            found.append(texts.replace(b"\0", b" ").decode(errors="replace")[:200])
    return found


def test_demo_shows_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """It ends with 0 after showing each of its points, and neither a file nor a process of it stays."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/demo.py")],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 5
    assert done.stdout.count("all verified") == 6
    assert list(tmp_path.iterdir()) == []
    assert running(tmp_path) == []
