"""Where what runs is not what was applied: hooks that answered 410, hooks whose every attempt fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.plan.plan import Drift
from reconciler.plan.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import State
    from reconciler.plan.plan import Observation

__all__ = ["drift_of"]


def drift_of(state: State, observed: Mapping[str, Observation]) -> tuple[Drift, ...]:
    """The drift of a whole state, by address; `observed` is by hook id."""
    wrong = {hook_id for hook_id, seen in observed.items() if seen.gone_since or seen.failing_since}
    if not wrong:
        return ()
    found = [
        _drift(resource.key.address, observed[resource.id])
        for resource in state.resources.values()
        if resource.id in wrong and resource.spec["enabled"]
    ]
    return tuple(sorted(found, key=lambda drift: drift.address))


def _drift(address: str, seen: Observation) -> Drift:
    if seen.gone_since:
        return Drift(
            address=address,
            code="gone",
            since=seen.gone_since,
            message=f"its receiver answered 410 Gone; nothing is sent; {_waiting(seen)}",
            clears="a changed url, a test answered with 2xx, or disabling and enabling it",
        )
    return Drift(
        address=address,
        code="failing",
        since=seen.failing_since,
        message=f"every attempt has failed; {_waiting(seen)}",
        clears="the first delivery that succeeds",
    )


def _waiting(seen: Observation) -> str:
    return counted(seen.waiting, "delivery waits", "deliveries wait")
