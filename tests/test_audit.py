"""The dependency audit fails on findings, and never calls clean what nobody has looked up."""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.py"
CLEAN = {"name": "apsw", "version": "3.51", "vulns": []}
SKIPPED = {"name": "aiohttp", "skip_reason": "not found"}
FOUND = {
    "name": "pyyaml",
    "version": "5.1",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["5.4"]}, {"id": "PYSEC-2", "fix_versions": []}],
}
OFFLINE = "Traceback (most recent call last):\nrequests.exceptions.ConnectionError: Failed to resolve 'pypi.org'\n"


@pytest.fixture(scope="module")
def audit() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("audit", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("packages", "errors", "failed", "said"),
    [
        ([CLEAN], "", False, "nothing known against 1 packages"),
        ([CLEAN, SKIPPED], "", False, "nothing known against 1 packages; NOT LOOKED UP: aiohttp"),
        ([SKIPPED], "No known vulnerabilities found", False, "NOT DONE, the advisory service knows none of the 1"),
        ([CLEAN, SKIPPED, FOUND], "", True, "2 found"),
        (None, OFFLINE, False, "NOT DONE, no advisory service answered"),
        (None, "ERROR: requirement without a hash\n", True, "pip-audit failed: ERROR: requirement without a hash"),
        (None, "", True, "pip-audit failed: no report"),
    ],
)
def test_verdict_is_honest(audit: Any, packages: Any, errors: str, said: str, *, failed: bool) -> None:
    """Findings and a broken audit fail; a service that cannot be reached is told of and does not."""
    output = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    verdict = audit.judge(output, errors)
    assert (verdict.failed, said in verdict.text) == (failed, True), verdict.text


@pytest.mark.parametrize(
    ("packages", "errors", "codes"),
    [
        ([CLEAN], "", (0, 0)),
        ([CLEAN, SKIPPED], "", (0, 1)),
        ([SKIPPED], "", (0, 1)),
        (None, OFFLINE, (0, 1)),
        ([FOUND], "", (1, 1)),
    ],
)
def test_an_audit_that_is_required_fails_unless_all_was_looked_up(
    audit: Any, monkeypatch: pytest.MonkeyPatch, packages: Any, errors: str, codes: tuple[int, int]
) -> None:
    """Working offline goes on; a release that asks for the audit does not pass without one."""
    output = "" if packages is None else json.dumps({"dependencies": packages})
    ended = subprocess.CompletedProcess([], 0, stdout=output, stderr=errors)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: ended)
    assert (audit.main([]), audit.main(["--required"])) == codes


def test_findings_are_listed_with_their_cure(audit: Any) -> None:
    """Which package, which advisory, which version mends it."""
    text = audit.judge(json.dumps({"dependencies": [FOUND]}), "").text
    assert "pyyaml 5.1: PYSEC-1, fixed in 5.4" in text
    assert "pyyaml 5.1: PYSEC-2, fixed in no version yet" in text
