"""The entry point: `reconcile`, its commands by name, and the way every one of them ends.

Nothing but click is imported until a command is known: `reconcile --version` and completion must be instant.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from reconciler import __version__
from reconciler.cli.command import Entry, LazyGroup
from reconciler.cli.complete import AddressType, answer_completion
from reconciler.cli.failure import INTERRUPTED, PIPE_CLOSED, report_failure, wants_json
from reconciler.cli.options import (
    PathType,
    allow_options,
    files_option,
    format_options,
    key_file_option,
    refuse_foreign_options,
    store_option,
    yes_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["AddressType", "main", "root", "run"]

_CONFIGURATION = "Configuration"
_APPLIED = "What is applied"
_DELIVERIES = "Events and deliveries"
_DAEMON = "The daemon"

COMMANDS = {
    "apply": Entry(_CONFIGURATION, "reconciler.cli.apply:apply", "Apply a saved plan, if it is still exactly right."),
    "validate": Entry(_CONFIGURATION, "reconciler.cli.validate:validate", "Report problems in the configuration."),
    "init": Entry(_CONFIGURATION, "reconciler.cli.init:init", "Write a first hooks.yaml."),
    "types": Entry(_CONFIGURATION, "reconciler.cli.catalog:types", "The webhook types and what each event carries."),
    "schema": Entry(_CONFIGURATION, "reconciler.cli.schema:schema", "The JSON Schemas."),
    "hooks": Entry(_APPLIED, "reconciler.cli.hooks:hooks", "The applied webhooks and how they are."),
    "show": Entry(_APPLIED, "reconciler.cli.hooks:show", "One webhook in full."),
    "url": Entry(_APPLIED, "reconciler.cli.reveal:url", "A trigger's URL, ready to share."),
    "secret": Entry(_APPLIED, "reconciler.cli.reveal:secret", "A webhook's secret."),
    "rotate": Entry(_APPLIED, "reconciler.cli.reveal:rotate", "Give a webhook a new secret now."),
    "state": Entry(_APPLIED, "reconciler.cli.state:state", "Export the state, or copy the store."),
    "deliveries": Entry(_DELIVERIES, "reconciler.cli.deliveries:deliveries", "The log of deliveries."),
    "delivery": Entry(_DELIVERIES, "reconciler.cli.deliveries:delivery", "One delivery with its attempts."),
    "emit": Entry(_DELIVERIES, "reconciler.cli.emit:emit", "Post events to the daemon."),
    "test": Entry(_DELIVERIES, "reconciler.cli.trial:test", "Send a test request to a webhook's receiver."),
    "retry": Entry(_DELIVERIES, "reconciler.cli.retry:retry", "Deliver again what was given up."),
    "listen": Entry(_DELIVERIES, "reconciler.cli.listen:listen", "A local receiver that verifies signatures."),
    "serve": Entry(_DAEMON, "reconciler.cli.serve:serve", "Run the daemon."),
    "status": Entry(_DAEMON, "reconciler.cli.status:status", "What the daemon is doing."),
}


@click.group(
    "reconcile",
    cls=LazyGroup,
    entries=COMMANDS,
    invoke_without_command=True,
    subcommand_metavar="[COMMAND] …",
    epilog='Shell completion: eval "$(_RECONCILE_COMPLETE=bash_source reconcile)" (or zsh_source, fish_source).',
    examples=(
        "reconcile --plan                       what applying hooks.yaml would change",
        "reconcile                              plan, ask, apply",
        "reconcile --plan -f hooks/ --json      the same plan for a program",
        "reconcile --plan --out plan.json       save the plan that is reviewed …",
        "reconcile apply plan.json              … and apply exactly that",
    ),
)
@click.option("--plan", is_flag=True, help="Show what would change; write nothing.")
@files_option
@yes_option
@allow_options
@format_options("text", "json", "markdown")
@click.option(
    "--out", metavar="FILE", type=PathType(dir_okay=False), help="With --plan: save the plan for `reconcile apply`."
)
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 if the plan has changes.")
@click.option("--base-ref", metavar="REF", help="With --plan: mark changes that the diff from REF does not explain.")
@click.option(
    "--state", "state_file", metavar="FILE", type=PathType(), help="With --plan: plan against a `state export`."
)
@click.option(
    "--server", metavar="URL", help="With --plan: plan against what this daemon runs (a read token will do)."
)
@store_option
@key_file_option
@click.version_option(__version__, "-V", "--version", prog_name="reconcile", message="%(prog)s %(version)s")
@click.pass_context
def root(ctx: click.Context, /, **options: Any) -> int | None:
    """Chat-bot webhooks as code.

    Without a command: compares the configuration with what is applied, shows the plan, asks, and applies it.
    """
    if ctx.invoked_subcommand is not None:
        refuse_foreign_options(ctx)
        return None
    from reconciler.cli.reconcile import ReconcileOptions, reconcile

    return reconcile(ReconcileOptions(**options))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; every error is reported here and nowhere else."""
    as_json = wants_json(arguments)
    try:
        with root.make_context("reconcile", list(arguments)) as context:
            code = root.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        return exit_.exit_code
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write("\n")
        return INTERRUPTED
    except BrokenPipeError:
        return _leave_pipe()
    except Exception as error:  # noqa: BLE001 - the one place that turns every failure into a message
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            return _leave_pipe()
        return report_failure(error, as_json=as_json)
    return int(code or 0)


def main() -> None:
    """The installed command."""
    _reopen_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = answer_completion(root)
    try:
        code = run(sys.argv[1:]) if code is None else code
        sys.stdout.flush()
    except BrokenPipeError:
        code = _leave_pipe()
    except KeyboardInterrupt:
        code = INTERRUPTED
    sys.exit(code)


def _reopen_closed_streams() -> None:
    """Let a command that was started without output (`>&-`) write to nothing instead of failing halfway."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - open as long as the process
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as above


def _leave_pipe() -> int:
    """Nobody reads any more: say nothing, and keep the interpreter from trying again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED
