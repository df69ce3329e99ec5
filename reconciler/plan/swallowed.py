"""Deleted webhooks that stand in another one's text: everything below it was indented too far."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.resource import Kind
from reconciler.plan.plan import Action, PlanWarning
from reconciler.plan.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.plan.moves import Pairing
    from reconciler.plan.plan import Change, FieldChange

__all__ = ["SWALLOWED", "with_swallowed"]

SWALLOWED = "swallowed-webhooks"
"""The code of the warning at a change whose text has taken other webhooks in."""

_KEY = re.compile(r"^[ \t]*([a-z0-9][a-z0-9-]*):(?=\s)", re.MULTILINE)


def with_swallowed(changes: Sequence[Change], pairing: Pairing) -> list[Change]:
    """The changes, with a warning where a text has come to hold webhooks of its bot that are deleted.

    YAML takes what is indented below a block of text for more of it, so that a whole file can vanish into a body
    without a fault that anything else would find.
    """
    deleted: dict[str, dict[str, str | None]] = defaultdict(dict)
    for change in changes:
        if change.kind is Kind.WEBHOOK and change.action is Action.DELETE:
            bot, _, handle = pairing.translated(change.address).partition("/")
            deleted[bot][handle] = change.type
    if not deleted:
        return list(changes)
    return [_warned(change, deleted.get(change.address.partition("/")[0], {})) for change in changes]


def _warned(change: Change, deleted: dict[str, str | None]) -> Change:
    if not deleted or change.kind is not Kind.WEBHOOK or change.action is Action.DELETE:
        return change
    for field in change.fields:
        count = sum(
            1 for handle in _new_keys(field) if handle in deleted and f"type: {deleted[handle]}" in field.after
        )
        if count:
            what = counted(count, "webhook that is deleted", "webhooks that are deleted")
            message = f"`{field.path}` has taken in {what}: is everything below it indented too far?"
            return replace(change, warnings=(*change.warnings, PlanWarning(code=SWALLOWED, message=message)))
    return change


def _new_keys(field: FieldChange) -> set[str]:
    """What looks like keys of YAML in a text of several lines, and was not in it before."""
    if not isinstance(field.after, str) or "\n" not in field.after:
        return set()
    before = field.before if isinstance(field.before, str) else ""
    return set(_KEY.findall(field.after)) - set(_KEY.findall(before))
