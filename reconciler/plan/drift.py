"""Where what runs is not what was applied: hooks that answered 410, that are held back, whose every attempt fails."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from reconciler.plan.plan import Drift, Observation
from reconciler.plan.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from reconciler.model.resource import State

__all__ = ["Shut", "drift_of"]


class Shut(NamedTuple):
    """An open breaker: since when the daemon holds a webhook's attempts back, and after how many failures."""

    since: str | None
    failures: int


def drift_of(
    state: State,
    observed: Mapping[str, Observation],
    shut: Mapping[str, Shut] | None = None,
    *,
    mended: AbstractSet[str] = frozenset(),
) -> tuple[Drift, ...]:
    """The drift of a whole state, by address; `observed` and `shut` are by hook id.

    `mended` are the addresses at which the plan does what clears a webhook that is gone or held back.
    """
    shut = shut or {}
    wrong = {hook_id for hook_id, seen in observed.items() if seen.gone_since or seen.failing_since} | shut.keys()
    if not wrong:
        return ()
    found = [
        _with_mending(
            _drift(resource.key.address, observed.get(resource.id) or Observation(), shut.get(resource.id)), mended
        )
        for resource in state.resources.values()
        if resource.id in wrong and resource.spec["enabled"]
    ]
    return tuple(sorted(found, key=lambda drift: drift.address))


def _drift(address: str, seen: Observation, shut: Shut | None) -> Drift:
    if seen.gone_since:
        return Drift(
            address=address,
            code="gone",
            since=seen.gone_since,
            message=f"its receiver answered 410 Gone; nothing is sent; {_waiting(seen)}",
            clears="a changed url, a test answered with 2xx, or disabling and enabling it",
        )
    if shut is not None:
        return Drift(
            address=address,
            code="breaker-open",
            since=shut.since,
            message=(
                f"{counted(shut.failures, 'attempt', 'attempts')} in a row failed; "
                f"one at a time is tried now and then; {_waiting(seen)}"
            ),
            clears="an attempt that succeeds, a test answered with 2xx, or a changed url",
        )
    return Drift(
        address=address,
        code="failing",
        since=seen.failing_since,
        message=f"every attempt has failed; {_waiting(seen)}",
        clears="the first delivery that succeeds",
    )


def _with_mending(drift: Drift, mended: AbstractSet[str]) -> Drift:
    is_mended = drift.address in mended and drift.code != "failing"
    return replace(drift, clears="applying this plan") if is_mended else drift


def _waiting(seen: Observation) -> str:
    return counted(seen.waiting, "delivery waits", "deliveries wait")
