"""The action, the hook for pre-commit and the example workflows: whole, consistent, and their shell runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from reconciler import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ci.conftest import Runner, Service

ROOT = Path(__file__).parents[2]
ACTION = ROOT / "action.yml"
WORKFLOWS = sorted((ROOT / "examples/ci").glob("github-*.yml"))
GITLAB = ROOT / "examples/ci/gitlab-ci.yml"
EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def read(path: Path) -> Any:
    """A YAML file as its readers see it: `on` is a key, not a boolean."""
    return yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)


def steps(workflow: Any) -> Iterator[dict[str, Any]]:
    """Every step of every job."""
    for job in workflow["jobs"].values():
        yield from job["steps"]


def shells() -> Iterator[Any]:
    """Every piece of shell that is not in a file of its own."""
    for step in read(ACTION)["runs"]["steps"]:
        yield pytest.param(step["run"], id=f"action-{step.get('id', 'end')}")
    for path in WORKFLOWS:
        for step in steps(read(path)):
            if "run" in step:
                yield pytest.param(step["run"], id=f"{path.stem}-{step['name']}")
    for name, job in read(GITLAB).items():
        if isinstance(job, dict):
            for line in (*job.get("before_script", ()), *job.get("script", ())):
                yield pytest.param(line, id=f"gitlab-{name}")


@pytest.mark.parametrize(
    "script", [*shells(), *(pytest.param(p.read_text(), id=p.name) for p in ROOT.glob("ci/*.sh"))]
)
def test_shell_can_be_parsed_and_holds_no_expression(script: str) -> None:
    """What somebody else has written, as a branch's name, gets into a script by its environment and no other way."""
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not EXPRESSION.search(script)


def test_the_action_passes_on_what_it_is_given() -> None:
    """Every input is explained and used, every output comes from a step."""
    action = read(ACTION)
    used = set(re.findall(r"inputs\.([\w-]+)", json.dumps(action["runs"])))
    assert used == set(action["inputs"])
    assert all(entry["description"] and "default" in entry for entry in action["inputs"].values())
    script = (ROOT / "ci/github.sh").read_text(encoding="utf-8")
    assert all(entry["value"] == f"${{{{ steps.plan.outputs.{name} }}}}" for name, entry in action["outputs"].items())
    assert all(f"{name}=" in script for name in action["outputs"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_uses_what_there_is(path: Path) -> None:
    """Inputs that the action has, outputs that it gives, this version, and no more rights than it says."""
    action, workflow = read(ACTION), read(path)
    assert workflow["permissions"]
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())
    for step in steps(workflow):
        uses = step.get("uses", "")
        if "webhook-reconciler" in uses:
            assert uses.endswith(f"@v{__version__}")
            assert set(step["with"]) <= set(action["inputs"])
        if uses.startswith("actions/checkout"):
            assert step["with"]["persist-credentials"] == "false"
            assert step["with"].get("ref", f"v{__version__}") == f"v{__version__}"
    outputs = set(re.findall(r"steps\.plan\.outputs\.([\w-]+)", path.read_text(encoding="utf-8")))
    assert outputs <= set(action["outputs"])


def test_the_apply_workflow_fetches_what_the_plan_workflow_keeps() -> None:
    """File, name of the artefact and configuration are the same in both."""
    (plan,) = [step for step in steps(read(ROOT / "examples/ci/github-plan.yml")) if step.get("id") == "plan"]
    (kept,) = [step for step in steps(read(ROOT / "examples/ci/github-plan.yml")) if "upload" in step.get("uses", "")]
    fetch, apply = [step["run"] for step in steps(read(ROOT / "examples/ci/github-apply.yml")) if "run" in step]
    assert f"--name {kept['with']['name']} " in fetch
    assert "--workflow webhooks-plan.yml" in fetch
    assert apply.endswith(f"-f {plan['with']['files']}")


def evaluated(text: str, given: dict[str, str]) -> str:
    """A value of the action, its expressions filled in."""
    return EXPRESSION.sub(lambda match: given[match[1]], text)


def run_action(runner: Runner, **inputs: str) -> tuple[int, str]:
    """The action's own steps but the installing one, with its own environment; the exit code of the last."""
    action = read(ACTION)
    _, plan, end = action["runs"]["steps"]
    given = {"github.token": runner.environment["GITHUB_TOKEN"]}
    for name, entry in action["inputs"].items():
        given[f"inputs.{name}"] = evaluated(inputs.get(name, entry["default"]), given)
    given["steps.install.outputs.command"] = runner.environment["RECONCILE"]
    runner.files["GITHUB_OUTPUT"].write_text("")
    base = {name: value for name, value in runner.environment.items() if name not in ("OUT", "RECONCILE", "PYTHON")}
    base |= {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_ACTION": "plan", "RUNNER_TEMP": str(runner.out)}
    log = ""
    code = 0
    for step in (plan, end):
        for name, value in runner.outputs.items():
            given[f"steps.plan.outputs.{name}"] = value
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=runner.folder / evaluated(step.get("working-directory", "."), given),
            env=base | {name: evaluated(value, given) for name, value in step["env"].items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        log += done.stdout + done.stderr
        code = done.returncode
        if code:
            break
    return code, log


def test_the_action_runs_with_its_defaults(runner: Runner, service: Service) -> None:
    """Configuration in its usual place: planned, commented, saved."""
    code, log = run_action(runner)
    assert code == 0, log
    assert len(service.comments) == 1
    assert Path(runner.outputs["plan"]).name == "plan.json"
    assert json.loads(Path(runner.outputs["plan"]).read_bytes())["commit"]


def test_the_action_fails_last_with_all_outputs_set(runner: Runner, service: Service) -> None:
    """With the exit code of what failed, after the comment has been written."""
    (runner.folder / "sub").mkdir()
    (runner.folder / "sub/mine.yaml").write_text("version: 2\n")
    code, log = run_action(runner, **{"working-directory": "sub", "files": "mine.yaml", "name": "sub"})
    assert code == 65, log
    assert runner.outputs["exit-code"] == "65"
    assert "### ❌ Webhooks of sub" in service.comments[0]["body"]


def test_the_tool_is_installed_with_the_pinned_versions(tmp_path: Path) -> None:
    """Into an environment of its own, by the first Python that is new enough."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    log = tmp_path / "log"
    fake = f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nmkdir -p "$3/bin"\ncp "{bin_}/pip" "$3/bin/python"\n'
    (bin_ / "python3").write_text(fake)
    (bin_ / "pip").write_text(f'#!/bin/sh\necho "$@" > "{log}"\n')
    for file in bin_.iterdir():
        file.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / "ci/install.sh"), str(tmp_path / "tool")],
        env={**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHON": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/tool/bin/reconcile\n"
    assert log.read_text().split()[-1] == str(ROOT)
    pins = (tmp_path / "tool/constraints.txt").read_text().splitlines()
    assert any(pin.startswith("apsw==") for pin in pins)
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;]+", pin) for pin in pins)
    assert len(pins) == len(re.findall(r"^[A-Za-z0-9]", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def test_an_old_python_is_told_of(tmp_path: Path) -> None:
    """With what helps."""
    done = subprocess.run(
        ["bash", str(ROOT / "ci/install.sh"), str(tmp_path / "tool")],
        env={**os.environ, "PYTHON": "/nowhere/python3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Python 3.11 or newer is needed" in done.stderr


def test_pre_commit_runs_validate(runner: Runner) -> None:
    """The entry, as pre-commit would run it: no file names, with the user's own arguments behind it."""
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["pass_filenames"] is False
    assert hook["language"] == "python"  # pre-commit installs this repository
    assert all(re.search(hook["files"], name) for name in ("hooks.yaml", "hooks/sales.yml"))
    program, *arguments = shlex.split(hook["entry"])
    assert program == "reconcile"
    command = [runner.environment["RECONCILE"], *arguments]
    valid = subprocess.run(command, cwd=runner.folder, env=runner.environment, capture_output=True, check=False)
    assert valid.returncode == 0
    (runner.folder / "other.yaml").write_text("version: 1\nbot: {}\n")
    broken = subprocess.run(
        [*command, "-f", "other.yaml"], cwd=runner.folder, env=runner.environment, capture_output=True, check=False
    )
    assert broken.returncode == 65
    assert b"other.yaml:2:1" in broken.stdout


def run_workflow(runner: Runner, path: Path, gh: str, environment: dict[str, str]) -> tuple[int, str]:
    """A workflow's own shell, step after step, with a `gh` that is a script."""
    bin_ = runner.folder.parent / "bin"
    bin_.mkdir(exist_ok=True)
    (bin_ / "gh").write_text(f"#!/bin/bash\n{gh}")
    (bin_ / "gh").chmod(0o755)
    (bin_ / "reconcile").unlink(missing_ok=True)
    (bin_ / "reconcile").symlink_to(runner.environment["RECONCILE"])
    log = ""
    for step in steps(read(path)):
        if "run" not in step:
            continue
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=runner.folder,
            env={**runner.environment, **environment, "PATH": f"{bin_}:{os.environ['PATH']}"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        log += done.stdout + done.stderr
        if done.returncode:
            return done.returncode, log
    return 0, log


GH_OF_APPLY = """\
case "$1 $2" in
  "api repos/acme/hooks/commits/"*) echo "$HEAD_OF_PULL_REQUEST" ;;
  "run list") [[ "$*" == *"--commit $HEAD_OF_PULL_REQUEST "* ]] && echo 77 ;;
  "run download") [ "$3" = 77 ] && mkdir -p "${@: -1}" && cp "$SAVED" "${@: -1}/plan.json" ;;
esac
"""


def apply_environment(runner: Runner) -> dict[str, str]:
    """What the apply workflow is given after the merge of a pull request whose plan is saved."""
    (runner.folder / "hooks").mkdir()
    (runner.folder / "hooks.yaml").rename(runner.folder / "hooks/all.yaml")
    runner.run("plan.sh", FILES="hooks")
    assert runner.code == 0, runner.log
    return {
        "GITHUB_SHA": "c" * 40,
        "HEAD_OF_PULL_REQUEST": "a" * 40,
        "SAVED": str(runner.out / "plan.json"),
        "RUNNER_TEMP": str(runner.folder.parent),
        "RECONCILER_STORE": f"sqlite:{runner.folder.parent}/store.db",
    }


def test_the_reviewed_plan_is_applied_after_the_merge(runner: Runner) -> None:
    """Once; when the state has moved on it is refused."""
    environment = apply_environment(runner)
    workflow = ROOT / "examples/ci/github-apply.yml"
    code, log = run_workflow(runner, workflow, GH_OF_APPLY, environment)
    assert code == 0, log
    assert "Applied the plan" in log
    code, log = run_workflow(runner, workflow, GH_OF_APPLY, environment)
    assert code == 4, log


@pytest.mark.parametrize(
    ("gh", "said"), [("true", "without a pull request"), ('[ "$1" = api ] && echo abc; true', "No plan was made")]
)
def test_nothing_is_applied_that_nobody_reviewed(runner: Runner, gh: str, said: str) -> None:
    """A commit without a pull request, and a pull request without a plan."""
    code, log = run_workflow(runner, ROOT / "examples/ci/github-apply.yml", f"{gh}\n", apply_environment(runner))
    assert code == 1
    assert said in log


GH_OF_COMMENT = """\
case "$1" in
  api) [[ "$*" == *"-f head=mallory:patch-1 "* ]] && echo "$NUMBER"; true ;;
  run) mkdir -p "${@: -1}" && printf '<!-- webhook-reconciler:plan -->\\n### Webhooks: all\\n' > "${@: -1}/plan.md" ;;
esac
"""


@pytest.mark.parametrize(("number", "comments"), [("5", 1), ("", 0)])
def test_a_forks_plan_becomes_a_comment(runner: Runner, service: Service, number: str, comments: int) -> None:
    """On the pull request that GitHub names; on none once that has moved on."""
    environment = {
        "GH_TOKEN": runner.environment["GITHUB_TOKEN"],
        "HEAD": "mallory:patch-1",
        "HEAD_SHA": "b" * 40,
        "RUN": "77",
        "RUNNER_TEMP": str(runner.folder.parent),
        "NUMBER": number,
        "GITHUB_EVENT_PATH": "/nowhere",
    }
    (runner.folder / "ci").symlink_to(ROOT / "ci")
    code, log = run_workflow(runner, ROOT / "examples/ci/github-comment-fork.yml", GH_OF_COMMENT, environment)
    assert code == 0, log
    assert len(service.comments) == comments


def test_the_gitlab_jobs_fit_together() -> None:
    """The apply job takes the file that the plan job keeps, and the report is the one that the script writes."""
    text, jobs = GITLAB.read_text(encoding="utf-8"), read(GITLAB)
    plan, apply = jobs["plan webhooks"], jobs["apply webhooks"]
    out = plan["variables"]["OUT"]
    assert plan["artifacts"]["reports"]["codequality"] == f"{out}/codequality.json"
    assert f"{out}/plan.json" in plan["artifacts"]["paths"]
    assert f"/raw/{out}/plan.json?job=plan%20webhooks" in apply["script"][0]
    assert apply["script"][-1].endswith(f"-f {plan['variables']['FILES']}")
    assert f"RECONCILER_VERSION: v{__version__}" in text
    assert {plan["stage"], apply["stage"]} == set(jobs["stages"])
