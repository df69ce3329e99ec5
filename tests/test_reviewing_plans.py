"""What docs/reviewing-plans.md shows is what really comes out."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reviewing-plans.md"
SHOWN = re.compile(r"(<!-- (diff|comment) of ([a-z-]+) -->\n).*?(<!-- end -->\n)", re.DOTALL)
VOLATILE = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\bfp [0-9a-f]{8}|[0-9]{4}-[0-9-]{5}T[0-9:]{8}Z")
"""Ids, fingerprints and times: no two states have the same."""


def script() -> ModuleType:
    """The script that makes the pull requests."""
    spec = importlib.util.spec_from_file_location("pull_requests", ROOT / "scripts/pull_requests.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The diff and the comment of each pull request."""
    found: dict[str, Any] = script().build(tmp_path_factory.mktemp("review"))
    return found


def test_the_page_shows_what_reviewers_see(seen: dict[str, Any], *, rewrite: bool) -> None:
    """Every diff and comment, but for ids, fingerprints and times; `--rewrite` pastes them anew."""

    def current(match: re.Match[str]) -> str:
        opening, kind, branch, closing = match.groups()
        text = getattr(seen[branch], kind).rstrip("\n")
        pasted = f"```diff\n{text}\n```" if kind == "diff" else text
        return f"{opening}\n{pasted}\n\n{closing}"

    page = PAGE.read_text(encoding="utf-8")
    expected = SHOWN.sub(current, page)
    if rewrite and VOLATILE.sub("", expected) != VOLATILE.sub("", page):
        PAGE.write_text(expected, encoding="utf-8")
        page = expected
    assert {match[3] for match in SHOWN.finditer(page)} == set(seen)
    assert VOLATILE.sub("…", page) == VOLATILE.sub("…", expected)


def test_an_innocent_change_raises_no_alarm(seen: dict[str, Any]) -> None:
    """No guard, no deletion."""
    comment = seen["slower-pager"].comment
    assert "⛔" not in comment
    assert "🔴" not in comment


def test_a_rename_is_recognised_and_then_harmless(seen: dict[str, Any]) -> None:
    """First the line to add is offered; with it, nothing is lost."""
    assert "`moved_from: crm-new-chat`" in seen["rename"].comment
    assert "⛔" in seen["rename"].comment
    assert "⛔" not in seen["rename-with-source"].comment
    assert "id, secret and log stay" in seen["rename-with-source"].comment


def test_a_mass_delete_is_explained(seen: dict[str, Any]) -> None:
    """The guard counts, and names the text that the webhooks have vanished into."""
    comment = seen["new-alert-text"].comment
    assert "10 of 13 webhooks (76 %)" in comment
    assert "A text of `support-bot/handbook-broken` has taken some in, see " in comment
