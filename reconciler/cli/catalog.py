"""`reconcile types`: the webhook types, and the variables that a template may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command import command
from reconciler.cli.options import format_options
from reconciler.cli.output import encode, print_json, print_table, print_text
from reconciler.model.catalog import CATALOG
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from reconciler.model.catalog import EventSpec, Variable

__all__ = ["types"]


@command(
    "types",
    examples=(
        "reconcile types",
        "reconcile types conversation.started",
        "reconcile types sync.failure --json",
    ),
)
@click.argument("event_type", metavar="[TYPE]", required=False, type=click.Choice([str(kind) for kind in EventType]))
@format_options("text", "json")
def types(event_type: str | None, format_: str) -> None:
    """List the webhook types; for one TYPE, the variables its payload carries.

    Scalars may stand anywhere in a template, objects only in the body.
    """
    if event_type is None:
        _print_catalog(as_json=format_ == "json")
    else:
        _print_type(CATALOG[EventType(event_type)], as_json=format_ == "json")


def _print_catalog(*, as_json: bool) -> None:
    if as_json:
        print_json({"items": [_summary(spec) for spec in CATALOG.values()], "next": None})
        return
    print_table(
        ("type", "direction", "meaning"),
        [(str(spec.type), str(spec.direction), spec.summary) for spec in CATALOG.values()],
    )


def _print_type(spec: EventSpec, *, as_json: bool) -> None:
    if as_json:
        print_json({**_summary(spec), "variables": [_variable(spec, variable) for variable in spec.variables]})
        return
    print_text(f"{spec.type} ({spec.direction}): {spec.summary}\n")
    if not spec.variables:
        print_text("It carries no variables.")
        return
    print_table(
        ("variable", "type", "kind", "meaning", "example"),
        [
            (
                "{{" + variable.path + "}}",
                str(variable.json_type),
                "scalar" if variable.is_scalar else "object",
                variable.meaning + ("" if variable.required else " (optional)"),
                _shown(_example(spec, variable)),
            )
            for variable in spec.variables
        ],
    )


def _summary(spec: EventSpec) -> dict[str, Any]:
    return {
        "type": str(spec.type),
        "title": spec.title,
        "direction": str(spec.direction),
        "summary": spec.summary,
    }


def _variable(spec: EventSpec, variable: Variable) -> dict[str, Any]:
    return {
        "path": variable.path,
        "type": str(variable.json_type),
        "scalar": variable.is_scalar,
        "required": variable.required,
        "constant": variable.constant,
        "meaning": variable.meaning,
        "example": _example(spec, variable),
    }


def _example(spec: EventSpec, variable: Variable) -> Any:
    """A value that it may have; of an object one made of its fields' examples."""
    if variable.is_scalar:
        return variable.example
    inner = f"{variable.path}."
    fields = {
        each.path.removeprefix(inner): each
        for each in spec.variables
        if each.path.startswith(inner) and "." not in each.path.removeprefix(inner)
    }
    return {name: _example(spec, each) for name, each in fields.items()}


def _shown(example: Any) -> str:
    return example if isinstance(example, str) else encode(example, indent=False).decode()
