"""`reconcile schema`: the JSON Schemas that editors and other programs read."""

from __future__ import annotations

import click

from reconciler.cli.command import command
from reconciler.cli.output import print_bytes
from reconciler.model.hook import EventType

__all__ = ["SCHEMAS", "schema"]

SCHEMAS = {
    "hooks": "hooks.schema.json",
    "plan": "plan.schema.json",
    **{str(kind): f"events/{kind}.schema.json" for kind in EventType if not kind.is_incoming},
}
"""What can be asked for, and the file it is in."""


@command(
    "schema",
    examples=(
        "reconcile schema > hooks.schema.json",
        "reconcile schema plan",
        "reconcile schema conversation.started",
    ),
)
@click.argument("name", type=click.Choice(list(SCHEMAS)), default="hooks", metavar="[hooks|plan|TYPE]")
@click.option("--json", "json_", is_flag=True, expose_value=False, help="It is JSON in any case.")
def schema(name: str) -> None:
    """Print a JSON Schema (2020-12): of the configuration, of a plan, or of an event type's delivered payload.

    In an editor that speaks the YAML language server's protocol, the first line of hooks.yaml names it:
    `# yaml-language-server: $schema=hooks.schema.json`.
    """
    from reconciler.config.schema import schema_text

    text = schema_text(SCHEMAS[name])
    print_bytes(text.encode("utf-8").rstrip(b"\n") + b"\n")
