"""The daemon, with every SQL statement it runs counted: `counted.py REPORT serve …`.

Counting costs time, so that no other figure is taken from this run. The report is written when the daemon stops.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import apsw

counts: Counter[str] = Counter()


def count(trace: dict[str, Any]) -> None:
    """Count a statement under its first word; a statement run for many rows counts once for each."""
    counts[trace["sql"].lstrip().partition(" ")[0].rstrip(";").upper()] += 1


def watch(connection: apsw.Connection) -> None:
    """Have a new connection report its statements."""
    connection.trace_v2(apsw.SQLITE_TRACE_STMT, count)


def main() -> None:
    """Run the command line with the counters in place."""
    report = Path(sys.argv.pop(1))
    apsw.connection_hooks.append(watch)
    from reconciler.cli.main import main as reconcile  # noqa: PLC0415 - after the hook is in place

    try:
        reconcile()
    finally:
        report.write_text(json.dumps(counts), encoding="utf-8")


if __name__ == "__main__":
    main()
