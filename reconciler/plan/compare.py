"""Whether two plans would do the same, and if not, which resources differ and what may have happened between."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import orjson

from reconciler.plan.escape import harmless
from reconciler.plan.plan import Action, PlanWarning
from reconciler.plan.words import field_value, kind_words, participle, verb

if TYPE_CHECKING:
    from reconciler.plan.plan import Change, FieldChange, Plan

__all__ = ["UNEXPLAINED", "differing", "unexplained"]

UNEXPLAINED = "unexplained"
"""The code of the warning at changes that have another cause than the pull request they show up in."""
NAMED_MAX = 20
"""Resources named in the refusal; the rest is counted."""
VALUES_MAX = 120
"""Characters of a field's values up to which they are quoted."""
PATHS_MAX = 5
"""Fields named in a warning."""


def differing(reviewed: Plan, plan: Plan) -> str:
    """Why `plan` is not the reviewed one, or nothing if its changes are the same.

    Where a field stands in the files, the commit, traffic and guards are no part of what was reviewed.
    """
    old = {_identity(change): change for change in reviewed.changes}
    new = {_identity(change): change for change in plan.changes}
    differ = sorted(key for key in old.keys() | new.keys() if _said(old.get(key)) != _said(new.get(key)))
    miscounted = _miscounted(reviewed, plan)
    is_of_another_state = reviewed.base.lineage != plan.base.lineage
    if not differ and not miscounted and not is_of_another_state:
        return ""
    cause = _EDITED if miscounted else _cause(reviewed, plan)
    lines = [f"the plan is not the reviewed one: {cause}; nothing was applied; review a new plan"]
    lines += [f"  {harmless(key[1])}: {_difference(old.get(key), new.get(key))}" for key in differ[:NAMED_MAX]]
    if len(differ) > NAMED_MAX:
        lines.append(f"  and {len(differ) - NAMED_MAX} more")
    return "\n".join([*lines, *miscounted])


def unexplained(plan: Plan, base: Plan) -> Plan:
    """The plan with a warning at what `base`, made from the files before a pull request, would do as well.

    The pull request's own diff is not what causes it: somebody has not applied, or the state was changed.
    """
    before = {_identity(change): change for change in base.changes}
    return replace(plan, changes=tuple(_marked(change, before.get(_identity(change))) for change in plan.changes))


def _marked(change: Change, base: Change | None) -> Change:
    if base is None:
        return change
    if _done(change) == _done(base):
        what = f"this {kind_words(change.kind)} would be {participle(change.action)} without it, too"
    else:
        there = {field.path: _values(field) for field in base.fields}
        shared = [field.path for field in change.fields if there.get(field.path) == _values(field)]
        if not shared:
            return change
        named = ", ".join(map(harmless, shared[:PATHS_MAX])) + (" and more" if len(shared) > PATHS_MAX else "")
        what = f"{named} would change without it, too"
    message = f"not explained by this diff: {what}; something is not applied yet, or the state was changed"
    return replace(change, warnings=(*change.warnings, PlanWarning(code=UNEXPLAINED, message=message)))


def _identity(change: Change) -> tuple[str, str, bool]:
    return change.kind.value, change.address, change.action.value == "delete"


def _done(change: Change) -> Any:
    fields = {field.path: _values(field) for field in change.fields}
    return change.action, change.type, len(change.fields), fields


def _said(change: Change | None) -> Any:
    """What a change does and warns of. What the diff explains depends on the branch it was reviewed on."""
    if change is None:
        return None
    return _done(change), [warning for warning in change.warnings if warning.code != UNEXPLAINED]


def _miscounted(reviewed: Plan, plan: Plan) -> list[str]:
    """What a plan counts is told first to whoever reviews it: it must be what it lists."""
    listed = Counter(change.action.value for change in reviewed.changes)
    counted = asdict(reviewed.summary)
    lines = [
        f"  its summary says {counted[action.value]} to {verb(action)}, and it lists {listed[action.value]}"
        for action in Action
        if counted[action.value] != listed[action.value]
    ]
    if len({_identity(change) for change in reviewed.changes}) != len(reviewed.changes):
        lines.append("  it lists a change twice")
    same_inputs = (reviewed.base, reviewed.config_digest) == (plan.base, plan.config_digest)
    if same_inputs and counted["unchanged"] != plan.summary.unchanged:
        lines.append(f"  its summary says {counted['unchanged']} unchanged, and there are {plan.summary.unchanged}")
    return lines


_EDITED = "the plan was edited, or made by another version"


def _cause(reviewed: Plan, plan: Plan) -> str:
    causes = []
    if reviewed.base.lineage != plan.base.lineage:
        unborn = f"it was made before anything was applied, and the state has serial {plan.base.serial} now"
        causes.append("it was made for another state" if reviewed.base.lineage else unborn)
    if reviewed.config_digest != plan.config_digest:
        causes.append("the files changed")
    if reviewed.base.lineage == plan.base.lineage and reviewed.base.serial != plan.base.serial:
        causes.append(f"the state moved on from serial {reviewed.base.serial} to {plan.base.serial}")
    return " and ".join(causes) or _EDITED


def _difference(old: Change | None, new: Change | None) -> str:
    if old is None:
        assert new is not None
        return f"would {verb(new.action)} this {kind_words(new.kind)}, which was not in the reviewed plan"
    if new is None:
        return f"reviewed as {verb(old.action)}, now nothing to do"
    if old.action is not new.action:
        return f"reviewed as {verb(old.action)}, now {verb(new.action)}"
    paths = {field.path: field for field in old.fields}
    now = {field.path: field for field in new.fields}
    differ = sorted(path for path in paths.keys() | now.keys() if _values(paths.get(path)) != _values(now.get(path)))
    if differ:
        return "; ".join(_field_difference(path, paths.get(path), now.get(path)) for path in differ)
    return "is another resource of the same name" if old.type != new.type else "warns of something else"


def _values(field: FieldChange | None) -> bytes | None:
    """Both sides as JSON, where 1, true and 1.0 are three things."""
    return None if field is None else orjson.dumps((field.before, field.after), option=orjson.OPT_SORT_KEYS)


def _field_difference(path: str, old: FieldChange | None, new: FieldChange | None) -> str:
    """A field as it was reviewed and as it is now; long values are only said to differ."""
    was, now = (f"{_side(each, 'before')} → {_side(each, 'after')}" if each else "unchanged" for each in (old, new))
    if len(was) > VALUES_MAX or len(now) > VALUES_MAX:
        return f"differs in {harmless(path)}"
    return f"{harmless(path)} reviewed as {was}, now {now}"


def _side(field: FieldChange, side: str) -> str:
    return field_value(field, getattr(field, side))
