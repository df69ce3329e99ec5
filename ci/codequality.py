"""The problems of the configuration as GitLab's code quality report: what RECONCILE finds in FILES, on stdout.

Standard library only: it runs wherever there is a Python.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

SEVERITIES = {"error": "major", "warning": "minor"}


def entry(problem: dict[str, Any], seen: Counter[str]) -> dict[str, Any]:
    """A problem in GitLab's words. Its fingerprint stays when it moves within its file, and is no other's."""
    told = "\0".join((problem["file"], problem["code"], problem["message"], problem["source"].strip()))
    seen[told] += 1
    told = f"{told}\0{seen[told]}"
    suggestion = f" ({problem['suggestion']})" if problem["suggestion"] else ""
    return {
        "description": problem["message"] + suggestion,
        "check_name": problem["code"],
        "fingerprint": hashlib.sha256(told.encode("utf-8", "replace")).hexdigest(),
        "severity": SEVERITIES[problem["severity"]],
        "location": {"path": problem["file"], "lines": {"begin": problem["line"]}},
    }


def main() -> None:
    """Validate once more, for a program this time."""
    files = [
        word for line in os.environ.get("FILES", "").splitlines() if line.strip() for word in ("-f", line.strip())
    ]
    command = [os.environ.get("RECONCILE", "reconcile"), "validate", *files, "--format", "json"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False)
    problems = json.loads(done.stdout).get("problems", [])
    seen: Counter[str] = Counter()
    json.dump([entry(problem, seen) for problem in problems], sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
