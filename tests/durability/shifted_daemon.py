"""`reconcile`, with a wall clock that a file steps, and with retention that does not take a minute.

Run as a program. `WALL_SHIFT` names a file with milliseconds to add to the time of day; it is read again every time
somebody asks for it. `PRUNE_EVERY_S` is the pause between two rounds of retention.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from reconciler.cli.main import main
from reconciler.daemon import retention

_time_ns = time.time_ns  # noqa: TID251 - what the shifted clock is shifted from


def _shifted_ns() -> int:
    return _time_ns() + int(Path(os.environ["WALL_SHIFT"]).read_text(encoding="ascii")) * 1_000_000


def _shifted() -> float:
    return _shifted_ns() / 1e9


if "WALL_SHIFT" in os.environ:
    time.time_ns = _shifted_ns  # noqa: TID251 - replaced, not read
    time.time = _shifted  # noqa: TID251 - replaced, not read
retention.PRUNE_EVERY_S = float(os.environ.get("PRUNE_EVERY_S", retention.PRUNE_EVERY_S))

if __name__ == "__main__":
    sys.exit(main())
