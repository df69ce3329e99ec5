"""`reconcile validate`: problems and nothing else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.command import command
from reconciler.cli.failure import failure_document
from reconciler.cli.memory import uncollected
from reconciler.cli.options import files_option, format_options
from reconciler.cli.output import has_color, note, print_bytes, print_json, print_text, width
from reconciler.cli.text import plural
from reconciler.errors import ConfigurationInvalid, ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Problem

__all__ = ["validate"]


@command(
    "validate",
    examples=(
        "reconcile validate",
        "reconcile validate -f hooks/ -f shared.yaml",
        "reconcile validate --format github       annotations on a pull request",
        "reconcile validate --format sarif > problems.sarif",
    ),
)
@files_option
@format_options("text", "json", "sarif", "github")
@uncollected()
def validate(files: tuple[str, ...], format_: str) -> int:
    """Check the configuration and print every problem with its place.

    Needs neither store nor key nor the variables and files that references name. Warnings alone exit 0, errors 65.
    """
    from reconciler import config

    try:
        desired = config.load(files or config.default_paths("."))
    except ConfigurationInvalid as invalid:
        _show(invalid.problems, format_, invalid)
        note(f"error: {invalid.message}")
        return ExitCode.CONFIGURATION
    _show(desired.warnings, format_, None)
    if format_ == "text":
        counted = plural(len(desired.resources), "resource")
        print_text(f"The configuration is valid: {counted}, {plural(len(desired.warnings), 'warning')}.")
    return ExitCode.DONE


def _show(problems: Sequence[Problem], format_: str, invalid: ConfigurationInvalid | None) -> None:
    from reconciler.config import report

    match format_:
        case "json":
            print_json(failure_document(invalid) if invalid else {"problems": report.as_objects(problems)})
        case "sarif" | "github":
            text = report.render(problems, format_)
            print_bytes(text.encode() + b"\n" if text else b"")
        case _:
            text = report.render(problems, "text", color=has_color(sys.stdout), width=width())
            if text:
                print_text(text)
