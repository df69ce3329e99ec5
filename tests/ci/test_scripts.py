"""The scripts that jobs run: planned once, told everywhere, one comment."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.ci.conftest import Runner, Service

MARKER = "<!-- webhook-reconciler:plan -->"
BROKEN = (
    "version: 1\nbots: {support-bot: {webhooks: {chats: {type: conversation.begun, url: 'https://a.example'}}}}\n"
)


def test_a_plan_is_commented_on_and_handed_over(runner: Runner, service: Service) -> None:
    """One new comment with the plan, the same in the summary; outputs and a saved plan for later steps."""
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    (comment,) = service.comments
    assert comment["body"].startswith(f"{MARKER}\n### Webhooks: ")
    assert comment["body"] == runner.plan == runner.summary
    assert "Apply with `reconcile apply plan.json`" in runner.plan
    assert runner.outputs == {
        "exit-code": "2",
        "changes": "true",
        "plan": str(runner.out / "plan.json"),
        "markdown": str(runner.out / "plan.md"),
        "comment": comment["html_url"],
    }
    assert json.loads((runner.out / "plan.json").read_bytes())["summary"]["create"] == 2
    assert service.tokens == {"Bearer canary-token"}


def test_the_comment_is_found_on_a_later_page_and_updated(runner: Runner, service: Service) -> None:
    """Behind 250 others; other people's comments are left alone, whatever they begin with."""
    for number in range(120):
        service.add(f"comment {number}")
    service.add(f"{MARKER}\nquoted by a person", {"login": "mallory", "type": "User"})
    ours = service.add(f"{MARKER}\nan old plan")
    service.add(f"{MARKER}\nquoted once more", {"login": "mallory", "type": "User"})
    for number in range(129):
        service.add(f"comment {number}")
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    assert ours["body"] == runner.plan
    assert runner.outputs["comment"] == ours["html_url"]
    assert len(service.comments) == 252
    assert [each["body"] for each in service.comments if each["user"]["login"] == "mallory"] == [
        f"{MARKER}\nquoted by a person",
        f"{MARKER}\nquoted once more",
    ]
    assert service.requests[-1] == f"PATCH /repos/acme/hooks/issues/comments/{ours['id']}"
    assert sum(request.startswith("GET") for request in service.requests) == 3


def test_an_equal_plan_is_not_written_again(runner: Runner, service: Service) -> None:
    """A second run changes nothing, and nobody is notified."""
    runner.run("github.sh")
    runner.run("github.sh")
    assert len(service.comments) == 1
    assert [request for request in service.requests if request.startswith(("POST", "PATCH"))] == [
        "POST /repos/acme/hooks/issues/5/comments"
    ]


def test_a_plan_without_changes_makes_no_comment_but_updates_one(runner: Runner, service: Service) -> None:
    """Where there is nothing to say nobody is told so, unless they were told otherwise before."""
    applied = {"RECONCILER_STORE": f"sqlite:{runner.out}/store.db"}
    apply(runner, applied["RECONCILER_STORE"])
    runner.run("github.sh", **applied)
    assert runner.code == 0, runner.log
    assert service.comments == []
    assert runner.outputs["changes"] == "false"
    assert runner.outputs["exit-code"] == "0"
    assert "no changes" in runner.summary

    ours = service.add(f"{MARKER}\nan old plan")
    runner.run("github.sh", **applied)
    assert ours["body"] == runner.plan
    assert len(service.comments) == 1

    service.comments.clear()
    runner.run("github.sh", COMMENT_ALWAYS="true", **applied)
    assert len(service.comments) == 1


def test_an_invalid_configuration_is_annotated_and_replaces_the_plan(runner: Runner, service: Service) -> None:
    """The comment that was right until now must not go on saying what would happen."""
    runner.run("github.sh")
    (runner.folder / "hooks.yaml").write_text(BROKEN)
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    assert re.search(r"^::error file=hooks\.yaml,line=2,col=\d+,", runner.log, re.MULTILINE)
    assert runner.outputs["exit-code"] == "65"
    assert "plan" not in runner.outputs
    assert not (runner.out / "plan.json").exists()
    (comment,) = service.comments
    assert comment["body"].startswith(
        f"{MARKER}\n### ❌ Webhooks: the configuration is invalid\n\n```text\nhooks.yaml:2:"
    )
    assert "conversation.started" in comment["body"]


def test_a_state_that_cannot_be_read_is_told(runner: Runner, service: Service) -> None:
    """With the exit code of the command, and what it said."""
    (runner.folder / "state.json").write_text("not a state")
    runner.run("github.sh", STATE="state.json")
    assert runner.outputs["exit-code"] == "66"
    (comment,) = service.comments
    assert "### ❌ Webhooks: the state cannot be read" in comment["body"]


def test_a_fork_plans_against_an_exported_state_without_any_right(runner: Runner, service: Service) -> None:
    """A token that may only read is no failure: there is a notice, and the plan is in the summary."""
    store = f"sqlite:{runner.out}/store.db"
    apply(runner, store)
    export = command(runner, "state", "export", "--store", store)
    (runner.folder / "state.json").write_text(export)
    (runner.folder / "hooks.yaml").write_text((runner.folder / "hooks.yaml").read_text().replace("/chats}", "/new}"))
    service.refusals = [("GET", 403)]
    runner.run("github.sh", STATE="state.json", RECONCILER_STORE="sqlite:/nowhere/store.db")
    assert runner.code == 0, runner.log
    assert "::warning title=No comment::" in runner.log
    assert "1 to change" in runner.summary
    assert runner.outputs["exit-code"] == "2"
    assert "comment" not in runner.outputs


def test_what_the_base_has_not_is_marked(runner: Runner, service: Service) -> None:
    """A change that this pull request's own diff does not explain is told of, by the base of the event."""
    store = f"sqlite:{runner.out}/store.db"
    apply(runner, store)
    path = runner.folder / "hooks.yaml"
    path.write_text(path.read_text().replace("/chats}", "/others}"))
    gitted(runner, "commit", "--quiet", "--all", "--message=somebody else's")
    event = {"pull_request": {"number": 5, "base": {"sha": gitted(runner, "rev-parse", "HEAD")}}}
    (runner.out.parent / "event.json").write_text(json.dumps(event))
    runner.run("github.sh", RECONCILER_STORE=store)
    with_base = service.comments[0]["body"]
    runner.run("github.sh", RECONCILER_STORE=store, BASE_REF="none")
    assert "not explained by this diff" in with_base
    assert "not explained by this diff" not in service.comments[0]["body"]


def test_what_files_say_is_no_command_to_the_runner(runner: Runner) -> None:
    """Everything but the annotations stands where the runner takes no commands."""
    runner.run("github.sh")
    lines = runner.log.splitlines()
    commands = [number for number, line in enumerate(lines) if line.lstrip().startswith("::")]
    (stop,) = [number for number in commands if lines[number].startswith("::stop-commands::")]
    guard = lines[stop].rpartition("::")[2]
    assert len(guard) >= 32
    assert lines[commands[-1]] == f"::{guard}::"
    assert stop < commands[-1]


def test_no_pull_request_no_comment(runner: Runner, service: Service) -> None:
    """A push is planned, too."""
    (runner.out.parent / "event.json").write_text('{"ref": "refs/heads/main"}')
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    assert runner.outputs["changes"] == "true"
    assert service.requests == []


def test_a_comment_is_not_wanted_where_it_is_switched_off(runner: Runner, service: Service) -> None:
    """The plan is in the summary."""
    runner.run("github.sh", COMMENT="false")
    assert service.requests == []
    assert "to add" in runner.summary


def test_a_passing_failure_of_the_service_is_got_over(runner: Runner, service: Service) -> None:
    """What can be repeated without harm is repeated."""
    service.refusals = [("GET", 502)]
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    assert len(service.comments) == 1


def test_a_failure_of_the_service_that_lasts_is_one(runner: Runner, service: Service) -> None:
    """A new comment is not tried twice: it might be there already."""
    service.refusals = [("POST", 500), ("POST", 500)]
    runner.run("github.sh")
    assert runner.code == 1
    assert sum(request.startswith("POST") for request in service.requests) == 1


def test_a_huge_plan_fits_into_a_comment(runner: Runner, service: Service) -> None:
    """A thousand new webhooks, and a thousand mistakes, stay within what GitHub takes."""
    lines = [f"      h{n}: {{type: conversation.started, url: https://a.example/{'x' * 99}{n}}}" for n in range(1000)]
    head = "version: 1\nbots:\n  support-bot:\n    webhooks:\n"
    (runner.folder / "hooks.yaml").write_text(head + "\n".join(lines) + "\n")
    runner.run("github.sh")
    assert runner.code == 0, runner.log
    assert 500 < len(service.comments[0]["body"]) <= 65_536
    assert "1001 to add" in service.comments[0]["body"]
    (runner.folder / "hooks.yaml").write_text(head + "\n".join(lines).replace("url:", "ürl:") + "\n")
    runner.run("github.sh")
    assert runner.outputs["exit-code"] == "65"
    assert 10_000 < len(service.comments[0]["body"]) <= 65_536
    assert service.comments[0]["body"].rstrip().endswith("```")


def test_a_comment_that_is_too_long_is_cut(runner: Runner, service: Service) -> None:
    """Whoever has written it: a service that refused it would leave an old plan standing."""
    runner.out.mkdir()
    long = runner.out / "long.md"
    long.write_text(f"{MARKER}\n### Webhooks: all\n" + "ä line\n" * 20_000)
    runner.run("comment.py", "github", str(long))
    assert runner.code == 0, runner.log
    body = service.comments[0]["body"]
    assert 60_000 < len(body) <= 65_536
    assert body.endswith("did not fit; see the saved plan.\n")


def test_several_plans_have_a_comment_each(runner: Runner, service: Service) -> None:
    """Told apart by a name that cannot break out of where it stands."""
    for name in ("staging", "production", "x --> <b>", "staging"):
        runner.run("github.sh", PLAN_NAME=name)
        assert runner.code == 0, runner.log
    assert [each["body"].splitlines()[:2] for each in service.comments] == [
        [f"<!-- webhook-reconciler:plan {name} -->", f"### Webhooks of {name}: 🟢 2 to add"]
        for name in ("staging", "production", "x ___ _b_")
    ]


def test_files_are_named_one_a_line(runner: Runner) -> None:
    """Blanks around them do not matter, those inside do."""
    (runner.folder / "my hooks").mkdir()
    (runner.folder / "hooks.yaml").rename(runner.folder / "my hooks/a.yaml")
    (runner.folder / "b.yaml").write_text("version: 1\nbots: {sales-bot: {}}\n")
    runner.run("github.sh", FILES="\n  my hooks \nb.yaml\n\n")
    assert runner.code == 0, runner.log
    assert json.loads((runner.out / "plan.json").read_bytes())["summary"]["create"] == 3


def test_gitlab_gets_a_note_and_a_report(runner: Runner, service: Service) -> None:
    """The note is updated in place, nobody else's is; the report lists each problem with its place."""
    runner.run("gitlab.sh")
    assert runner.code == 0, runner.log
    (note,) = service.comments
    assert note["body"] == runner.plan
    assert service.tokens == {"canary-token"}
    assert json.loads((runner.out / "codequality.json").read_bytes()) == []

    warned = (runner.folder / "hooks.yaml").read_text().replace("https:", "http:")
    (runner.folder / "hooks.yaml").write_text(warned)
    quoted = service.add(f"{MARKER}\nquoted by a person", {"id": 8})
    runner.run("gitlab.sh")
    assert runner.code == 0, runner.log
    assert len(service.comments) == 2
    assert note["body"] == runner.plan
    assert quoted["body"] == f"{MARKER}\nquoted by a person"
    (problem,) = json.loads((runner.out / "codequality.json").read_bytes())
    assert problem["check_name"] == "plain-http"
    assert problem["severity"] == "minor"
    assert problem["location"] == {"path": "hooks.yaml", "lines": {"begin": 5}}
    assert re.fullmatch(r"[0-9a-f]{64}", problem["fingerprint"])


def test_gitlab_fails_on_an_invalid_configuration_with_the_report_written(runner: Runner, service: Service) -> None:
    """Two equal mistakes are two entries."""
    hook = "{type: conversation.started, url: https://a.example, urll: x}"
    (runner.folder / "hooks.yaml").write_text(
        f"version: 1\nbots:\n  a:\n    webhooks:\n      b: {hook}\n  c:\n    webhooks:\n      b: {hook}\n"
    )
    runner.run("gitlab.sh")
    assert runner.code == 65
    problems = json.loads((runner.out / "codequality.json").read_bytes())
    assert [problem["location"]["lines"]["begin"] for problem in problems] == [5, 8]
    assert len({problem["fingerprint"] for problem in problems}) == 2
    assert "❌" in service.comments[0]["body"]


def test_gitlab_without_a_token_prints_the_plan(runner: Runner, service: Service) -> None:
    """And asks nobody."""
    runner.run("gitlab.sh", GITLAB_TOKEN="")
    assert runner.code == 0, runner.log
    assert "### Webhooks: " in runner.log
    assert service.requests == []


@pytest.mark.parametrize("text", ["a ``` b\n````\n", "\x1b[31mred\x1b[0m\n"])
def test_what_was_printed_cannot_leave_its_fence(runner: Runner, text: str) -> None:
    """The fence is longer than any in it, and control characters are shown as such."""
    file = runner.folder / "printed"
    file.write_text(text)
    runner.run("failure.py", "70", str(file))
    assert runner.code == 0
    fence = re.search(r"^(`{3,})text$", runner.log, re.MULTILINE)
    assert fence is not None
    assert runner.log.rstrip().splitlines()[-1] == fence[1]
    assert fence[1] not in text
    assert "\x1b" not in runner.log


def apply(runner: Runner, store: str) -> None:
    """Apply what the repository has."""
    runner.out.mkdir(exist_ok=True)
    command(runner, "--yes", "--store", store)


def command(runner: Runner, *arguments: str) -> str:
    """Run the tool itself."""
    return captured(runner, runner.environment["RECONCILE"], *arguments)


def gitted(runner: Runner, *arguments: str) -> str:
    """Run git in the runner's checkout."""
    return captured(runner, "git", *arguments).strip()


def captured(runner: Runner, *words: str) -> str:
    """What a command prints that must succeed."""
    done = subprocess.run(
        words, cwd=runner.folder, env=runner.environment, stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    return done.stdout.decode()
