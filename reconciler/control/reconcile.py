"""Planning against a store and applying to it: wholly or not at all, and never something nobody has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.control.commit import commit_of
from reconciler.control.observe import observations, shut
from reconciler.control.secrets import Sealer, require_same_keys
from reconciler.errors import GuardRefused, PlanStale, ReconcilerError
from reconciler.plan.compare import differing
from reconciler.plan.guards import NOTHING_ALLOWED, Allowance, guards_of, vain_allowances
from reconciler.plan.make import make
from reconciler.plan.moves import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reconciler.mint import Mint
    from reconciler.model.breaker import Tripped
    from reconciler.model.resource import Desired, State
    from reconciler.plan.plan import Guard, Plan
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring

__all__ = ["SALT_BYTES", "Allowance", "Applied", "apply", "plan_against", "refuse"]

SALT_BYTES = 32
"""Of the key under which a lineage's fingerprints are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was applied, and the serial the state has now. An empty plan leaves the serial as it was."""

    plan: Plan
    serial: int


async def plan_against(
    store: Store,
    desired: Desired,
    *,
    now_ms: int,
    commit: str | None = None,
    breakers: Mapping[str, Tripped] | None = None,
) -> Plan:
    """What applying would do now. Reads only, and needs no key. `breakers` are what a daemon knows of its hooks."""
    state = await store.read_state()
    observed = await observations(store, now_ms=now_ms)
    return make(desired, state, commit=commit, observed=observed, shut=shut(breakers or {}))


async def apply(
    store: Store,
    desired: Desired,
    *,
    keyring: Keyring,
    mint: Mint,
    now_ms: int,
    allow: Allowance = NOTHING_ALLOWED,
    reviewed: Plan | None = None,
    commit: str | None = None,
    notes: Mapping[str, str] | None = None,
) -> Applied:
    """Plan and carry it out in one transaction.

    Raises GuardRefused for what `allow` does not cover, and PlanStale if the changes are not exactly those of
    `reviewed`, or if another process applied meanwhile; StateUnreadable if a secret is to be made under keys that do
    not open those that stay. `notes` are written with the commit; where nothing changes, only those that differ.
    """
    state = await store.read_state()
    pairing = pair(desired, state)
    observed = await observations(store, now_ms=now_ms)
    plan = make(desired, state, commit=commit, observed=observed, pairing=pairing)
    if reviewed is not None:
        _require_reviewed(reviewed, plan)
    if plan.is_empty:
        for name, value in (notes or {}).items():
            if await store.read_note(name) != value:
                await store.write_note(name, value)
        return Applied(plan=plan, serial=state.serial)
    refused = guards_of(desired, state, plan.changes, pairing=pairing, observed=observed, allow=allow)
    refuse(refused, vain_allowances(allow, plan.changes) if refused else ())
    sealer = Sealer(
        keyring=keyring,
        mint=mint,
        lineage=state.lineage or mint.hook_id(),
        salt=state.salt or mint.bytes(SALT_BYTES),
        now_ms=now_ms,
    )
    change = commit_of(plan, desired, state, pairing=pairing, sealer=sealer, notes=notes or {})
    require_same_keys(state, change, keyring)
    serial = await store.commit(change, now_ms=now_ms, verify=_nothing_left_of(desired))
    return Applied(plan=plan, serial=serial)


def _require_reviewed(reviewed: Plan, plan: Plan) -> None:
    difference = differing(reviewed, plan)
    if difference:
        raise PlanStale(difference)


def _nothing_left_of(desired: Desired) -> Callable[[State], None]:
    """The check inside the transaction: planning again on what would be committed must find nothing to do."""

    def verify(state: State) -> None:
        again = make(desired, state)
        if not again.is_empty:
            left = ", ".join(f"{change.action.value} {change.address}" for change in again.changes[:5])
            raise ReconcilerError(
                f"nothing was applied: applying would not settle (left to do: {left}); please report this"
            )

    return verify


def refuse(guards: Sequence[Guard], vain: Sequence[str] = ()) -> None:
    """Raise GuardRefused if there are any, with every reason, what allows it, and what was allowed in vain."""
    if not guards:
        return
    lines = [f"{len(guards)} guard{'' if len(guards) == 1 else 's'} refused to apply this plan; nothing was changed"]
    for guard in guards:
        where = f"{guard.address}: " if guard.address else ""
        lines.append(f"  {where}{guard.message} [{guard.code}]; to allow it: {guard.allow}")
    lines += [f"  {each}" for each in vain]
    raise GuardRefused("\n".join(lines), [guard.code for guard in guards])
