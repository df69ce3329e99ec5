"""Shell completion: what a shell asks for while a command is being typed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from reconciler.errors import ReconcilerError
from reconciler.model.delivery import AttemptError, is_error_class

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["VARIABLE", "AddressType", "ErrorClassType", "answer_completion"]

VARIABLE = "_RECONCILE_COMPLETE"
"""The variable through which shells ask; `bash_source`, `zsh_source` or `fish_source` print the set-up."""


def answer_completion(root: click.Command) -> int | None:
    """Answer a shell that asks for completions and return the exit code; None when none asks."""
    instruction = os.environ.get(VARIABLE)
    if not instruction:
        return None
    from click.shell_completion import shell_complete

    return shell_complete(root, {}, "reconcile", VARIABLE, instruction)


class ErrorClassType(click.ParamType[str, str]):
    """Why an attempt failed: a class of errors, or an answer such as `http-503`."""

    name = "error"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_error_class(value):
            self.fail(f"{value!r} is none of {', '.join(AttemptError)}, http-503 and its like", param, ctx)
        return value

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click's signature
        param: click.Parameter,  # noqa: ARG002
        incomplete: str,
    ) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(kind.value) for kind in AttemptError if kind.value.startswith(incomplete)]


class AddressType(click.ParamType[str, str]):
    """A webhook's address; completed from the applied state, so only where the store can be read."""

    name = "address"

    def shell_complete(
        self,
        ctx: click.Context,
        param: click.Parameter,  # noqa: ARG002 - click's signature
        incomplete: str,
    ) -> list[CompletionItem]:

        from click.shell_completion import CompletionItem

        from reconciler.cli.opening import finished, read_addresses
        from reconciler.cli.options import DEFAULT_STORE

        url = ctx.params.get("store") or os.environ.get("RECONCILER_STORE") or DEFAULT_STORE
        try:
            addresses = finished(read_addresses(url))
        except (ReconcilerError, OSError):
            return []
        return [
            CompletionItem(address, help=event_type)
            for address, event_type in sorted(addresses.items())
            if address.startswith(incomplete)
        ]
