#!/usr/bin/env python3
"""Sync a folder of documents: count what is there and what has changed since the last run.

    sync_folder.py [FOLDER] [--state FILE]

A document is a file; a row is a paragraph of a text, or a line of a table (`.csv`). The last line of the output is
the result of the sync as JSON. When something is wrong the last line of stderr says what, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
TEXTS = {".md", ".txt", ".rst", ".html"}
TABLES = {".csv"}
DOCUMENT_BYTES_MAX = 10 * 1024 * 1024
STATE_VERSION = 1


class SyncError(Exception):
    """Why this sync failed, in one line."""


def main() -> int:
    """Scan, compare, remember, report."""
    parser = argparse.ArgumentParser(description="Sync a folder of documents.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE / "content")
    parser.add_argument("--state", type=Path, help="where a run remembers what it saw")
    options = parser.parse_args()
    try:
        results = sync(options.folder, options.state or default_state(options.folder))
    except SyncError as error:
        print(error, file=sys.stderr)
        return 1
    for name, count in results.items():
        print(f"{name:>20} {count:>6}")
    print(json.dumps({"results": results}))
    return 0


def default_state(folder: Path) -> Path:
    """One file for each folder, where programs keep such things: the synced folder itself is left alone."""
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(home) / "sync-folder" / (hashlib.sha256(bytes(folder.resolve())).hexdigest()[:16] + ".json")


def sync(folder: Path, state: Path) -> dict[str, int]:
    """The figures of this run against those of the last, which it replaces."""
    documents = {path.relative_to(folder).as_posix(): rows_of(path) for path in find_documents(folder)}
    before = read_state(state)
    rows = Counter(digest(document, row) for document, rows in documents.items() for row in rows)
    modified = sum((rows - before).values())
    write_state(state, rows)
    total = sum(rows.values())
    return {
        "totalTokens": sum(count_tokens(row) for rows in documents.values() for row in rows),
        "modifiedRows": modified,
        "totalDocuments": len(documents),
        "unmodifiedRows": total - modified,
        "totalDataSourceRows": total,
    }


def find_documents(folder: Path) -> list[Path]:
    """The readable documents below `folder`, in a stable order, hidden ones left out."""
    if not folder.is_dir():
        raise SyncError(f"{folder} is not a folder")
    found = [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in TEXTS | TABLES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not found:
        raise SyncError(f"{folder} holds no documents ({', '.join(sorted(TEXTS | TABLES))})")
    return found


def rows_of(path: Path) -> list[str]:
    """The rows of one document: paragraphs of a text, records of a table without its heading."""
    if path.stat().st_size > DOCUMENT_BYTES_MAX:
        raise SyncError(f"{path} is larger than {DOCUMENT_BYTES_MAX} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SyncError(f"{path} is not UTF-8 (byte {error.start})") from error
    if path.suffix in TABLES:
        return [json.dumps(record) for record in list(csv.reader(text.splitlines()))[1:] if record]
    return [row.strip() for row in re.split(r"\n\s*\n", text) if row.strip()]


def count_tokens(row: str) -> int:
    """Words and punctuation marks: close enough to a model's tokens to see a trend."""
    return len(re.findall(r"\w+|[^\w\s]", row))


def digest(document: str, row: str) -> str:
    """What a row is recognised by; a row that moves to another document counts as changed."""
    return hashlib.sha256(f"{document}\0{row}".encode()).hexdigest()[:32]


def read_state(path: Path) -> Counter[str]:
    """The rows of the last run; none before the first."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        if state["version"] != STATE_VERSION:
            raise SyncError(f"{path} was written by another version; remove it to start over")
        return Counter(state["rows"])
    except FileNotFoundError:
        return Counter()
    except (ValueError, KeyError, TypeError) as error:
        raise SyncError(f"{path} is damaged ({error}); remove it to start over") from error


def write_state(path: Path, rows: Counter[str]) -> None:
    """Replace the state in one step: a run that is killed leaves the old one whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump({"version": STATE_VERSION, "rows": rows}, file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
