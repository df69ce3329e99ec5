"""Plans know the commit they were made at, and what the base of a pull request said."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.cli.checkout import current_commit, files_at
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HASH = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture
def repository(applied: Path) -> Callable[..., str]:
    """Run git in the folder, which is a repository with its hooks.yaml committed on `main`."""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *arguments], cwd=applied, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", "hooks.yaml")
    git("commit", "-q", "-m", "first")
    return git


def test_commit_is_head_of_the_files_repository(
    repository: Callable[..., str], reconcile: Callable[..., Any], folder: Path
) -> None:
    """The plan carries HEAD, whatever CI's variables say."""
    head = repository("rev-parse", "HEAD")

    assert reconcile("--plan", "--json").json["commit"] == head
    assert current_commit([folder / "hooks.yaml"], {"GITHUB_SHA": HASH}) == head


def test_commit_outside_of_a_repository_is_what_ci_says(folder: Path) -> None:
    """Without git it is GITHUB_SHA or CI_COMMIT_SHA, if that looks like a commit, else nothing."""
    assert current_commit([folder], {}) is None
    assert current_commit([folder], {"CI_COMMIT_SHA": HASH}) == HASH
    assert current_commit([folder], {"GITHUB_SHA": "$(rm -rf /)"}) is None


def test_repository_without_commits_has_none(folder: Path) -> None:
    """A fresh `git init` is no error."""
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)

    assert current_commit([folder], {}) is None


def test_files_at_a_commit_are_what_they_were_then(repository: Callable[..., str], applied: Path) -> None:
    """Files and folders are read from the commit, hidden files and other kinds passed over."""
    before = (applied / "hooks.yaml").read_bytes()
    (applied / "more").mkdir()
    for name in ("more/a.yml", "more/.hidden.yaml", "more/notes.txt"):
        (applied / name).write_text(f"# {name}\n")
    repository("add", "more")
    repository("commit", "-q", "-m", "more")
    (applied / "hooks.yaml").write_text("changed")

    assert files_at("HEAD", ["hooks.yaml", "more"]) == {"hooks.yaml": before, "more/a.yml": b"# more/a.yml\n"}
    assert files_at("HEAD~1", ["more"]) == {}


@pytest.mark.parametrize("ref", ["no-such-branch", "--output=evil", "HEAD:hooks.yaml"])
def test_unknown_ref_is_a_usage_error(repository: Callable[..., str], folder: Path, ref: str) -> None:
    """What is no commit is refused, and never taken for an option."""
    with pytest.raises(UsageError, match="git knows no such commit"):
        files_at(ref, ["hooks.yaml"])
    assert not (folder / "evil").exists()


def test_change_that_the_diff_does_not_explain_is_marked(
    repository: Callable[..., str], reconcile: Callable[..., Any], folder: Path
) -> None:
    """Main was edited and not applied; the branch adds a webhook. Only the former is not of the branch's making."""
    path = folder / "hooks.yaml"
    path.write_text(path.read_text().replace("crm.example.com", "crm2.example.com"))
    repository("commit", "-q", "-am", "not applied")
    repository("checkout", "-q", "-b", "feature")
    path.write_text(path.read_text() + "      mine: {type: conversation.claimed, url: 'https://a.example.com/'}\n")

    text = reconcile("--plan", "--base-ref", "main")
    markdown = reconcile("--plan", "--base-ref", "main", "--format", "markdown")

    changed, added, *_ = text.out.split("\n\n")
    assert "support-bot/chats" in changed
    assert "not explained by this diff" in changed
    assert "support-bot/mine" in added
    assert "not explained" not in added
    saved = reconcile("--plan", "--base-ref", "main", "--out", "plan.json", "--json").json
    assert [[each["code"] for each in change["warnings"]][-1:] for change in saved["changes"]] == [
        ["unexplained"],
        [],
    ]
    assert reconcile("apply", "plan.json").code == 0, "the warning is no part of what was reviewed"
    assert markdown.out.startswith("<!-- ")
    assert markdown.out != reconcile("--plan", "--format", "markdown").out


def test_invalid_base_marks_nothing_and_says_so(
    repository: Callable[..., str], reconcile: Callable[..., Any], folder: Path
) -> None:
    """A broken main must not keep a branch that mends it from being planned."""
    path = folder / "hooks.yaml"
    good = path.read_text()
    path.write_text("bots: [")
    repository("commit", "-q", "-am", "broken")
    path.write_text(good)

    ended = reconcile("--plan", "--base-ref", "main")

    assert ended.code == 0
    assert "at main is invalid" in ended.err
    assert reconcile("--plan", "--base-ref", "nope").code == 64


def test_base_ref_works_against_a_server(
    repository: Callable[..., str], reconcile: Callable[..., Any], applied: Path, daemon: Any
) -> None:
    """The daemon is asked twice: for the files here, and for those at the base."""
    plan = reconcile("--plan", "--json").json
    change = {"kind": "webhook", "address": "support-bot/chats", "action": "update", "type": "conversation.started"}
    field = {"path": "url", "before": "https://a", "after": "https://b", "file": "hooks.yaml", "line": 13}
    changed = {**plan, "changes": [{**change, "file": "x", "line": 1, "fields": [field], "warnings": []}]}
    daemon.answers = [(200, changed), (200, changed)]

    ended = reconcile("--plan", "--server", daemon.url, "--base-ref", "HEAD")

    assert ended.code == 0
    assert "not explained by this diff: this webhook would be changed without it" in ended.out
    assert [sorted(body["files"]) for *_, body in daemon.asked] == [["hooks.yaml"], ["hooks.yaml"]]


def test_what_main_has_gained_meanwhile_is_not_explained_by_a_branch_without_it(
    repository: Callable[..., str], reconcile: Callable[..., Any], folder: Path
) -> None:
    """Main has a new webhook, applied already. A branch that began before would delete it without meaning to."""
    path = folder / "hooks.yaml"
    repository("branch", "feature")
    theirs = "      theirs: {type: conversation.claimed, url: 'https://a.example.com/'}\n"
    path.write_text(path.read_text() + theirs)
    repository("commit", "-q", "-am", "theirs")
    assert reconcile("--yes").code == 0
    repository("checkout", "-q", "feature")

    deleted = reconcile("--plan", "--base-ref", "main")
    repository("merge", "-q", "main")
    path.write_text(path.read_text().replace(theirs, ""))
    meant = reconcile("--plan", "--base-ref", "main")

    assert "this webhook would be deleted without it" in deleted.out
    assert "delete webhook support-bot/theirs" in meant.out
    assert "not explained" not in meant.out


def test_base_without_the_files_marks_nothing_and_says_so(
    repository: Callable[..., str], reconcile: Callable[..., Any], folder: Path
) -> None:
    """Files that have moved have no base to be compared with; a deletion among them is not called a surprise."""
    text = (folder / "hooks.yaml").read_text()
    (folder / "hooks").mkdir()
    (folder / "hooks" / "all.yaml").write_text("".join(text.partition("      chats:")[:1]))

    ended = reconcile("--plan", "-f", "hooks", "--base-ref", "main")

    assert "delete webhook support-bot/chats" in ended.out
    assert "not explained" not in ended.out
    assert "none of these files is there at main" in ended.err


def test_base_is_found_from_anywhere(
    repository: Callable[..., str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repository is the files', not the current folder's."""
    text = (folder / "hooks.yaml").read_bytes()
    monkeypatch.chdir("/")

    assert list(files_at("main", [folder / "hooks.yaml"]).values()) == [text]
    assert list(files_at("main", [folder]).values()) == [text]
