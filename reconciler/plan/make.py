"""Desired and State to Plan: the one place that decides what a change is."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from reconciler.model.hook import EventType
from reconciler.model.resource import Key, Kind
from reconciler.model.spec import canonical_bot, canonical_data_source, canonical_webhook
from reconciler.plan.consequences import GRAVE, warnings_of
from reconciler.plan.diff import differences
from reconciler.plan.drift import drift_of
from reconciler.plan.guards import guards_of
from reconciler.plan.likeness import rename_hints
from reconciler.plan.moves import Pairing, pair
from reconciler.plan.plan import Action, Base, Change, FieldChange, Plan, PlanWarning, Summary
from reconciler.plan.rotation import rotates, switches_secret_source
from reconciler.plan.swallowed import with_swallowed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Declared, Desired, Resource, Spec, State
    from reconciler.plan.drift import Shut
    from reconciler.plan.plan import Observation
    from reconciler.problem import Place

__all__ = ["GENERATED", "make"]

GENERATED = "generated at apply"
"""Stands for a secret that does not exist yet."""

_RISKS = {action: rank for rank, action in enumerate(Action)}
_KINDS = {kind: rank for rank, kind in enumerate(Kind)}


def make(
    desired: Desired,
    state: State,
    *,
    commit: str | None = None,
    observed: Mapping[str, Observation] | None = None,
    shut: Mapping[str, Shut] | None = None,
    pairing: Pairing | None = None,
) -> Plan:
    """What applying `desired` to `state` would do.

    `observed` is by hook id and feeds guards, drift and the plan's own `observed`; without it they know nothing
    of traffic. `shut`, by hook id, are the open breakers, where a daemon tells. `pairing` saves working it out twice.
    """
    pairing = pairing or pair(desired, state)
    hints = rename_hints(desired, pairing)
    changes: list[Change] = []
    unchanged = 0
    for key, declared in desired.resources.items():
        resource = pairing.before.get(key)
        if resource is None:
            changes.append(_create(declared, hints.get(key)))
        elif (change := _change(declared, resource, desired, pairing)) is not None:
            changes.append(change)
        else:
            unchanged += 1
    changes.extend(_delete(resource, desired, pairing) for resource in pairing.removed)
    changes = sorted(with_swallowed(changes, pairing), key=_rank)
    seen = observed or {}
    return Plan(
        base=Base(lineage=state.lineage, serial=state.serial),
        config_digest=desired.digest,
        commit=commit,
        changes=tuple(changes),
        summary=Summary(**Counter(change.action.value for change in changes), unchanged=unchanged),
        guards=guards_of(desired, state, changes, pairing=pairing, observed=seen),
        drift=drift_of(state, seen, shut or {}, mended=_mended(changes, pairing)),
        observed=_observed(changes, state, pairing, seen),
    )


def _canonical(kind: Kind, spec: Spec, handle: str) -> Spec:
    """A spec from a state as this version of the program reads it."""
    match kind:
        case Kind.BOT:
            return canonical_bot(spec, handle)
        case Kind.DATA_SOURCE:
            return canonical_data_source(spec, handle)
        case Kind.WEBHOOK:
            return canonical_webhook(spec)


def _create(declared: Declared, hint: PlanWarning | None) -> Change:
    kind, address = declared.key
    after = declared.spec
    handle = address.rpartition("/")[2]
    found = differences(_defaults(kind, after, handle), after)
    place = declared.locate("")
    return Change(
        kind=kind,
        address=address,
        action=Action.CREATE,
        type=after.get("type") if kind is Kind.WEBHOOK else None,
        file=place.file,
        line=place.line,
        fields=tuple(_field(each.path, None, each.after, declared.locate(each.path)) for each in found),
        warnings=(*warnings_of(Action.CREATE, kind, None, after, handle=handle), *((hint,) if hint else ())),
    )


def _change(declared: Declared, resource: Resource, desired: Desired, pairing: Pairing) -> Change | None:
    kind, address = declared.key
    moved = resource.key != declared.key
    if not moved and (resource.spec is declared.spec or resource.spec == declared.spec):
        return None
    before = _canonical(kind, resource.spec, resource.key.address.rpartition("/")[2])
    after = declared.spec
    found = differences(before, after)
    if not moved and not found:
        return None
    action = _action(kind, before, after, moved=moved)
    fields = []
    if moved:
        cause = _place_of_move(declared, desired, pairing)
        fields.append(_field("address", resource.key.address, address, cause))
    if action is Action.REPLACE or (kind is Kind.WEBHOOK and rotates(before, after)):
        place = declared.locate("secret" if after.get("secret") else "secret_version")
        fields.append(_field("secret", _shown_secret(before, resource), _new_secret(after), place))
    shown = {each.path for each in fields}
    fields.extend(
        _field(each.path, each.before, each.after, declared.locate(each.path))
        for each in found
        if each.path not in shown
    )
    cause_path = {Action.REPLACE: "type", Action.ROTATE: "secret_version", Action.RENAME: "address"}.get(action)
    if action is Action.ROTATE and switches_secret_source(before, after):
        cause_path = "secret"
    cause_field = next((each for each in fields if each.path == cause_path), fields[0])
    return Change(
        kind=kind,
        address=address,
        action=action,
        type=after["type"] if kind is Kind.WEBHOOK else None,
        file=cause_field.file,
        line=cause_field.line,
        fields=tuple(fields),
        warnings=warnings_of(action, kind, before, after, handle=address.rpartition("/")[2]),
    )


def _action(kind: Kind, before: Spec, after: Spec, *, moved: bool) -> Action:
    if kind is Kind.WEBHOOK and before["type"] != after["type"]:
        return Action.REPLACE
    if moved:
        return Action.RENAME
    return Action.ROTATE if kind is Kind.WEBHOOK and rotates(before, after) else Action.UPDATE


def _delete(resource: Resource, desired: Desired, pairing: Pairing) -> Change:
    kind, address = resource.key
    handle = address.rpartition("/")[2]
    before = _canonical(kind, resource.spec, handle)
    found = differences(_defaults(kind, before, handle), before)
    fields = [FieldChange(path=each.path, before=each.after, after=None) for each in found if each.path != "secret"]
    if kind is Kind.WEBHOOK:
        fields.insert(0, FieldChange(path="secret", before=_shown_secret(before, resource), after=None))
    place = _place_of_deleted(kind, pairing.translated(address).partition("/")[0], desired)
    return Change(
        kind=kind,
        address=address,
        action=Action.DELETE,
        type=before["type"] if kind is Kind.WEBHOOK else None,
        file=place.file if place else None,
        line=place.line if place else None,
        fields=tuple(fields),
        warnings=(
            *warnings_of(Action.DELETE, kind, before, None, handle=handle),
            *_not_renamed(resource, pairing),
        ),
    )


def _place_of_deleted(kind: Kind, bot: str, desired: Desired) -> Place | None:
    """What it is missing from: its bot's block, or the bots of the one file."""
    declared = desired.resources.get(Key(Kind.BOT, bot))
    if declared is not None and kind is not Kind.BOT:
        return declared.locate("webhooks" if kind is Kind.WEBHOOK else "data_sources")
    return desired.locate_bots() if desired.locate_bots is not None else None


def _not_renamed(resource: Resource, pairing: Pairing) -> tuple[PlanWarning, ...]:
    """A word where a `moved_from` names what is deleted, and nothing comes of it."""
    address = pairing.in_the_way.get(resource.key)
    if address is None:
        return ()
    message = (
        f"`moved_from` at {address} does not keep it: {address} is applied already and keeps its own identity;"
        f" delete that one first, in an apply of its own"
    )
    return (PlanWarning(code="moved-from-in-the-way", message=message),)


def _place_of_move(declared: Declared, desired: Desired, pairing: Pairing) -> Place:
    """The `moved_from` that did it: the resource's own, or else its bot's."""
    if declared.key in pairing.claimed:
        return declared.locate("moved_from")
    bot = desired.resources.get(Key(Kind.BOT, declared.key.address.partition("/")[0]))
    return bot.locate("moved_from") if bot is not None else declared.locate("")


def _shown_secret(spec: Spec, resource: Resource) -> Any:
    """A referenced secret as its reference, a generated one as its fingerprint."""
    if spec.get("secret") is not None:
        return spec["secret"]
    return None if resource.secret is None else f"fp {resource.secret.fingerprint}"


def _new_secret(spec: Spec) -> Any:
    return spec["secret"] if spec.get("secret") is not None else GENERATED


def _field(path: str, before: Any, after: Any, place: Place) -> FieldChange:
    return FieldChange(path, before, after, place.file, place.line)


def _defaults(kind: Kind, spec: Spec, handle: str) -> Spec:
    """What a resource is where its configuration says nothing, so that only what was said is listed."""
    match kind:
        case Kind.BOT:
            return canonical_bot({}, handle)
        case Kind.DATA_SOURCE:
            sync = spec["sync"]
            silent: dict[str, Any] = {"command": []} if sync and "command" in sync else {"http": {"url": None}}
            return canonical_data_source({"sync": silent if sync else None}, handle)
        case Kind.WEBHOOK:
            return _silent_webhook(spec["type"])


@lru_cache(maxsize=len(EventType))
def _silent_webhook(kind: str) -> Spec:
    return canonical_webhook({"type": kind, "url": None, "data_source": None})


def _rank(change: Change) -> tuple[int, bool, int, str]:
    """Risk, kind, address. An update or rename that somebody outside will notice stands before the calm ones."""
    risk = _RISKS[change.action]
    calm = True
    if change.action in (Action.RENAME, Action.UPDATE):
        calm = GRAVE.isdisjoint(warning.code for warning in change.warnings)
        risk = _RISKS[Action.UPDATE if calm and change.action is Action.UPDATE else Action.RENAME]
    return risk, calm, _KINDS[change.kind], change.address


def _mended(changes: list[Change], pairing: Pairing) -> frozenset[str]:
    """The applied addresses of webhooks that this plan ends, or gives another chance: another URL, or off or on."""
    mended = set()
    for change in changes:
        if change.kind is Kind.WEBHOOK and change.action is not Action.CREATE:
            ends = change.action in (Action.DELETE, Action.REPLACE)
            if ends or any(field.path in ("url", "enabled") for field in change.fields):
                before = None if change.action is Action.DELETE else pairing.before[Key(change.kind, change.address)]
                mended.add(change.address if before is None else before.key.address)
    return frozenset(mended)


def _observed(
    changes: list[Change], state: State, pairing: Pairing, seen: Mapping[str, Observation]
) -> dict[str, Observation]:
    """What happened at the webhooks that change, by the address their change stands under."""
    if not seen:
        return {}
    found = {}
    for change in changes:
        key = Key(change.kind, change.address)
        resource = state.resources[key] if change.action is Action.DELETE else pairing.before.get(key)
        if resource is not None and resource.id is not None and resource.id in seen:
            found[change.address] = seen[resource.id]
    return found
