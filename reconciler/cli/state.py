"""`reconcile state`: the applied state as a document, and the whole store as a copy."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from reconciler.cli.command import Entry, LazyGroup, command
from reconciler.cli.opening import finished, opened, read_state, write_whole
from reconciler.cli.options import PathType, store_option
from reconciler.cli.output import note, print_bytes
from reconciler.errors import UsageError

__all__ = ["backup", "export", "state"]

_MODULE = "reconciler.cli.state"


@click.group(
    "state",
    cls=LazyGroup,
    entries={
        "export": Entry("Commands", f"{_MODULE}:export", "The state as canonical JSON without secrets."),
        "backup": Entry("Commands", f"{_MODULE}:backup", "A consistent copy of the store, beside a running daemon."),
    },
    examples=("reconcile state export > state.json", "reconcile state backup backup-$(date +%F).db"),
)
def state() -> None:
    """Export the applied state, or copy the whole store."""


@command(
    "export",
    examples=(
        "reconcile state export > state.json",
        "reconcile --plan --state state.json      plan against it, without access to the store",
    ),
)
@click.option("--out", metavar="FILE", type=PathType(dir_okay=False), help="Write it to a file instead of stdout.")
@click.option("--json", "json_", is_flag=True, expose_value=False, help="It is JSON in any case.")
@store_option
def export(out: str | None, store: str) -> None:
    """Print the applied state as canonical JSON.

    Secrets stand as fingerprints, references as references: it can be planned against, and published where the
    configuration itself may be.
    """
    from reconciler.control.export import export_state

    content = export_state(finished(read_state(store)))
    if out is None:
        print_bytes(content)
    else:
        write_whole(out, content)


@command("backup", examples=("reconcile state backup backup-$(date +%F).db",))
@click.argument("path", type=PathType(dir_okay=False))
@store_option
def backup(path: str, store: str) -> None:
    """Write a consistent copy of the store to PATH, which must not exist, while everything stays in use.

    The copy's secrets open only with the key that the store's do: keep that, too.
    """
    from reconciler.store.connect import companions

    if Path(path).exists():
        raise UsageError(f"{path} exists; a backup never overwrites: give another name")
    files = companions(store)
    if files is None or not files.database.exists():
        raise UsageError("there is no store to copy; --store says where it is")
    asyncio.run(_back_up(store, path))
    note(f"copied to {path}; its secrets need the same key as the store's")


async def _back_up(url: str, path: str) -> None:
    from reconciler.store.port import Access

    async with opened(url, Access.READ) as store:
        await store.backup(path)
