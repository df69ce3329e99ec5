"""`reconcile status`: what a running daemon is doing."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from reconciler.cli.command import command
from reconciler.cli.options import DEFAULT_STORE, format_options, server_option, store_option
from reconciler.cli.output import note, print_fields, print_json, print_text
from reconciler.cli.text import one_line
from reconciler.model.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["status"]

_SECOND_MS = 1000
_CHANGES_MAX = 20
"""Changes listed while they wait for approval."""
_STORE_KEYS = ("backend", "journal_mode", "file_bytes", "wal_bytes")
"""Of the store's health, what a person asks for first; JSON has the rest."""


@command("status", examples=("reconcile status", "reconcile status --json | jq .queue"))
@format_options("text", "json")
@server_option
@store_option
def status(format_: str, server: str, store: str) -> None:
    """Show the daemon's generation, serial, queue and workers, and what waits for approval."""
    from reconciler.cli.client import Client

    with Client(server, store=store) as client:
        found = client.get("api/v1/status")
    if format_ == "json":
        print_json(found)
        return
    print_fields({"daemon": client.address, **_lines(found)})
    if found.get("waiting_for_approval"):
        print_text("\n".join(["", *map(one_line, _waiting(found["waiting_for_approval"], store))]))
    _warn(found)


def _lines(found: Mapping[str, Any]) -> dict[str, str]:
    """The document as lines for a person; what this program does not know of is shown as it came."""
    lines = {}
    for name, value in found.items():
        if name in ("waiting_for_approval", "problem") or value is None:
            continue
        shown = {key: value[key] for key in _STORE_KEYS if key in value} if name == "store" else value
        lines[name.replace("_", " ")] = _words(shown)
    return lines


def _words(value: Any) -> str:
    """A value on one line; counts of nothing are left out."""
    if isinstance(value, dict):
        shown = [_item(name, item) for name, item in value.items() if item not in (None, 0, "", [], {})]
        return ", ".join(shown) or "none"
    if isinstance(value, list):
        return ", ".join(map(_words, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _item(name: str, value: Any) -> str:
    words = name.replace("_", " ").removesuffix(" ms")
    if name.endswith("_ms") and isinstance(value, int):
        return f"{words} {format_duration(max(value // _SECOND_MS, 1) * _SECOND_MS)}"
    return f"{words} ({_words(value)})" if isinstance(value, dict) else f"{words} {_words(value)}"


def _warn(found: Mapping[str, Any]) -> None:
    if found.get("problem"):
        note(f"warning: the store's state is not what is served: {found['problem']}")


def _waiting(waiting: Mapping[str, Any], store: str) -> Iterator[str]:
    """What waits for approval: the changes, what stands against them, and the command that carries them out."""
    counts = {action: count for action, count in waiting["summary"].items() if action != "unchanged"}
    yield f"waiting for approval: {', '.join(f'{count} to {action}' for action, count in counts.items() if count)}"
    changes = waiting.get("changes", [])
    for change in changes[:_CHANGES_MAX]:
        yield f"  {change['action']} {change['kind'].replace('_', ' ')} {change['address']}"
    if (more := sum(counts.values()) - _CHANGES_MAX) > 0 and changes:
        yield f"  and {more} more"
    for guard in waiting["guards"]:
        yield f"  guard {guard['address'] or 'the whole plan'}: {guard['message']}"
    elsewhere = [] if store in (DEFAULT_STORE, os.environ.get("RECONCILER_STORE")) else ["--store", store]
    yield f"  approve with: {shlex.join([*shlex.split(waiting.get('command', 'reconcile')), *elsewhere])}"
