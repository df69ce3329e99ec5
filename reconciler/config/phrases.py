"""How a fault that the schema finds is said: code, message and suggestion."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from reconciler.config.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Fault", "Phrase", "phrase"]

_ECHO_CHARS_MAX = 60
_TYPE_NAMES = {
    "string": "text",
    "object": "a mapping",
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
}
_OF_OWN_NAMES = ("bots", "data_sources", "webhooks")
_YAML11_BOOLEANS = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
_LIMITS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "minItems": "a list of at least {}",
    "maxItems": "a list of at most {}",
    "minLength": "at least {} characters long",
    "maxLength": "at most {} characters long",
    "maxProperties": "a mapping of at most {} keys",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that the schema refuses: its keyword and that keyword's value, the instance it was put to.

    `path` leads to the instance, `schema` is what speaks about it; `unknown` is the key that is wrong in itself.
    """

    kind: str
    path: tuple[str | int, ...]
    value: Any
    instance: Any
    schema: Mapping[str, Any]
    unknown: str | None = None

    @property
    def name(self) -> str:
        """The instance as the user calls it."""
        named = [step for step in self.path if isinstance(step, str)]
        if not named:
            return "the configuration"
        item = "an item of " if isinstance(self.path[-1], int) else ""
        return f"{item}`{named[-1]}`"


class Phrase(NamedTuple):
    """What a problem says. `code` has its section in the documentation."""

    code: str
    message: str
    suggestion: str | None = None


def phrase(fault: Fault) -> Phrase:
    """The words for a fault."""
    say = _PHRASES.get(fault.kind)
    if say is not None:
        return say(fault)
    if fault.path[-1:] == ("secret",):
        return Phrase("secret-kind", "a secret comes from exactly one of `env` and `file`")
    if fault.kind == "minLength" and fault.value == 1:
        return Phrase("out-of-range", f"{fault.name} must not be empty")
    limit = _LIMITS.get(fault.kind, f"what `{fault.kind}` allows: {{}}").format(fault.value)
    return Phrase("out-of-range", f"{fault.name} must be {limit}")


def _unknown_key(fault: Fault) -> Phrase:
    key = str(fault.unknown)
    shown = _echo(key)
    kind = fault.instance.get("type") if isinstance(fault.instance, dict) else None
    if kind == "sync.trigger" and key == "secret":
        return Phrase(
            "unknown-key", "a trigger's secret is always generated: remove `secret`, and use `reconcile url`"
        )
    if kind == "sync.trigger" and key == "url":
        return Phrase("unknown-key", "a trigger has no `url`: it is called, and `reconcile url` prints its own")
    if isinstance(kind, str) and kind.startswith("conversation.") and key == "data_source":
        return Phrase("unknown-key", f"`data_source` is a key of sync webhooks; {kind} tells of a whole bot")
    known = list(fault.schema.get("properties", ()))
    if fault.path[-1:] == ("secret",):  # not echoed: `{hunter2}` is a mapping, too
        message = "a secret comes from `env` or `file`, and this is neither"
        return Phrase("unknown-key", message, did_you_mean(key, known))
    suggestion = did_you_mean(key, known)
    message = f"{shown} is not a key of {_block(fault)}"
    return Phrase("unknown-key", message, suggestion or f"its keys are {', '.join(known)}")


def _misplaced(fault: Fault) -> Phrase:
    what, where = fault.value
    return Phrase("misplaced", f"{_echo(fault.unknown)} {what}", f"indent it below {where}")


def _missing_key(fault: Fault) -> Phrase:
    if fault.path[-1:] == ("sync",):
        return Phrase("sync-kind", "a sync has exactly one of `http` and `command`, and this has neither")
    if not fault.path:
        return Phrase("missing-key", f"`{fault.value}` is missing: a configuration begins with `version: 1`")
    kind = fault.instance.get("type") if isinstance(fault.instance, dict) else None
    of_type = f", which {kind} needs" if isinstance(kind, str) else ""
    return Phrase("missing-key", f"{fault.name} has no `{fault.value}`{of_type}")


def _wrong_type(fault: Fault) -> Phrase:
    value = fault.instance
    last = fault.path[-1] if fault.path else None
    if last == "secret" and isinstance(value, str | int | float):
        message = "a secret may not stand in the configuration: say where it comes from"
        return Phrase(
            "literal-secret", message, "write {env: NAME} or {file: PATH}; and change it, if this was the real one"
        )
    wanted = " or ".join(_TYPE_NAMES[name] for name in fault.value)
    if last is None:
        return Phrase(
            "wrong-type", f"a configuration is a mapping that begins with `version: 1`; this is {_what(value)}"
        )
    if value is None:
        return Phrase("wrong-type", f"{fault.name} has no value: it must be {wanted}")
    what = "a fraction" if isinstance(value, float) and "integer" in fault.value else _what(value)
    return Phrase("wrong-type", f"{fault.name} must be {wanted}, not {what}", _hint(fault, value))


def _hint(fault: Fault, value: Any) -> str | None:
    """How to write what was probably meant."""
    if "boolean" in fault.value and isinstance(value, str):
        boolean = _YAML11_BOOLEANS.get(value.lower(), value.lower())
        return f"write {boolean}" if boolean in {"true", "false"} else did_you_mean(value, ("true", "false"))
    if "string" in fault.value and isinstance(value, bool | int | float):
        if "duration" in _pattern_name(fault.schema):
            return f"a duration has a unit: {value}s" if not isinstance(value, bool) else "a duration looks like 10s"
        return "put it in quotes"
    if fault.path[-1] == "body" and isinstance(value, dict | list):
        return "a body is text: write it as a block after `body: |`"
    if "array" in fault.value and isinstance(value, str):
        return "write a list, such as [a, b]"
    return None


def _unknown_value(fault: Fault) -> Phrase:
    if fault.kind == "const":
        return Phrase("unknown-value", f"{fault.name} must be {fault.value}: this program reads no other")
    choices = [str(choice) for choice in fault.value]
    shown = _echo(fault.instance) if isinstance(fault.instance, str | int | float | bool) else "this"
    what = "a webhook type" if fault.path[-1] == "type" else f"what {fault.name} may be"
    suggestion = did_you_mean(fault.instance, choices) if isinstance(fault.instance, str) else None
    return Phrase("unknown-value", f"{shown} is not {what}", suggestion or f"choose one of {', '.join(choices)}")


def _malformed(fault: Fault) -> Phrase:
    shown = _echo(fault.instance)
    match _pattern_name(fault.schema):
        case "duration":
            text = str(fault.instance)
            suggestion = f"{text}s" if text.isdecimal() else "write a whole number and ms, s, m, h or d, such as 30s"
            return Phrase("bad-duration", f"{shown} is not a duration", suggestion)
        case "handle":
            message = f"{shown} is not an address: it is a handle, or bot/handle"
            return Phrase("bad-handle", message, None)
        case _:
            # Not echoed: whoever mistakes the place of a name for the place of a secret puts the secret here.
            return Phrase("bad-reference", "this is not the name of an environment variable")


def _bad_name(fault: Fault) -> Phrase:
    name = str(fault.unknown)
    if fault.path[-1] == "headers":
        return Phrase("bad-header", f"{_echo(name)} is not a header's name")
    if len(name) > fault.value["maxLength"]:
        most = fault.value["maxLength"]
        return Phrase("bad-handle", f"{_echo(name)} has {len(name)} characters, and a handle has at most {most}")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    message = f"{_echo(name)} is not a handle: lower-case letters, digits and hyphens, beginning with no hyphen"
    return Phrase(
        "bad-handle", message, f"did you mean `{slug}`? The display name goes into `name`" if slug else None
    )


def _pattern_name(schema: Mapping[str, Any]) -> str:
    pattern = str(schema.get("pattern", ""))
    if "ms|s|m" in pattern:
        return "duration"
    return "handle" if "a-z0-9-" in pattern and "A-Z" not in pattern else ""


def _what(value: Any) -> str:
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _block(fault: Fault) -> str:
    """The mapping that a key stands in: by what it is where its name is the user's own, else by its key."""
    if not fault.path:
        return "a configuration"
    if len(fault.path) > 1 and fault.path[-2] in _OF_OWN_NAMES:
        title = str(fault.schema.get("title", "mapping")).lower()
        return f"{'an' if title[:1] in 'aeiou' else 'a'} {title}"
    return f"`{fault.path[-1]}`"


def _echo(value: Any) -> str:
    text = str(value)
    return f"`{text[:_ECHO_CHARS_MAX]}…`" if len(text) > _ECHO_CHARS_MAX else f"`{text}`"


def _two_kinds(_: Fault) -> Phrase:
    return Phrase("sync-kind", "a sync has exactly one of `http` and `command`: remove one of them")


_PHRASES = {
    "additionalProperties": _unknown_key,
    "const": _unknown_value,
    "enum": _unknown_value,
    "falseSchema": _two_kinds,
    "misplaced": _misplaced,
    "pattern": _malformed,
    "propertyNames": _bad_name,
    "required": _missing_key,
    "type": _wrong_type,
}
