"""Look up everything that the lock file pins in the advisory database, and say honestly how far that got.

Exits 1 when a known vulnerability is found, or when the audit itself is broken. Where no advisory service answers
(offline, behind a mirror that has none), nothing is known: that is said, and is no failure, so that people can work
offline; where it must be one, as before a release, `make check AUDIT=--required` fails unless every package was
looked up. pip-audit alone would call a package that it could not look up harmless.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
LOCK = "requirements.lock"
TIMEOUT_S = 300
LISTED_MAX = 10
"""Packages named in one message."""

_UNREACHABLE = re.compile(r"Connection(?:Error| refused)|ConnectTimeout|ReadTimeout|NameResolution|ServiceError")


class Verdict(NamedTuple):
    """What to print, whether the check fails, and whether every package was looked up."""

    failed: bool
    text: str
    complete: bool = False


def judge(output: str, errors: str) -> Verdict:
    """The verdict on what pip-audit has written: its JSON report, or why there is none."""
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = errors.strip().splitlines()[-1:] or ["no report"]
        if _UNREACHABLE.search(errors) is None:
            return Verdict(failed=True, text=f"dependency audit: pip-audit failed: {last[0]}")
        return Verdict(failed=False, text=f"dependency audit: NOT DONE, no advisory service answered ({last[0]})")
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    checked = len(packages) - len(skipped)
    findings = [
        f"  {package['name']} {package['version']}: {found['id']}, fixed in {_versions(found['fix_versions'])}"
        for package in packages
        for found in package.get("vulns", ())
    ]
    if findings:
        return Verdict(failed=True, text="\n".join([f"dependency audit: {len(findings)} found", *findings]))
    if not checked:
        text = f"dependency audit: NOT DONE, the advisory service knows none of the {len(packages)} packages"
        return Verdict(failed=False, text=text)
    if skipped:
        more = "" if len(skipped) <= LISTED_MAX else f" and {len(skipped) - LISTED_MAX} more"
        names = ", ".join(skipped[:LISTED_MAX]) + more
        text = f"dependency audit: nothing known against {checked} packages; NOT LOOKED UP: {names}"
        return Verdict(failed=False, text=text)
    return Verdict(failed=False, text=f"dependency audit: nothing known against {checked} packages", complete=True)


def _versions(fixed: list[str]) -> str:
    return " or ".join(fixed) or "no version yet"


def main(arguments: Sequence[str]) -> int:
    """Run pip-audit on the lock file and print the verdict; with `--required`, fail unless all was looked up."""
    required = "--required" in arguments
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", LOCK, "--require-hashes", "--disable-pip"),
        *("--format", "json", "--desc", "off", "--progress-spinner", "off"),
    ]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        verdict = Verdict(
            failed=False, text=f"dependency audit: NOT DONE, the advisory service took over {TIMEOUT_S} s"
        )
    else:
        verdict = judge(ended.stdout, ended.stderr)
    print(verdict.text, file=sys.stdout if verdict.complete else sys.stderr)
    return int(verdict.failed or (required and not verdict.complete))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
