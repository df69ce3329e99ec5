"""The documentation tells the truth, and all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click
import pytest
import yaml
from standardwebhooks import WebhookVerificationError

from reconciler import config
from reconciler.cli.main import COMMANDS, root
from reconciler.clock import SystemClock
from reconciler.config import report
from reconciler.config.codes import CODES, Code
from reconciler.errors import ConfigurationInvalid
from reconciler.metrics import Metrics
from reconciler.model.signature import legacy_signature, standard_signature
from reconciler.problem import Severity
from reconciler.web.openapi import build_document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Problem

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
EXAMPLE_CHARACTERS_MAX = 1_000
PROBLEMS_HEAD = """# Problems

What `reconcile validate` and every other command that reads the YAML can find wrong with it. Errors refuse the
configuration (exit code 65); warnings are printed and let it pass. All problems are reported at once, sorted by
place. Each section shows a file that has the problem, and what is printed then.
"""
BODY = '{"deliveryId":"0190","text":"ü"}'.encode()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def defined(page: Path, language: str, function: str) -> str:
    """The one block that defines `function`."""
    (block,) = [block for block in blocks(page, language) if re.search(rf"(def|function) {function}\(", block)]
    return block


# -- commands ------------------------------------------------------------------------------------------------


def commands(group: click.Group, prefix: tuple[str, ...]) -> dict[str, click.Command]:
    """Every command below `group` by what is typed, the group itself first."""
    found: dict[str, click.Command] = {" ".join(prefix): group}
    with click.Context(group, **group.context_settings) as context:
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            typed = (*prefix, name)
            found |= commands(command, typed) if isinstance(command, click.Group) else {" ".join(typed): command}
    return found


def commands_page(monkeypatch: pytest.MonkeyPatch) -> str:
    """What docs/commands.md should say: the help of every command."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    sections = [
        "# Commands\n\nWhat `-h` says of each. The exit codes are in [operations.md](operations.md#exit-codes).\n"
    ]
    for typed, command in commands(root, ("reconcile",)).items():
        settings = command.context_settings | {"terminal_width": 100, "max_content_width": 100}
        context = click.Context(command, info_name=typed, **settings)
        sections.append(f"\n## {typed}\n\n```text\n{command.get_help(context).rstrip()}\n```\n")
    return "".join(sections)


def test_every_command_and_flag_is_documented(monkeypatch: pytest.MonkeyPatch, *, rewrite: bool) -> None:
    """docs/commands.md is the help of all commands; `--rewrite` renews it."""
    page = DOCS / "commands.md"
    text = commands_page(monkeypatch)
    if rewrite:
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8").splitlines() == text.splitlines()


def test_every_command_is_in_the_readme() -> None:
    """The table of commands in README.md leaves none out."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`reconcile {name}" not in readme] == []


# -- problems ------------------------------------------------------------------------------------------------


def problem_section(code: Code) -> str:
    """A code's section: what it means, a text that has it, and what is printed then."""
    warning = ", a warning" if code.severity is Severity.WARNING else ""
    lines = [f"\n## {code.code}\n", f"{code.meaning.removesuffix('.')}{warning}.\n"]
    texts = {name: text.decode("utf-8", "replace") for name, text in code.texts().items()}
    if code.command:
        lines += [f"```yaml\n{text}```\n" for text in texts.values() if code.example]
        lines.append(f"```text\n$ {code.command}\n{met_by(code)}\n```\n")
    elif (code.example or code.files) and sum(map(len, texts.values())) <= EXAMPLE_CHARACTERS_MAX:
        for name, text in texts.items():
            title = f"{name}:\n\n" if len(texts) > 1 else ""
            lines.append(f"{title}```text\n{text}```\n")
        lines.append(f"```text\n{report.render(problems_of(code), 'text', color=False, width=110).rstrip()}\n```\n")
    return "\n".join(lines)


def met_by(code: Code) -> str:
    """The lines in which a code's command names the problem, run where the example's files are."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in code.texts().items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(content)
        done = reconcile(folder, *code.command.split()[1:])
    assert done.returncode == 65, done.stderr
    return "\n".join(line for line in (done.stdout + done.stderr).splitlines() if f"error[{code.code}]" in line)


def problems_of(code: Code) -> Sequence[Problem]:
    """The problems that a code's example has."""
    try:
        return config.load_texts(code.texts(), "/project").warnings
    except ConfigurationInvalid as invalid:
        return invalid.problems


def test_every_problem_is_documented(*, rewrite: bool) -> None:
    """docs/problems.md has a section for each code, with an example and what it prints; `--rewrite` renews it."""
    page = DOCS / "problems.md"
    text = PROBLEMS_HEAD + "".join(map(problem_section, CODES.values()))
    if rewrite:
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8").splitlines() == text.splitlines()


# -- settings, metrics ---------------------------------------------------------------------------------------


def test_every_environment_variable_is_documented() -> None:
    """Each variable that the program reads or sets has its place in docs/operations.md."""
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "reconciler").rglob("*.py"))
    named = set(re.findall(r"\bRECONCILER_[A-Z_]+\b", sources))
    assert {"RECONCILER_STORE", "RECONCILER_KEY"} <= named
    documented = (DOCS / "operations.md").read_text(encoding="utf-8")
    assert sorted(name for name in named if f"`{name}`" not in documented) == []


def test_every_metric_is_documented() -> None:
    """docs/operations.md lists each metric under the name that a query uses, and none that does not exist."""
    families = [family for family in Metrics().registry.collect() if family.name.startswith("reconciler_")]
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    documented = re.findall(r"^\| `(reconciler_\w+)` \|", (DOCS / "operations.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(documented) == sorted(names)


def test_every_route_is_documented() -> None:
    """docs/daemon.md names each method and path that the published description has."""
    documented = (DOCS / "daemon.md").read_text(encoding="utf-8")
    missing = []
    for path, item in build_document()["paths"].items():
        if path.startswith("/api/public/"):  # any method
            missing += [] if f"`{path}`" in documented else [path]
            continue
        names = (path, path.removeprefix("/api/v1/"))
        for method in map(str.upper, item):
            missing += [] if any(f"`{method} {name}" in documented for name in names) else [f"{method} {path}"]
    assert missing == []


# -- README ------------------------------------------------------------------------------------------------


def reconcile(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The installed command, run in `folder` with nothing of this machine's settings."""
    program = Path(sys.executable).with_name("reconcile")
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    return subprocess.run(
        [program, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_commands_of_the_readme_run_in_their_order(tmp_path: Path) -> None:
    """The quick start of README.md works in an empty folder, line by line."""
    (session,) = blocks(ROOT / "README.md", "console")
    typed = re.findall(r"^\$ reconcile ?(.*)$", session, re.MULTILINE)
    assert len(typed) >= 4
    for line in typed:
        done = reconcile(tmp_path, *line.split())
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"


def test_plan_in_the_readme_is_what_is_printed(tmp_path: Path) -> None:
    """The screen in README.md is, but for fingerprints, what the described edit of the example gives."""
    file = tmp_path / "examples" / "hooks.yaml"
    file.parent.mkdir()
    text = (ROOT / "examples/hooks.yaml").read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
    assert reconcile(tmp_path, "-f", "examples/hooks.yaml", "--yes").returncode == 0
    text = text.replace("}/incidents", "}/v2/incidents")
    text = text.replace("crm-new-chat:\n", "crm-chats:\n        moved_from: crm-new-chat\n")
    text = text.replace("desk-claimed:\n", "desk-claimed:\n        secret_version: 2\n")
    file.write_text(text[: text.index("      survey-released:")], encoding="utf-8")
    shown = next(block for block in blocks(ROOT / "README.md", "text") if block.startswith("$ reconcile --plan"))
    printed = reconcile(tmp_path, "--plan", "-f", "examples/hooks.yaml").stdout
    assert without_fingerprints(printed) == without_fingerprints(shown.partition("\n")[2])


def without_fingerprints(text: str) -> list[str]:
    """Lines of a plan, its fingerprints made equal."""
    return re.sub(r"\bfp [0-9a-f]{8}\b", "fp", text).splitlines()


# -- pages ---------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """What can stand behind `#` in a link to the page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Each link to a file of the project, or to a heading in it, has its target."""
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            path, _, anchor = target.partition("#")
            file = (page.parent / path).resolve() if path else page
            if not file.exists() or (anchor and anchor not in anchors(file)):
                dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_in_data_languages_parse(page: Path) -> None:
    """Every JSON and YAML block is valid."""
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "yaml"):
        yaml.safe_load(block)


def test_receiver_code_in_python_tells_genuine_from_forged() -> None:
    """The Python of docs/deliveries.md accepts what is signed here and nothing else."""
    names: dict[str, Any] = {}
    exec(defined(DOCS / "deliveries.md", "python", "is_genuine"), names)
    is_genuine = names["is_genuine"]
    signature = legacy_signature(BODY, SECRET)
    assert is_genuine(BODY, signature, SECRET)
    assert not is_genuine(BODY + b" ", signature, SECRET)
    assert not is_genuine(BODY, signature.replace("=", "=é"), SECRET)
    assert not is_genuine(BODY, None, SECRET)


def test_receiver_code_for_standard_webhooks_verifies() -> None:
    """The Standard Webhooks code of docs/deliveries.md accepts what is signed here."""
    names: dict[str, Any] = {}
    exec(defined(DOCS / "deliveries.md", "python", "verified"), names)
    now_s = SystemClock().wall_s()  # the library compares with the wall clock
    signature = standard_signature("0190", now_s, BODY, [SECRET])
    assert signature is not None
    headers = {"webhook-id": "0190", "webhook-timestamp": str(now_s), "webhook-signature": signature}
    assert names["verified"](BODY, headers, SECRET) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        names["verified"](BODY + b" ", headers, SECRET)


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_receiver_code_in_javascript_tells_genuine_from_forged() -> None:
    """The JavaScript of docs/deliveries.md accepts what is signed here and nothing else."""
    cases = [[BODY.decode(), legacy_signature(BODY, SECRET)], [BODY.decode() + " ", legacy_signature(BODY, SECRET)]]
    cases += [[BODY.decode(), None], [BODY.decode(), "sha256=é"]]
    script = (
        defined(DOCS / "deliveries.md", "javascript", "isGenuine")
        + f"for (const [body, given] of {json.dumps(cases)})"
        + f" console.log(isGenuine(Buffer.from(body), given, {json.dumps(SECRET)}));"
    )
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.split() == ["true", "false", "false", "false"]
