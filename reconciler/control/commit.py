"""A plan as rows: whole resources to write, keys to drop and to move, and what that does to work that waits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.model.resource import Key, Kind, Resource
from reconciler.plan.plan import Action
from reconciler.plan.rotation import rotates, switches_secret_source
from reconciler.store.port import Commit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.control.secrets import Sealer
    from reconciler.model.resource import Declared, Desired, Secret, State
    from reconciler.plan.moves import Pairing
    from reconciler.plan.plan import Change, Plan

__all__ = ["commit_of"]


def commit_of(
    plan: Plan, desired: Desired, state: State, *, pairing: Pairing, sealer: Sealer, notes: Mapping[str, str]
) -> Commit:
    """The commit that carries out `plan`, with ids and secrets minted."""
    upserts: list[Resource] = []
    deletes: list[Key] = []
    renames: dict[Key, Key] = {}
    cancelled: set[str] = set()
    cleared: set[str] = set()
    changed: set[Key] = set()
    for change in plan.changes:
        key = Key(change.kind, change.address)
        if change.action is Action.DELETE:
            gone = state.resources[key]
            deletes.append(key)
            cancelled |= {gone.id} if gone.id else set()
            continue
        changed.add(key)
        before = pairing.before.get(key)
        after = _resource(change, desired.resources[key], before, sealer)
        upserts.append(after)
        if before is None:
            continue
        if change.action is Action.REPLACE:
            cancelled |= {before.id} if before.id else set()
            if before.key != key:
                deletes.append(before.key)
        elif before.key != key:
            renames[before.key] = key
        if before.id and before.id == after.id and _is_given_another_chance(before, after):
            cleared.add(before.id)
    upserts.extend(_refreshed(desired, pairing, changed))
    return Commit(
        expected_lineage=state.lineage,
        expected_serial=state.serial,
        lineage=sealer.lineage,
        salt=sealer.salt,
        upserts=tuple(upserts),
        deletes=tuple(deletes),
        renames=renames,
        cancel_hooks=frozenset(cancelled),
        clear_gone=frozenset(cleared),
        notes=dict(notes),
    )


def _resource(change: Change, declared: Declared, before: Resource | None, sealer: Sealer) -> Resource:
    hook_id, secret = None, None
    if declared.key.kind is Kind.WEBHOOK:
        keeps = before is not None and change.action is not Action.REPLACE
        hook_id = before.id if before is not None and keeps else sealer.mint.hook_id()
        assert hook_id is not None
        secret = _secret(declared, before if keeps else None, hook_id, sealer)
    return Resource(
        key=declared.key,
        spec=declared.spec,
        base_dir=declared.base_dir,
        id=hook_id,
        secret=secret,
        moved_from=declared.moved_from,
    )


def _secret(declared: Declared, before: Resource | None, hook_id: str, sealer: Sealer) -> Secret | None:
    spec = declared.spec
    if spec.get("secret") is not None:
        return None
    if before is None or before.secret is None or switches_secret_source(before.spec, spec):
        return sealer.new(spec, hook_id)
    return sealer.turned(before.secret, spec, hook_id) if rotates(before.spec, spec) else before.secret


def _is_given_another_chance(before: Resource, after: Resource) -> bool:
    """Whether a hook that answered 410 is asked again: its URL changed, or it was switched off or on."""
    old, new = before.spec, after.spec
    return bool(old.get("url") != new.get("url") or old["enabled"] != new["enabled"])


def _refreshed(desired: Desired, pairing: Pairing, changed: set[Key]) -> list[Resource]:
    """Unchanged resources beside whose specification something else is written differently now.

    The folder of their file, from which relative references are looked up, and the `moved_from` that is dealt with.
    """
    refreshed = []
    for key, declared in desired.resources.items():
        before = pairing.before.get(key)
        if before is None or key in changed:
            continue
        after = replace(before, key=key, base_dir=declared.base_dir, moved_from=declared.moved_from)
        if after != before:
            refreshed.append(after)
    return refreshed
