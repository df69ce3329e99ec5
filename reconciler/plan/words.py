"""The words in which every face of a plan speaks: the summary line, kinds, and what was seen at a webhook."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reconciler.model.hook import EventType
from reconciler.model.resource import Kind
from reconciler.plan.escape import harmless, inline_value
from reconciler.plan.plan import Action

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.plan.plan import Change, Drift, FieldChange, Observation, Plan

__all__ = [
    "counted",
    "drift_to_read",
    "field_place",
    "field_value",
    "fields_to_read",
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

DRIFT_MAX = 20
"""Webhooks whose drift is told one by one: a reader of a plan decides on its changes, and drift has other causes."""
_ENDING = frozenset({Action.DELETE, Action.REPLACE, Action.ROTATE})
_TRAFFIC_CODES = frozenset(
    {"data-source-changes", "secret-rotates", "signing-stops", "traffic-starts", "traffic-stops", "url-changes"}
)
_NEVER = {True: "never called", False: "nothing was ever sent"}
_VERBS = {Action.CREATE: "add", Action.UPDATE: "change"}
_PARTICIPLES = {Action.CREATE: "added", Action.UPDATE: "changed"}


def counted(number: int, one: str, many: str) -> str:
    """A number and what it counts: `1 delivery`, `2 deliveries`."""
    return f"{number} {one if number == 1 else many}"


def traffic_counted(number: int, *, is_trigger: bool) -> str:
    """Calls of a trigger, or deliveries of an outgoing webhook."""
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


def field_place(change: Change, field: FieldChange) -> str:
    """Where an edited field is written, if it is somewhere else than what the change as a whole is blamed on."""
    if change.action in (Action.CREATE, Action.DELETE) or (field.file, field.line) == (change.file, change.line):
        return ""
    return place_words(field.file, field.line)


def is_long_text(field: FieldChange) -> bool:
    """Whether a field is read better as lines than as a value."""
    before, after = field.before, field.after
    return (isinstance(after, str) and "\n" in after) or (isinstance(before, str) and "\n" in before)


def fields_to_read(change: Change) -> list[FieldChange]:
    """The fields of a change, texts of several lines last: what follows one could be taken for a line of it."""
    return sorted(change.fields, key=is_long_text)


def drift_to_read(plan: Plan) -> tuple[Sequence[Drift], str]:
    """The drift to be told one by one, and a word on the rest: what the plan changes comes before what it leaves."""
    if len(plan.drift) <= DRIFT_MAX:
        return plan.drift, ""
    changed = {change.address for change in plan.changes}
    changed |= {field.before for change in plan.changes for field in change.fields if field.path == "address"}
    ranked = sorted(plan.drift, key=lambda drift: drift.address not in changed)
    rest = Counter(drift.code for drift in ranked[DRIFT_MAX:])
    codes = ", ".join(f"{count} {code}" for code, count in sorted(rest.items()))
    return ranked[:DRIFT_MAX], f"and {rest.total()} more webhooks ({codes}); the plan's JSON lists them all"


def field_value(field: FieldChange, value: Any) -> str:
    """One side of a field on one line. A secret's fingerprint is our own word and stands bare."""
    if field.path == "secret" and isinstance(value, str):
        return harmless(value)
    return inline_value(value)


def traffic_matters(change: Change) -> bool:
    """Whether somebody who decides on the change asks what goes on at the webhook."""
    return _interrupts(change) or not _TRAFFIC_CODES.isdisjoint(warning.code for warning in change.warnings)


def traffic_words(change: Change, seen: Observation | None) -> str:
    """What has been seen at a webhook, and what its change does to what waits there. Empty if that decides nothing.

    That nothing was ever seen is worth a word where something ends: then nobody will miss it.
    """
    if seen is None or not traffic_matters(change):
        return ""
    if seen == replace(seen, waiting=0, day_count=0, last_called=None, last_delivered=None, last_attempt=None):
        return _NEVER[_was_trigger(change)] if _interrupts(change) else ""
    last = seen.last_called or seen.last_delivered
    said = [f"{traffic_counted(seen.day_count, is_trigger=_was_trigger(change))} in 24 h"]
    said.append(f"last {last}" if last else "none ever succeeded" if seen.last_attempt else "none ever tried")
    if seen.waiting:
        ends = change.action in (Action.DELETE, Action.REPLACE)
        said.append(f"{seen.waiting} waiting{' will be cancelled' if ends else ''}")
    return ", ".join(said)


def _interrupts(change: Change) -> bool:
    if change.kind is not Kind.WEBHOOK:
        return False
    return change.action in _ENDING or any(warning.code == "traffic-stops" for warning in change.warnings)


def _was_trigger(change: Change) -> bool:
    """Whether what was seen are calls of a trigger: a replaced webhook has had another type."""
    before = next((field.before for field in change.fields if field.path == "type"), None)
    return (before or change.type) == EventType.SYNC_TRIGGER
