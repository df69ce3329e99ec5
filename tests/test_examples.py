"""The examples work as they are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler import config
from reconciler.model.event import check
from reconciler.model.hook import EventType
from reconciler.model.resource import Kind

EXAMPLES = Path(__file__).parents[1] / "examples"
NOW = "2026-03-10T12:00:00.000Z"


def sync(folder: Path, state: Path) -> subprocess.CompletedProcess[str]:
    """One run of the example's sync."""
    command = [sys.executable, str(EXAMPLES / "sync_folder.py"), str(folder), "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def results(folder: Path, state: Path) -> dict[str, Any]:
    """The figures on the last line of a run that ends well."""
    done = sync(folder, state)
    assert done.returncode == 0, done.stderr
    figures: dict[str, Any] = json.loads(done.stdout.rstrip().rpartition("\n")[2])["results"]
    return figures


def test_example_configuration_is_clean_and_whole() -> None:
    """One bot, one data source and a webhook of every type, without a warning."""
    desired = config.load([EXAMPLES / "hooks.yaml"])
    kinds = [key.kind for key in desired.resources]
    assert desired.warnings == ()
    assert (kinds.count(Kind.BOT), kinds.count(Kind.DATA_SOURCE), kinds.count(Kind.WEBHOOK)) == (1, 1, 7)
    types = {declared.spec["type"] for key, declared in desired.resources.items() if key.kind is Kind.WEBHOOK}
    assert types == set(EventType)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "events").glob("*.json")), ids=lambda path: path.stem)
def test_example_event_is_accepted_as_its_type(path: Path) -> None:
    """Each example event passes the check of posted events and is of the type that its file is named after."""
    posted = check(json.loads(path.read_text(encoding="utf-8")), now_iso=NOW)
    assert not isinstance(posted, list), posted
    assert posted.type == path.stem


def test_there_is_an_example_event_of_every_outgoing_type() -> None:
    """No outgoing type is left out."""
    stems = {path.stem for path in (EXAMPLES / "events").glob("*.json")}
    assert stems == {kind for kind in EventType if not kind.is_incoming}


def test_sync_counts_changes_against_the_last_run_when_a_document_changes(tmp_path: Path) -> None:
    """First everything is new, then nothing, then exactly the row that was added."""
    folder, state = tmp_path / "content", tmp_path / "state.json"
    shutil.copytree(EXAMPLES / "content", folder)
    first = results(folder, state)
    rows = first["totalDataSourceRows"]
    assert first["totalDocuments"] == len([path for path in folder.rglob("*") if path.is_file()])
    assert (first["modifiedRows"], first["unmodifiedRows"]) == (rows, 0)
    assert results(folder, state) == first | {"modifiedRows": 0, "unmodifiedRows": rows}
    with (folder / "arrival.md").open("a", encoding="utf-8") as page:
        page.write("\nOne more paragraph.\n")
    third = results(folder, state)
    assert (third["modifiedRows"], third["unmodifiedRows"]) == (1, rows)
    assert third["totalTokens"] == first["totalTokens"] + 4


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (lambda folder, _: shutil.rmtree(folder), "is not a folder"),
        (lambda folder, _: [path.unlink() for path in folder.rglob("*") if path.is_file()], "holds no documents"),
        (lambda folder, _: (folder / "bad.txt").write_bytes(b"\xff"), "is not UTF-8"),
        (lambda _, state: state.write_text("{", encoding="utf-8"), "is damaged"),
    ],
    ids=["no folder", "empty folder", "not text", "damaged state"],
)
def test_sync_says_why_in_one_line_when_it_fails(tmp_path: Path, break_it: Any, reason: str) -> None:
    """A failing sync ends with 1, prints no result, and its last line of stderr is the reason."""
    folder, state = tmp_path / "content", tmp_path / "state.json"
    shutil.copytree(EXAMPLES / "content", folder)
    break_it(folder, state)
    done = sync(folder, state)
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr.rstrip().rpartition("\n")[2]
