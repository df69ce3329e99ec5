"""`reconcile apply`: carry out a plan that somebody has reviewed, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.command import command
from reconciler.cli.memory import uncollected
from reconciler.cli.options import (
    PathType,
    allow_options,
    files_option,
    format_options,
    key_file_option,
    store_option,
)
from reconciler.cli.output import print_text
from reconciler.cli.text import one_line
from reconciler.errors import UsageError

if TYPE_CHECKING:
    from reconciler.model.resource import Desired
    from reconciler.plan import Plan

__all__ = ["apply"]


@command(
    "apply",
    examples=(
        "reconcile --plan --out plan.json     on the branch, for review",
        "reconcile apply plan.json            after the merge",
        "reconcile apply plan.json --allow-delete support-bot/old-hook",
    ),
)
@click.argument("planfile", type=PathType(dir_okay=False))
@files_option
@allow_options
@format_options("text", "json")
@click.option("-y", "--yes", is_flag=True, expose_value=False, help="Accepted: a reviewed plan is not asked about.")
@store_option
@key_file_option
@uncollected()
def apply(
    *,
    planfile: str,
    files: tuple[str, ...],
    allow_delete: tuple[str, ...],
    allow_delete_all: bool,
    format_: str,
    store: str,
    key_file: str | None,
) -> None:
    """Apply a saved plan, if planning again gives exactly the changes in it.

    The same files must be given as when it was made. If they, the state or the plan have changed since, nothing is
    applied, the differences are named, and the exit code is 4.
    """
    from reconciler.cli.planning import load_files
    from reconciler.cli.reconcile import carry_out, print_applied, warn_of_vain
    from reconciler.plan import Allowance, from_json
    from reconciler.plan.words import summary_line

    reviewed = from_json(_read(planfile))
    desired, _ = load_files(files)
    _refuse_where_nothing_is(reviewed, desired, store)
    allow = Allowance(addresses=frozenset(allow_delete), all=allow_delete_all)
    serial = asyncio.run(carry_out(reviewed, desired, allow, store_url=store, key_file=key_file))
    if format_ == "json":
        print_applied(reviewed, serial)
    else:
        print_text(summary_line(reviewed))
        if not reviewed.is_empty:
            commit = f" of commit {one_line(reviewed.commit)}" if reviewed.commit else ""
            print_text(f"Applied the plan{commit}; the state's serial is {serial}.")
    warn_of_vain(reviewed, allow)


def _refuse_where_nothing_is(reviewed: Plan, desired: Desired, store: str) -> None:
    """Refuse what is not the reviewed plan before a store and a key are made for it."""
    from reconciler.cli.opening import finished, read_state
    from reconciler.errors import PlanStale
    from reconciler.plan import make
    from reconciler.plan.compare import differing

    state = finished(read_state(store))
    if state.lineage is None and (difference := differing(reviewed, make(desired, state))):
        raise PlanStale(difference)


def _read(planfile: str) -> bytes:
    try:
        return Path(planfile).read_bytes()
    except OSError as error:
        raise UsageError(f"the plan {planfile!r} cannot be read: {error.strerror or error}") from error
