"""The JSON Schemas that ship with the program, and the fast verdict of the one for configurations."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["accepts", "hooks_validator", "schema_text"]


def schema_text(name: str) -> str:
    """A schema by its file's name: `hooks.schema.json`, `plan.schema.json`, `events/sync.success.schema.json`.

    An installed package brings the schemas inside itself, a checkout has them beside it. Raises FileNotFoundError.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "schemas", package.parent / "schemas"):
        file = folder / name
        if file.is_file():
            return file.read_text(encoding="utf-8")
    raise FileNotFoundError(name)


@cache
def hooks_validator() -> jsonschema_rs.Draft202012Validator:
    """The compiled schema of a configuration file."""
    import jsonschema_rs  # noqa: PLC0415 - 20 ms that only reading YAML needs

    return jsonschema_rs.Draft202012Validator(schema_text("hooks.schema.json"))


def accepts(data: Any) -> bool:
    """Whether the schema has nothing to say against a file's data: the cheap question, asked first."""
    return hooks_validator().is_valid(data)
