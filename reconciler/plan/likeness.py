"""Deleted and added webhooks that look like one that was renamed: said in time, with the line that keeps its id."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from reconciler.model.resource import Kind
from reconciler.model.spec import canonical_webhook
from reconciler.plan.diff import differences
from reconciler.plan.plan import PlanWarning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Declared, Desired, Key, Resource, Spec
    from reconciler.plan.moves import Pairing

__all__ = ["rename_hints"]

ALIKE_MIN = 0.6
"""The share of what the two hooks say that must be equal."""
COMPARISONS_MAX = 2_500
"""Per bot and type; a plan with more is no rename."""


def rename_hints(desired: Desired, pairing: Pairing) -> Mapping[Key, PlanWarning]:
    """For added webhooks, a warning where a deleted one of the same bot and type is much alike."""
    removed: dict[tuple[str, str], list[Resource]] = defaultdict(list)
    for resource in pairing.removed:
        if resource.key.kind is Kind.WEBHOOK:
            bot = pairing.translated(resource.key.address).partition("/")[0]
            removed[bot, resource.spec["type"]].append(resource)
    if not removed:
        return {}
    added: dict[tuple[str, str], list[Declared]] = defaultdict(list)
    for key, declared in desired.resources.items():
        if key.kind is Kind.WEBHOOK and key not in pairing.before:
            group = key.address.partition("/")[0], declared.spec["type"]
            if group in removed:
                added[group].append(declared)
    hints: dict[Key, PlanWarning] = {}
    for group, declareds in added.items():
        if len(declareds) * len(removed[group]) <= COMPARISONS_MAX:
            hints |= _match(removed[group], declareds)
    return hints


def _match(removed: list[Resource], added: list[Declared]) -> dict[Key, PlanWarning]:
    gone = {resource.key.address: _said(resource.spec) for resource in removed}
    new = {declared.key: _said(declared.spec) for declared in added}
    scores = sorted(
        ((_likeness(gone[old], new[key]), old, key) for old in gone for key in new),
        key=lambda score: (-score[0], score[1], score[2]),
    )
    hints: dict[Key, PlanWarning] = {}
    for likeness, old, key in scores:
        if likeness < ALIKE_MIN:
            break
        if old in gone and key not in hints:
            del gone[old]
            handle = old.rpartition("/")[2]
            hints[key] = PlanWarning(
                code="looks-renamed",
                message=f"{old} is deleted and much like this one: `moved_from: {handle}` keeps its id and secret",
            )
    return hints


def _said(spec: Spec) -> dict[str, str]:
    defaults = canonical_webhook({"type": spec["type"], "url": None, "data_source": None})
    return {each.path: repr(each.after) for each in differences(defaults, canonical_webhook(spec))}


def _likeness(one: Mapping[str, str], other: Mapping[str, str]) -> float:
    paths = one.keys() | other.keys()
    return sum(one.get(path) == other.get(path) for path in paths) / len(paths) if paths else 0.0
