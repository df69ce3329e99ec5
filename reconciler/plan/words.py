"""The words in which every face of a plan speaks: the summary line, kinds, and what was seen at a webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.model.hook import EventType
from reconciler.model.resource import Kind
from reconciler.plan.escape import harmless, inline_value
from reconciler.plan.plan import Action

if TYPE_CHECKING:
    from reconciler.plan.plan import Change, FieldChange, Observation, Plan

__all__ = [
    "counted",
    "field_value",
    "is_long_text",
    "kind_words",
    "participle",
    "place_words",
    "summary_line",
    "traffic_counted",
    "traffic_matters",
    "traffic_words",
    "verb",
]

_ENDING = frozenset({Action.DELETE, Action.REPLACE, Action.ROTATE})
_TRAFFIC_CODES = frozenset({"traffic-starts", "traffic-stops", "url-changes", "secret-rotates"})
_VERBS = {Action.CREATE: "add", Action.UPDATE: "change"}
_PARTICIPLES = {Action.CREATE: "added", Action.UPDATE: "changed"}


def counted(number: int, one: str, many: str) -> str:
    """A number and what it counts: `1 delivery`, `2 deliveries`."""
    return f"{number} {one if number == 1 else many}"


def traffic_counted(number: int, webhook_type: str | None) -> str:
    """Calls of a trigger, or deliveries of an outgoing webhook."""
    is_trigger = webhook_type == EventType.SYNC_TRIGGER
    return counted(number, *(("call", "calls") if is_trigger else ("delivery", "deliveries")))


def verb(action: Action) -> str:
    """The action as the summary line names it."""
    return _VERBS.get(action, action.value)


def participle(action: Action) -> str:
    """What becomes of a resource by the action: `added`, `deleted`."""
    return _PARTICIPLES.get(action, f"{action.value}d")


def kind_words(kind: Kind) -> str:
    """A kind as a person writes it."""
    return kind.value.replace("_", " ")


def summary_line(plan: Plan) -> str:
    """The one line over all kinds that scripts may rely on."""
    total = plan.summary
    if plan.is_empty:
        return f"No changes. {total.unchanged} resources match the configuration."
    return (
        f"Plan: {total.create} to add, {total.update} to change, {total.replace} to replace,"
        f" {total.rename} to rename, {total.rotate} to rotate, {total.delete} to delete;"
        f" {total.unchanged} unchanged."
    )


def place_words(file: str | None, line: int | None) -> str:
    """`file:line`, or nothing where no file says it."""
    return "" if file is None else f"{harmless(file)}:{line}"


def is_long_text(field: FieldChange) -> bool:
    """Whether a field is read better as lines than as a value."""
    before, after = field.before, field.after
    return (isinstance(after, str) and "\n" in after) or (isinstance(before, str) and "\n" in before)


def field_value(field: FieldChange, value: Any) -> str:
    """One side of a field on one line. A secret's fingerprint is our own word and stands bare."""
    if field.path == "secret" and isinstance(value, str):
        return harmless(value)
    return inline_value(value)


def traffic_matters(change: Change) -> bool:
    """Whether somebody who decides on the change asks what goes on at the webhook."""
    if change.kind is not Kind.WEBHOOK or change.action is Action.CREATE:
        return False
    return change.action in _ENDING or not _TRAFFIC_CODES.isdisjoint(warning.code for warning in change.warnings)


def traffic_words(change: Change, seen: Observation) -> str:
    """What has been seen at a webhook, and what its change does to what waits there."""
    is_trigger = change.type == EventType.SYNC_TRIGGER
    said = [f"{traffic_counted(seen.day_count, change.type)} in 24 h"]
    last = seen.last_called if is_trigger else seen.last_delivered
    said.append(f"last {last}" if last else "none ever succeeded" if seen.last_attempt else "none ever")
    if seen.waiting:
        ends = change.action in (Action.DELETE, Action.REPLACE)
        said.append(f"{seen.waiting} waiting{' will be cancelled' if ends else ''}")
    return ", ".join(said)
