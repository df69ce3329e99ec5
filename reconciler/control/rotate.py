"""Regenerating a secret now, without touching the configuration: the next plan is still empty."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from reconciler.control.addresses import webhook_at
from reconciler.control.secrets import Sealer, opened
from reconciler.errors import PlanStale, StateUnreadable, UsageError
from reconciler.store.port import Commit

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.mint import Mint
    from reconciler.model.resource import Resource, State
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring

__all__ = ["Rotated", "rotate"]

TRIES_MAX = 5
"""How often a rotation starts again because somebody else changed the state meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """The new secret by its fingerprint; `previous_until_ms` is the end of the overlap, None without one."""

    address: str
    fingerprint: str
    serial: int
    previous_until_ms: int | None = None


async def rotate(store: Store, address: str, *, keyring: Keyring, mint: Mint, now_ms: int) -> Rotated:
    """Put a new secret into force, with the overlap that the webhook's `rotation` gives the old one.

    Raises UnknownAddress; UsageError for a secret given by reference, which is changed at its source; StateUnreadable
    under keys that do not open the present secret: the daemon's would not open the new one.
    """
    for _ in range(TRIES_MAX - 1):
        try:
            return await _rotate(store, address, keyring=keyring, mint=mint, now_ms=now_ms)
        except PlanStale:
            continue
    return await _rotate(store, address, keyring=keyring, mint=mint, now_ms=now_ms)


async def _rotate(store: Store, address: str, *, keyring: Keyring, mint: Mint, now_ms: int) -> Rotated:
    state = await store.read_state()
    webhook = webhook_at(state, address)
    if webhook.spec.get("secret") is not None:
        raise UsageError(f"the secret of {address} is given by reference: change it at its source")
    if webhook.secret is None or webhook.id is None or state.lineage is None or state.salt is None:
        raise StateUnreadable(f"the state holds no secret for {address}")
    opened(webhook, keyring, state.lineage)  # keys that do not open the present secret are the wrong ones
    sealer = Sealer(keyring=keyring, mint=mint, lineage=state.lineage, salt=state.salt, now_ms=now_ms)
    secret = sealer.turned(webhook.secret, webhook.spec, webhook.id)
    turned = replace(webhook, secret=secret)
    serial = await store.commit(
        Commit(
            expected_lineage=state.lineage,
            expected_serial=state.serial,
            lineage=state.lineage,
            salt=state.salt,
            upserts=(turned,),
        ),
        now_ms=now_ms,
        verify=_is_stored(turned),
    )
    until_ms = None if secret.previous is None else secret.previous.until_ms
    return Rotated(address=address, fingerprint=secret.fingerprint, serial=serial, previous_until_ms=until_ms)


def _is_stored(webhook: Resource) -> Callable[[State], None]:
    def verify(state: State) -> None:
        if state.resources.get(webhook.key) != webhook:
            raise StateUnreadable(
                f"nothing was rotated: the store did not give {webhook.key.address} back as written"
            )

    return verify
