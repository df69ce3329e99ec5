"""Generated secrets: minting and sealing them, turning one over to the next, opening them again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from reconciler.errors import StateUnreadable
from reconciler.model.hook import EventType
from reconciler.model.resource import PreviousSecret, Secret
from reconciler.model.spec import overlap_ms_of
from reconciler.store.seal import fingerprint

if TYPE_CHECKING:
    from reconciler.mint import Mint
    from reconciler.model.resource import Resource, Spec, State
    from reconciler.store.port import Commit
    from reconciler.store.seal import Keyring

__all__ = ["FIELD", "Sealer", "opened", "opened_previous", "require_same_keys"]

FIELD = "secret"
"""What a sealed secret is bound to besides lineage and hook id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealer:
    """What making a secret takes, for one lineage at one moment."""

    keyring: Keyring
    mint: Mint
    lineage: str
    salt: bytes
    now_ms: int

    def new(self, spec: Spec, hook_id: str, *, previous: PreviousSecret | None = None) -> Secret:
        """A fresh secret of the kind that the webhook's type takes."""
        is_trigger = spec["type"] == EventType.SYNC_TRIGGER
        plaintext = self.mint.trigger_secret() if is_trigger else self.mint.signing_secret()
        return Secret(
            fingerprint=fingerprint(plaintext, self.salt),
            sealed=self.keyring.seal(plaintext, lineage=self.lineage, hook_id=hook_id, field=FIELD),
            created_ms=self.now_ms,
            previous=previous,
        )

    def turned(self, secret: Secret, spec: Spec, hook_id: str) -> Secret:
        """The next secret. With an overlap the present one stays good that long; one before it is dropped."""
        overlap_ms = overlap_ms_of(spec)
        previous = None
        if overlap_ms > 0:
            previous = PreviousSecret(
                fingerprint=secret.fingerprint, sealed=secret.sealed, until_ms=self.now_ms + overlap_ms
            )
        return self.new(spec, hook_id, previous=previous)


def opened(resource: Resource, keyring: Keyring, lineage: str | None) -> str:
    """The generated secret of a webhook in the clear. StateUnreadable where it cannot be opened."""
    secret = resource.secret
    return _open(resource, None if secret is None else secret.sealed, keyring, lineage)


def opened_previous(resource: Resource, keyring: Keyring, lineage: str | None) -> str:
    """The secret that the last rotation replaced, in the clear."""
    assert resource.secret is not None
    assert resource.secret.previous is not None
    return _open(resource, resource.secret.previous.sealed, keyring, lineage)


def require_same_keys(state: State, change: Commit, keyring: Keyring) -> None:
    """Refuse to seal new secrets beside ones that stay and that these keys do not open: StateUnreadable.

    Somebody who applies with the wrong key would otherwise leave a store that no one key opens, and the daemon, whose
    key is the right one, could not take in that change or any later one. Turning every secret over under a new key,
    which is what is left to do once a key is lost, leaves none of the old ones and passes.
    """
    former = {each.id: each.secret for each in state.resources.values()}
    minted = [each for each in change.upserts if each.secret is not None and each.secret != former.get(each.id)]
    if not minted:
        return
    gone = set(change.deletes)
    after = {key: each for key, each in state.resources.items() if key not in gone}
    after |= {new: after.pop(old) for old, new in change.renames.items()} | {
        each.key: each for each in change.upserts
    }
    for each in after.values():
        if each.secret is not None and not _is_held(each.secret, keyring):
            opened(each, keyring, state.lineage)
    for each in minted:
        if each.secret is not None and each.secret.previous is not None:
            opened_previous(each, keyring, state.lineage)


def _is_held(secret: Secret, keyring: Keyring) -> bool:
    return secret.sealed is not None and keyring.holds(secret.sealed)


def _open(resource: Resource, sealed: bytes | None, keyring: Keyring, lineage: str | None) -> str:
    if sealed is None or resource.id is None or lineage is None:
        raise StateUnreadable(f"the state holds no sealed secret for {resource.key.address}")
    return keyring.open(sealed, lineage=lineage, hook_id=resource.id, field=FIELD)
