"""`reconcile validate`: problems and nothing else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from reconciler.cli.command import command
from reconciler.cli.failure import failure_document
from reconciler.cli.options import files_option, format_options
from reconciler.cli.output import has_color, note, print_json, print_text, width
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
def validate(files: tuple[str, ...], format_: str) -> int:
    """Check the configuration and print every problem with its place.

    Needs neither store nor key nor the variables and files that references name. Warnings alone exit 0, errors 65.
    """
    from reconciler import config

    invalid: ConfigurationInvalid | None = None
    try:
        desired = config.load(files or config.default_paths("."))
        problems: Sequence[Problem] = desired.warnings
    except ConfigurationInvalid as error:
        invalid, problems = error, error.problems
    if format_ == "json":
        document = failure_document(ConfigurationInvalid(problems))
        print_json(document if invalid else {"problems": document["problems"]})
    else:
        from reconciler.config import report

        text = report.render(problems, format_, color=has_color(sys.stdout), width=width())
        if text:
            print_text(text)
    if invalid:
        note(f"error: {invalid.message}")
        return ExitCode.CONFIGURATION
    if format_ == "text":
        count = plural(len(desired.resources), "resource")
        print_text(f"The configuration is valid: {count}, {plural(len(problems), 'warning')}.")
    return ExitCode.DONE
