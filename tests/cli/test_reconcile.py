"""Planning and applying from the command line."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EMPTY = "No changes. 4 resources match the configuration.\n"
HOOK = "{type: conversation.started, url: 'https://a.example.com/'}"


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _edit(folder: Path, before: str, after: str) -> None:
    path = folder / "hooks.yaml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))


def test_planning_writes_nothing_where_there_is_no_store(
    reconcile: Callable[..., Any], applied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan in a folder without state makes no store, no key and no folder."""
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "hooks.yaml").write_text((applied / "hooks.yaml").read_text())
    monkeypatch.chdir(fresh)

    ended = reconcile("--plan")

    assert ended.code == 0
    assert "Plan: 4 to add, 0 to change" in ended.out
    assert sorted(_files(fresh)) == ["hooks.yaml"]


def test_planning_changes_no_byte_of_a_store(reconcile: Callable[..., Any], applied: Path) -> None:
    """A plan against a store leaves every file as it was, SQLite's empty companions aside."""
    before = _files(applied)

    assert reconcile("--plan").code == 0

    after = _files(applied)
    for name in ("state/reconciler.db-wal", "state/reconciler.db-shm"):
        before.pop(name, None)
        after.pop(name, None)
    assert after == before


def test_second_plan_is_empty_and_exits_0(reconcile: Callable[..., Any], applied: Path) -> None:
    """After an apply nothing is left to do, which `--detailed-exitcode` tells as 0."""
    ended = reconcile("--plan", "--detailed-exitcode")

    assert (ended.code, ended.out) == (0, EMPTY)


def test_changed_url_is_one_change_and_exits_2(reconcile: Callable[..., Any], applied: Path) -> None:
    """One edit shows as one change with before, after and its line."""
    _edit(applied, "crm.example.com/hooks", "crm.example.com/v2")

    ended = reconcile("--plan", "--detailed-exitcode", "--json")

    assert ended.code == 2
    (change,) = ended.json["changes"]
    (field,) = change["fields"]
    assert (change["action"], change["address"]) == ("update", "support-bot/chats")
    assert field["before"].endswith("/hooks/{{conversation.channelType}}")
    assert field["after"].endswith("/v2/{{conversation.channelType}}")
    assert (field["file"], field["line"]) == ("hooks.yaml", 13)
    assert reconcile("--plan").code == 0


def test_making_a_key_is_told_and_its_file_is_private(
    reconcile: Callable[..., Any], applied: Path, tmp_path: Path
) -> None:
    """The first apply says where the key is; only its owner can read it; the second apply makes none."""
    ended = reconcile("--yes", "--store", "sqlite:other/reconciler.db")

    key = tmp_path / "other" / "key"
    assert str(key) in ended.err
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    _edit(applied, "crm.example.com", "crm2.example.com")
    assert reconcile("--yes", "--store", "sqlite:other/reconciler.db").err == ""


def test_key_from_the_environment_makes_no_file(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With RECONCILER_KEY secrets are sealed under it; without it they do not open."""
    monkeypatch.setenv("RECONCILER_KEY", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWY=")
    store = ("--store", "sqlite:other/reconciler.db")
    assert reconcile("--yes", *store).code == 0
    assert not (applied / "other" / "key").exists()
    assert reconcile("secret", "support-bot/chats", *store).out.startswith("whsec_")

    monkeypatch.delenv("RECONCILER_KEY")

    assert reconcile("secret", "support-bot/chats", *store).code == 66


def test_apply_without_terminal_and_yes_is_refused(reconcile: Callable[..., Any], applied: Path) -> None:
    """Nobody can be asked: the plan is shown, nothing is applied, exit 64. An empty plan needs no answer."""
    assert reconcile().code == 0
    _edit(applied, "crm.example.com", "crm2.example.com")

    ended = reconcile(given=b"y\n")

    assert ended.code == 64
    assert "1 to change" in ended.out
    assert "--yes" in ended.err
    assert "1 to change" in reconcile("--plan").out
    assert reconcile("--json").json["error"]["exit"] == 64


def test_applying_as_json_gives_the_plan_and_the_serial(reconcile: Callable[..., Any], applied: Path) -> None:
    """The document is the plan that was applied, with the serial that the state has now."""
    _edit(applied, "crm.example.com", "crm2.example.com")

    ended = reconcile("--yes", "--json")

    assert ended.json["summary"]["update"] == 1
    assert ended.json["applied"] == {"serial": 2}


def test_ids_and_secrets_stay_when_something_else_changes(reconcile: Callable[..., Any], applied: Path) -> None:
    """An edit of one webhook leaves the other's id and secret, and its own."""
    before = [(hook["id"], hook["fingerprint"]) for hook in reconcile("hooks", "--json").json["items"]]
    _edit(applied, "crm.example.com", "crm2.example.com")

    assert reconcile("--yes").code == 0

    assert [(hook["id"], hook["fingerprint"]) for hook in reconcile("hooks", "--json").json["items"]] == before


def test_guard_refuses_an_empty_configuration_until_it_is_allowed(
    reconcile: Callable[..., Any], applied: Path
) -> None:
    """Deleting everything exits 6 and changes nothing; the flag that the message names lets it pass."""
    (applied / "hooks.yaml").write_text("version: 1\nbots: {}\n")

    refused = reconcile("--yes")

    assert refused.code == 6
    assert "--allow-delete-all" in refused.err
    assert len(reconcile("hooks", "--json").json["items"]) == 2
    assert reconcile("--yes", "--json").json["error"]["code"] == "guard-refused"
    assert reconcile().code == 6, "refused at once: there is nothing to ask about"
    assert reconcile("--plan", "--detailed-exitcode").code == 2, "a plan lists guards and refuses nothing"

    assert reconcile("--yes", "--allow-delete-all").code == 0
    assert reconcile("hooks", "--json").json["items"] == []


def test_reviewed_plan_is_guarded_as_any_other(reconcile: Callable[..., Any], applied: Path) -> None:
    """A saved plan that deletes everything exits 6, with the flag that lets it pass."""
    (applied / "hooks.yaml").write_text("version: 1\nbots: {}\n")
    assert reconcile("--plan", "--out", "plan.json").code == 0

    refused = reconcile("apply", "plan.json")

    assert (refused.code, "to allow it: --allow-delete-all" in refused.err) == (6, True)
    assert len(reconcile("hooks", "--json").json["items"]) == 2
    assert reconcile("apply", "plan.json", "--allow-delete-all").code == 0
    assert reconcile("hooks", "--json").json["items"] == []


MISTYPED = "--allow-delete support-bot/chat allows nothing: this plan deletes or replaces no webhook"


def test_mistyped_allowance_is_named_where_a_guard_refuses(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside what refused, at once: before a question that would be for nothing."""
    _edit(applied, "        enabled: true\n", "        enabled: true\n        protected: true\n")
    assert reconcile("--yes").code == 0
    text = (applied / "hooks.yaml").read_text()
    (applied / "hooks.yaml").write_text(text[: text.index("      chats:")])
    monkeypatch.setattr("reconciler.cli.reconcile.is_interactive", lambda: True)
    assert reconcile("--plan", "--out", "plan.json").code == 0

    for command in (["--yes"], [], ["apply", "plan.json"]):
        refused = reconcile(*command, "--allow-delete", "support-bot/chat")

        assert refused.code == 6
        assert f"{MISTYPED} of that address; did you mean support-bot/chats?" in refused.err
        assert "warning" not in refused.err
        assert "Apply this plan?" not in refused.err


def test_allowance_of_nothing_is_a_warning_and_no_failure(reconcile: Callable[..., Any], applied: Path) -> None:
    """Where no guard refuses it changes neither the exit code nor what is printed for programs."""
    warning = f"warning: {MISTYPED}\n"
    assert reconcile("--plan", "--out", "empty.json").code == 0

    nothing = reconcile("--allow-delete", "support-bot/chat")
    assert (nothing.code, nothing.err) == (0, warning)
    nothing = reconcile("apply", "empty.json", "--allow-delete", "support-bot/chat")
    assert (nothing.code, nothing.err) == (0, warning)

    _edit(applied, "crm.example.com", "crm2.example.com")
    applying = reconcile("--yes", "--json", "--allow-delete", "support-bot/chat")
    assert (applying.code, applying.json["applied"], applying.err) == (0, {"serial": 2}, warning)

    text = (applied / "hooks.yaml").read_text()
    (applied / "hooks.yaml").write_text(text[: text.index("      chats:")])
    assert reconcile("--yes", "--allow-delete", "support-bot/chats").err == "", "what a plan deletes is no mistake"


def test_invalid_configuration_exits_65_with_every_problem(reconcile: Callable[..., Any], folder: Path) -> None:
    """Problems go to stderr with their places; in JSON they are a list on stdout."""
    (folder / "hooks.yaml").write_text("version: 1\nbots:\n  b:\n    webhook: {}\n    idd: x\n")

    text = reconcile("--plan")
    structured = reconcile("--yes", "--json")

    assert (text.code, text.out) == (65, "")
    assert "hooks.yaml:4:5: error[" in text.err
    assert "hooks.yaml:5:5: error[" in text.err
    assert structured.code == 65
    assert [(problem["line"], problem["column"]) for problem in structured.json["problems"]] == [(4, 5), (5, 5)]
    assert structured.json["error"]["exit"] == 65
    assert not (folder / "state").exists()


def test_missing_configuration_says_how_to_begin(reconcile: Callable[..., Any], folder: Path) -> None:
    """Without hooks.yaml and hooks/ the message names -f and init."""
    ended = reconcile("--plan")

    assert ended.code == 64
    assert "reconcile init" in ended.err
    (folder / "hooks").mkdir()
    (folder / "hooks" / "a.yml").write_text(f"version: 1\nbots: {{b: {{webhooks: {{h: {HOOK}}}}}}}\n")
    assert "Plan: 2 to add" in reconcile("--plan").out


def test_warnings_do_not_fail_a_plan_and_stay_out_of_its_json(reconcile: Callable[..., Any], folder: Path) -> None:
    """Warnings are told on stderr; stdout is the plan alone."""
    (folder / "hooks.yaml").write_text(
        f"version: 1\nbots: {{b: {{webhooks: {{h: {HOOK.replace('https', 'http')}}}}}}}\n"
    )

    ended = reconcile("--plan", "--json")

    assert ended.code == 0
    assert "warning[" in ended.err
    assert ended.json["summary"]["create"] == 2


@pytest.mark.parametrize(
    "damage", [b"not a database, but long enough to be read as one" * 100, b"SQLite format 3\0" + bytes(84)]
)
def test_foreign_store_exits_66(reconcile: Callable[..., Any], applied: Path, damage: bytes) -> None:
    """A file that is no store of ours is refused by reading and writing commands alike, and left as it is."""
    path = applied / "foreign.db"
    path.write_bytes(damage)
    for arguments in (["--plan"], ["hooks"], ["--yes"], ["state", "export"]):
        ended = reconcile(*arguments, "--store", "sqlite:foreign.db")
        assert ended.code == 66, (arguments, ended.err)
    assert path.read_bytes() == damage


def test_file_that_cannot_be_written_is_named_as_it_was_given(reconcile: Callable[..., Any], applied: Path) -> None:
    """A folder that is missing behind --out is a mistake of the call, and the message shows no temporary name."""
    for arguments in (["--plan"], ["state", "export"]):
        ended = reconcile(*arguments, "--out", "nowhere/plan.json")
        assert (ended.code, ended.out) == (64, "")
        assert ended.err == "error: nowhere/plan.json cannot be written: No such file or directory\n"


def test_saved_plan_applies_once_and_is_stale_afterwards(reconcile: Callable[..., Any], applied: Path) -> None:
    """What was reviewed is applied; a second time there is nothing left of it, exit 4."""
    _edit(applied, "crm.example.com", "crm2.example.com")
    saved = reconcile("--plan", "--out", "plan.json")
    assert "reconcile apply plan.json" in saved.err
    assert [path.name for path in applied.iterdir() if "plan" in path.name] == ["plan.json"]

    done = reconcile("apply", "plan.json")
    again = reconcile("apply", "plan.json")

    assert done.code == 0, done.err
    assert "serial is 2" in done.out
    assert reconcile("--plan").out == EMPTY
    assert again.code == 4
    assert "support-bot/chats" in again.err


def test_saved_plan_is_refused_when_the_files_have_changed(reconcile: Callable[..., Any], applied: Path) -> None:
    """The differing resource is named, nothing is applied, and the JSON says exit 4."""
    _edit(applied, "crm.example.com", "crm2.example.com")
    reconcile("--plan", "--out", "plan.json")
    _edit(applied, "crm2.example.com", "crm3.example.com")

    ended = reconcile("apply", "plan.json", "--json")

    assert ended.code == 4
    assert ended.json["error"]["code"] == "plan-stale"
    assert "support-bot/chats" in ended.json["error"]["message"]
    assert "crm.example.com" in reconcile("show", "support-bot/chats").out


def test_plan_that_is_refused_makes_no_store(reconcile: Callable[..., Any], applied: Path) -> None:
    """Neither one of another state nor one whose files have changed since leaves a database or a key behind."""
    _edit(applied, "crm.example.com", "crm2.example.com")
    assert reconcile("--plan", "--out", "other.json").code == 0
    assert reconcile("--plan", "--store", "sqlite:new/r.db", "--out", "first.json").code == 0
    _edit(applied, "crm2.example.com", "crm3.example.com")

    for plan in ("other.json", "first.json"):
        ended = reconcile("apply", plan, "--store", "sqlite:new/r.db")
        assert (ended.code, "nothing was applied" in ended.err) == (4, True), ended.err
        assert not (applied / "new").exists()


def test_file_that_is_no_plan_exits_64(reconcile: Callable[..., Any], applied: Path) -> None:
    """Neither YAML nor an export of the state is taken for a plan."""
    (applied / "other.json").write_text('{"version": 1}')

    assert reconcile("apply", "other.json").code == 64
    assert reconcile("apply", "hooks.yaml").code == 64
    missing = reconcile("apply", "missing.json")
    assert (missing.code, missing.err) == (
        64,
        "error: the plan 'missing.json' cannot be read: No such file or directory\n",
    )
    assert reconcile("--plan", "--state", "missing.json").code == 66


def test_command_that_applies_is_shown_as_it_can_be_typed(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the saved plan, the files and the store it was made for, quoted for a shell."""
    (applied / "hooks.yaml").rename(applied / "my hooks.yaml")

    def command(*arguments: str) -> str:
        lines = reconcile("--plan", "-f", "my hooks.yaml", "--format", "markdown", *arguments).out.splitlines()
        return lines[-1].partition("`")[2].rstrip("`")

    new = ("--store", "sqlite:new/reconciler.db")
    assert command(*new) == "reconcile -f 'my hooks.yaml' --store sqlite:new/reconciler.db"
    assert command(*new, "--out", "p.json") == (
        "reconcile apply p.json -f 'my hooks.yaml' --store sqlite:new/reconciler.db"
    )
    monkeypatch.setenv("RECONCILER_STORE", "sqlite:new/reconciler.db")
    assert command() == "reconcile -f 'my hooks.yaml'"


def test_plan_without_traffic_says_so(reconcile: Callable[..., Any], applied: Path) -> None:
    """An export holds no traffic, so a deletion may meet a guard that the plan does not list."""
    (applied / "state.json").write_text(reconcile("state", "export").out)
    text = (applied / "hooks.yaml").read_text()
    (applied / "hooks.yaml").write_text(text[: text.index("      chats:")])

    assert "knows no traffic" in reconcile("--plan", "--state", "state.json").err
    assert "knows no traffic" not in reconcile("--plan").err
    assert "knows no traffic" in reconcile("--plan", "--state", "state.json", "--format", "markdown").out


def test_plan_against_an_export_needs_no_store(reconcile: Callable[..., Any], applied: Path) -> None:
    """A fork plans against `state export`; a reference's name is enough."""
    (applied / "state.json").write_text(reconcile("state", "export").out)
    _edit(applied, "crm.example.com", "crm2.example.com")

    ended = reconcile("--plan", "--state", "state.json", "--store", "sqlite:nowhere/none.db", "--json")

    assert ended.json["summary"]["update"] == 1
    assert ended.json["base"]["serial"] == 1
    assert not (applied / "nowhere").exists()
    (applied / "state.json").write_text("[]")
    assert reconcile("--plan", "--state", "state.json").code == 66


def test_plan_records_the_commit_of_ci(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outside of a checkout the commit is what CI says it is, else null."""
    assert reconcile("--plan", "--json").json["commit"] is None

    monkeypatch.setenv("GITHUB_SHA", "a" * 40)

    assert reconcile("--plan", "--json").json["commit"] == "a" * 40


def test_plan_is_the_same_bytes_each_time(reconcile: Callable[..., Any], applied: Path) -> None:
    """Equal inputs give equal bytes, in text and in JSON."""
    _edit(applied, "crm.example.com", "crm2.example.com")

    for form in ("text", "json"):
        assert reconcile("--plan", "--format", form).out == reconcile("--plan", "--format", form).out


@pytest.fixture
def sealed(applied: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the applied folder, the current one, in which we may read and not write, even as root."""
    user = os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # not below pytest's own folder, which no other user may enter
        folder = Path(name)
        shutil.copytree(applied, folder, dirs_exist_ok=True)
        monkeypatch.chdir(folder)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        if user == 0:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            os.seteuid(user)
            for path in (folder, *folder.rglob("*")):
                path.chmod(0o700)


def test_plan_works_where_nothing_may_be_written(reconcile: Callable[..., Any], sealed: Path) -> None:
    """Planning needs no right to write: not to the files, not to the store, not to its folder."""
    with pytest.raises(PermissionError):
        (sealed / "state" / "probe").touch()

    ended = reconcile("--plan")

    assert (ended.code, ended.out) == (0, EMPTY), ended.err


def test_environment_alone_never_diverts_a_plan_to_a_server(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RECONCILER_SERVER is for the daemon's commands; `--plan` reads the store unless it is told otherwise."""
    monkeypatch.setenv("RECONCILER_SERVER", "http://127.0.0.1:1")

    assert reconcile("--plan").out == EMPTY
    assert reconcile("--plan", "--server", "http://127.0.0.1:1").code == 69


def test_plan_on_a_server_posts_the_files(reconcile: Callable[..., Any], applied: Path, daemon: Any) -> None:
    """`--server` sends the files' names and text, and shows the plan that comes back."""
    plan = reconcile("--plan", "--json").json
    daemon.answers = [(200, plan)]

    ended = reconcile("--plan", "--server", daemon.url, "--detailed-exitcode")

    assert (ended.code, ended.out) == (0, EMPTY)
    ((method, path, headers, body),) = daemon.asked
    assert (method, path) == ("POST", "/api/v1/plan")
    assert headers["authorization"] == "Bearer canary-token"
    assert body["files"] == {"hooks.yaml": (applied / "hooks.yaml").read_text()}


def test_problems_found_by_a_server_are_shown_as_our_own(
    reconcile: Callable[..., Any], applied: Path, daemon: Any
) -> None:
    """A 422 with problems becomes exit 65 with the same document as a local plan gives."""
    problem = {
        "file": "hooks.yaml",
        "line": 3,
        "column": 3,
        "length": 4,
        "severity": "error",
        "code": "unknown-key",
        "message": "no",
        "suggestion": "did you mean `bots`?",
        "source": "  bost: {}",
        "also": {"file": "more.yaml", "line": 2, "column": 1},
    }
    daemon.answers = [(422, {"code": "configuration-invalid", "detail": "1 problem", "problems": [problem]})] * 2

    shown = "hooks.yaml:3:3: error[unknown-key]: no\n 3 |   bost: {}\n   |   ^^^^\n   = did you mean `bots`?\n"
    assert shown in reconcile("--plan", "--server", daemon.url).err
    ended = reconcile("--plan", "--server", daemon.url, "--json")
    assert ended.code == 65
    assert json.loads(ended.out)["problems"] == [problem]
