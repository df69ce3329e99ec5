"""Every command starts at once, explains itself, and fails in the same way."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from reconciler import __version__
from reconciler.cli import catalog
from reconciler.cli.main import COMMANDS, root, run

if TYPE_CHECKING:
    from collections.abc import Callable

RECONCILE = str(Path(sys.executable).with_name("reconcile"))
HEAVY = {
    "asyncio",
    "yaml",
    "httpx2",
    "rich",
    "apsw",
    "orjson",
    "aiohttp",
    "cryptography",
    "structlog",
    "jsonschema_rs",
}
ALL = [*((name,) for name in COMMANDS), ("state", "export"), ("state", "backup")]


def test_version_imports_nothing_heavy() -> None:
    """`reconcile --version` is instant because it loads click and little else."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", RECONCILE, "--version"], capture_output=True, text=True, check=True
    )

    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert done.stdout == f"reconcile {__version__}\n"
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_help_explains_and_shows_examples_of_every_command(
    reconcile: Callable[..., Any], capsysbinary: pytest.CaptureFixture[bytes], name: tuple[str, ...]
) -> None:
    """`-h` and `--help` say the same, with a sentence for each option and examples that name the command."""
    short, long = (_help(capsysbinary, [*name, option]) for option in ("-h", "--help"))

    assert short == long
    assert f"reconcile {' '.join(name)}" in short.partition("Examples:")[2]


def _help(capsysbinary: pytest.CaptureFixture[bytes], arguments: list[str]) -> str:
    assert run(arguments) == 0
    return capsysbinary.readouterr().out.decode()


@pytest.mark.parametrize("name", ALL, ids=" ".join)
def test_every_option_has_a_help_text(name: tuple[str, ...]) -> None:
    """No option is left unexplained."""
    command: click.Command = root
    context = click.Context(root)
    for part in name:
        assert isinstance(command, click.Group)
        found = command.get_command(context, part)
        assert found is not None
        command = found

    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_help_of_the_group_lists_every_command(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """The overview names all commands without importing them."""
    text = _help(capsysbinary, ["-h"])

    assert [name for name in COMMANDS if f"\n  {name} " not in text] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["no-such-command"],
        ["--plan", "--format", "nonsense"],
        ["show"],
        ["state"],
        ["--plan", "hooks"],
        ["-f", "x.yaml", "hooks"],
        ["--plan", "--yes"],
        ["--out", "plan.json"],
        ["--plan", "--out"],
        ["--plan", "--state", "s.json", "--server", "http://127.0.0.1:1"],
        ["deliveries", "--since", "yesterday-ish"],
        ["retry"],
        ["--store", "nonsense", "hooks"],
        ["serve", "--allow-target", "everything"],
        ["status", "--server", "ftp://example.com"],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_64_in_text_and_json(reconcile: Callable[..., Any], arguments: list[str]) -> None:
    """A command that cannot work says so on stderr; in a JSON format stdout is a JSON document, too."""
    text = reconcile(*arguments)
    assert (text.code, text.out) == (64, "")
    assert text.err.startswith("error: ")

    structured = reconcile(*arguments, "--json")
    assert structured.code == 64
    assert structured.json["error"]["code"] == "usage"
    assert structured.json["error"]["exit"] == 64
    assert structured.json["error"]["message"]
    assert structured.json["problems"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("-f", "Option '-f' requires an argument; see `reconcile -h`"),
        ("apply plan.json --allow-delete", "Option '--allow-delete' requires an argument; see `reconcile apply -h`"),
        ("--allow-delete --yes", "Option '--allow-delete' requires an argument, and '--yes' is an option itself"),
        ("-f --plan", "Option '-f' requires an argument, and '--plan' is an option itself"),
        ("--plan --out --server=x", "Option '--out' requires an argument, and '--server=x' is an option itself"),
        ("hooks --store -h", "Option '--store' requires an argument, and '-h' is an option itself"),
    ],
)
def test_option_without_its_value_is_named(
    reconcile: Callable[..., Any], applied: Path, arguments: str, said: str
) -> None:
    """Also where another option follows: it is not taken for the value, and no file is called `--json`."""
    (applied / "hooks.yaml").write_text("version: 1\nbots: {b: {}}\n")
    before = sorted(applied.iterdir())

    ended = reconcile(*arguments.split())

    assert (ended.code, ended.out) == (64, "")
    assert ended.err.startswith(f"error: {said}")
    assert sorted(applied.iterdir()) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--plan", "-f", ""],
        ["validate", "-f", ""],
        ["--plan", "--out", ""],
        ["--plan", "--state", ""],
        ["apply", ""],
        ["--key-file", "", "--yes"],
        ["state", "export", "--out", ""],
        ["state", "backup", ""],
        ["emit", ""],
        ["init", ""],
        ["test", "b/h", "--event", ""],
        ["serve", "-f", ""],
        ["listen", "--secret-file", ""],
    ],
    ids=" ".join,
)
def test_empty_path_is_named_for_what_it_is(
    reconcile: Callable[..., Any], folder: Path, arguments: list[str]
) -> None:
    """A variable of a script that is not set is a usual cause; the current folder is never meant."""
    ended = reconcile(*arguments)

    assert (ended.code, ended.out) == (64, "")
    assert "the path is empty; is a variable unset?" in ended.err
    assert list(folder.iterdir()) == []


def test_mistyped_command_is_met_with_the_right_one(reconcile: Callable[..., Any]) -> None:
    """A near miss is named; a file is told to go behind -f."""
    assert "did you mean `deliveries`?" in reconcile("delivries").err
    assert "give it with -f" in reconcile("config/webhooks.yaml").err
    assert "`reconcile -h` lists them" in reconcile("quux").err
    assert "`reconcile state -h` lists them" in reconcile("state", "quux").err


def test_option_before_the_command_counts_for_it(reconcile: Callable[..., Any], applied: Path) -> None:
    """`reconcile --store URL hooks` reads that store, and the environment does not win over it."""
    ended = reconcile("--store", "sqlite:elsewhere.db", "hooks", "--json")

    assert ended.json == {"items": [], "next": None}
    assert len(reconcile("--json", "hooks").json["items"]) == 2


def test_fault_of_the_program_shows_no_traceback(
    reconcile: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen exception becomes one line that names its type and place, and not its text."""

    def broken(*_: object) -> None:
        raise LookupError("canary")

    monkeypatch.setattr(catalog, "print_table", broken)

    ended = reconcile("types")

    assert ended.code == 1
    assert "LookupError at cli/catalog.py:" in ended.err
    assert "canary" not in ended.err
    assert "Traceback" not in ended.err


def test_unreadable_file_is_named_when_the_system_refuses(reconcile: Callable[..., Any], folder: Path) -> None:
    """An error of the operating system is one line with the file's name."""
    (folder / "occupied").write_text("a file, not a folder", encoding="utf-8")

    ended = reconcile("init", "occupied/below")

    assert ended.code == 1
    assert ended.err == "error: occupied/below: Not a directory\n"


def test_interruption_ends_quietly_with_130(reconcile: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is an ordinary way to end."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(catalog, "print_table", interrupt)

    ended = reconcile("types")

    assert (ended.code, ended.out, ended.err) == (130, "", "\n")


def test_closed_pipe_ends_quietly() -> None:
    """`reconcile … | head -1` prints no error about the pipe that `head` has closed."""
    done = subprocess.run(
        ["/bin/sh", "-c", f"{RECONCILE} schema | head -1; {RECONCILE} types conversation.started | :"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize("arguments", ["types", "types --json", "validate --json", "-h"])
def test_output_that_cannot_be_written_is_one_line_of_error(arguments: str, tmp_path: Path) -> None:
    """A full disk behind `>` is said once and exits 1, and a closed output is no error: never a traceback."""
    (tmp_path / "hooks.yaml").write_text("version: 1\n")
    lines = f"{RECONCILE} {arguments} >/dev/full; echo $?; {RECONCILE} {arguments} >&-; echo $?"
    done = subprocess.run(["/bin/sh", "-c", lines], capture_output=True, text=True, check=True, cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("1\n0\n", "error: No space left on device\n")
