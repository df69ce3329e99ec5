"""How a command fails: `error: what, where, next step` on stderr, the same as JSON on stdout if that was asked for.

::

    ReconcilerError        its own exit code
    click's own errors     64
    OSError                1, naming the file
    Ctrl-C                 130, quietly
    a closed pipe          141, quietly
    anything else          1, naming the type and the line of ours, never a traceback
"""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.text import many_lines
from reconciler.errors import ConfigurationInvalid, ReconcilerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.problem import Problem

__all__ = ["INTERRUPTED", "PIPE_CLOSED", "report_failure", "wants_json"]

INTERRUPTED = 130
PIPE_CLOSED = 141

_PACKAGE = os.path.dirname(os.path.dirname(__file__))  # noqa: PTH120 - compared with code's file names, which are text


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for a JSON format, even if it cannot be parsed."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    given = arguments[:end]
    formats = [after for option, after in pairwise(given) if option == "--format"]
    formats += [option.partition("=")[2] for option in given if option.startswith("--format=")]
    return "--json" in given or any(name in ("json", "sarif") for name in formats)


def report_failure(error: BaseException, *, as_json: bool) -> int:
    """Print `error` and return the exit code."""
    named = _name(error)
    problems = named.problems if isinstance(named, ConfigurationInvalid) else ()
    if problems and not as_json:
        sys.stderr.write(_render_problems(problems))
    sys.stderr.write(f"error: {many_lines(named.message)}\n")
    if os.environ.get("RECONCILER_DEBUG"):
        traceback.print_exception(error)
    if as_json:
        from reconciler.cli.output import print_json

        with suppress(OSError):  # where the output cannot be written, which may be the error itself
            print_json(failure_document(named))
    return int(named.exit)


def failure_document(error: ReconcilerError) -> dict[str, Any]:
    """An error as the JSON that every command prints for it."""
    problems = error.problems if isinstance(error, ConfigurationInvalid) else ()
    return {
        "error": {"code": error.code, "exit": int(error.exit), "message": many_lines(error.message)},
        "problems": _problem_documents(problems),
    }


def _name(error: BaseException) -> ReconcilerError:
    """`error` as one of ours."""
    if isinstance(error, ReconcilerError):
        return error
    if isinstance(error, click.ClickException):
        return UsageError(_click_message(error))
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return ReconcilerError(f"{os.fsdecode(error.filename)}: {error.strerror}")
    if isinstance(error, OSError) and error.strerror:
        return ReconcilerError(error.strerror)
    return _Unexpected(
        f"unexpected {type(error).__name__} at {_own_line(error)}; this is a fault of the program:"
        " set RECONCILER_DEBUG=1 to see the traceback and report it"
    )


class _Unexpected(ReconcilerError):
    """A fault of the program. Its text is not shown: nobody has checked it for secrets."""

    code = "unexpected"


def _click_message(error: click.ClickException) -> str:
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx is not None:
        return f"`{error.ctx.command_path}` needs a command; see `{error.ctx.command_path} -h`"
    message = error.format_message().rstrip()
    context = getattr(error, "ctx", None)
    if context is None or "reconcile" in message:
        return message
    return f"{message.removesuffix('.')}; see `{context.command_path} -h`"


def _own_line(error: BaseException) -> str:
    """The innermost line of this package that the error passed through."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(_PACKAGE)]
    return f"{os.path.relpath(own[-1].filename, _PACKAGE)}:{own[-1].lineno}" if own else "start-up"


def _render_problems(problems: Sequence[Problem]) -> str:
    from reconciler.cli.output import has_color, width
    from reconciler.config import report

    return report.render(problems, "text", color=has_color(sys.stderr), width=width()) + "\n"


def _problem_documents(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    if not problems:
        return []
    from reconciler.config import report

    return report.as_objects(problems)
