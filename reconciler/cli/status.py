"""`reconcile status`: what a running daemon is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli.command import command
from reconciler.cli.options import format_options, server_option, store_option
from reconciler.cli.output import note, print_fields, print_json
from reconciler.cli.text import plural
from reconciler.model.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["status"]

_SECOND_MS = 1000
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
    waiting = found.get("waiting_for_approval")
    if waiting:
        summary = ", ".join(
            f"{count} to {action}" for action, count in waiting["summary"].items() if count and action != "unchanged"
        )
        guards = f"; {plural(len(waiting['guards']), 'guard')} to pass" if waiting["guards"] else ""
        note(f"waiting for approval: {summary}{guards}; `reconcile` applies it")
