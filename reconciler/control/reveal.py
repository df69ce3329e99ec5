"""The two outputs of a secret: by itself, and as the trigger URL that holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.control.addresses import webhook_at
from reconciler.control.secrets import opened
from reconciler.errors import UsageError
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from reconciler.model.resource import State
    from reconciler.store.seal import Keyring

__all__ = ["TRIGGER_PATH", "secret_of", "trigger_url"]

TRIGGER_PATH = "/api/public/hooks/"


def secret_of(state: State, address: str, *, keyring: Keyring) -> str:
    """A webhook's generated secret in the clear.

    Raises UnknownAddress; UsageError for one given by reference; StateUnreadable where the key is not the one.
    """
    webhook = webhook_at(state, address)
    reference = webhook.spec.get("secret")
    if reference is not None:
        ((scheme, name),) = reference.items()
        raise UsageError(f"the secret of {address} is given by reference: it stands at {scheme} {name}")
    return opened(webhook, keyring, state.lineage)


def trigger_url(state: State, address: str, *, keyring: Keyring, public_url: str) -> str:
    """The ready-to-share URL of a trigger: as good as a password. UsageError for an outgoing webhook."""
    webhook = webhook_at(state, address)
    if webhook.spec["type"] != EventType.SYNC_TRIGGER:
        raise UsageError(f"{address} is outgoing and has no URL of ours; only a sync.trigger has")
    return f"{public_url.rstrip('/')}{TRIGGER_PATH}{webhook.id}/{opened(webhook, keyring, state.lineage)}"
