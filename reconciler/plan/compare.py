"""Whether two plans would do the same, and if not, which resources differ and what may have happened between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.model.resource import Key
from reconciler.plan.escape import harmless
from reconciler.plan.words import kind_words, verb

if TYPE_CHECKING:
    from reconciler.plan.plan import Change, Plan

__all__ = ["differing", "unexplained"]

NAMED_MAX = 20
"""Resources named in the refusal; the rest is counted."""


def differing(reviewed: Plan, plan: Plan) -> str:
    """Why `plan` is not the reviewed one, or nothing if its changes are the same.

    Where a field stands in the files, the commit, traffic and guards are no part of what was reviewed.
    """
    old = {_identity(change): change for change in reviewed.changes}
    new = {_identity(change): change for change in plan.changes}
    if len(old) == len(reviewed.changes) and _same_lineage(reviewed, plan):
        differ = sorted(key for key in old.keys() | new.keys() if _said(old.get(key)) != _said(new.get(key)))
    else:
        differ = sorted(old.keys() | new.keys())
    if not differ and _same_lineage(reviewed, plan):
        return ""
    lines = [f"the plan is not the reviewed one ({_cause(reviewed, plan)}); nothing was applied; review a new plan"]
    lines += [f"  {harmless(key[1])}: {_difference(old.get(key), new.get(key))}" for key in differ[:NAMED_MAX]]
    if len(differ) > NAMED_MAX:
        lines.append(f"  and {len(differ) - NAMED_MAX} more")
    return "\n".join(lines)


def unexplained(plan: Plan, base: Plan) -> frozenset[Key]:
    """The changes of `plan` that `base`, made from the files before a pull request, makes in the same way.

    The pull request's own diff is not what causes them: somebody has not applied, or the state was changed.
    """
    before = {_identity(change): _said(change) for change in base.changes}
    return frozenset(
        Key(change.kind, change.address) for change in plan.changes if before.get(_identity(change)) == _said(change)
    )


def _identity(change: Change) -> tuple[str, str, bool]:
    return change.kind.value, change.address, change.action.value == "delete"


def _same_lineage(reviewed: Plan, plan: Plan) -> bool:
    """A plan made before the first apply has no lineage; after it, it is for another state."""
    return reviewed.base.lineage == plan.base.lineage


def _said(change: Change | None) -> Any:
    if change is None:
        return None
    fields = {field.path: (field.before, field.after) for field in change.fields}
    return change.action, change.type, len(change.fields), fields


def _cause(reviewed: Plan, plan: Plan) -> str:
    causes = []
    if reviewed.config_digest != plan.config_digest:
        causes.append("the files changed")
    if not _same_lineage(reviewed, plan):
        causes.append("it was made for another state")
    elif reviewed.base.serial != plan.base.serial:
        causes.append(f"the state moved on from serial {reviewed.base.serial} to {plan.base.serial}")
    return " and ".join(causes) or "the plan was edited, or made by another version"


def _difference(old: Change | None, new: Change | None) -> str:
    if old is None:
        assert new is not None
        return f"would {verb(new.action)} this {kind_words(new.kind)}, which was not in the reviewed plan"
    if new is None:
        return f"reviewed as {verb(old.action)}, now nothing to do"
    if old.action is not new.action:
        return f"reviewed as {verb(old.action)}, now {verb(new.action)}"
    paths = {field.path: (field.before, field.after) for field in old.fields}
    now = {field.path: (field.before, field.after) for field in new.fields}
    differ = sorted(path for path in paths.keys() | now.keys() if paths.get(path) != now.get(path))
    return f"differs in {', '.join(map(harmless, differ))}" if differ else "is another resource of the same name"
