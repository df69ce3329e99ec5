"""`control.rotate` and `control.reveal`."""

from __future__ import annotations

from typing import Any

import pytest

from reconciler.control.reveal import secret_of, trigger_url
from reconciler.control.rotate import rotate
from reconciler.errors import PlanStale, StateUnreadable, UnknownAddress, UsageError
from reconciler.store.memory import MemoryStore
from reconciler.store.seal import Keyring

BOTS: dict[str, Any] = {
    "b": {
        "data_sources": {"docs": {"sync": {"command": ["x"]}}},
        "webhooks": {
            "published": {"type": "sync.trigger", "data_source": "docs"},
            "crm": {"type": "conversation.started", "url": "https://x.example.com"},
            "ops": {"type": "conversation.claimed", "url": "https://x.example.com", "secret": {"env": "OPS"}},
        },
    }
}


def turn(bench: Any, address: str) -> Any:
    """Rotate one secret now."""
    return bench.run(rotate(bench.store, address, keyring=bench.keyring, mint=bench.mint, now_ms=bench.now_ms))


def test_a_rotation_changes_the_secret_and_nothing_else(bench: Any) -> None:
    """Id and spec stay, the serial grows by one, and the next plan is still empty."""
    bench.apply(BOTS)
    before = bench.hook("b/crm")
    rotated = turn(bench, "b/crm")
    after = bench.hook("b/crm")
    assert (after.id, after.spec) == (before.id, before.spec)
    assert after.secret.fingerprint == rotated.fingerprint != before.secret.fingerprint
    assert (rotated.serial, rotated.previous_until_ms) == (2, None)
    assert bench.plan(BOTS).is_empty


def test_a_trigger_url_changes_with_its_secret(bench: Any) -> None:
    """Same id, another secret; the base may end in a slash."""
    bench.apply(BOTS)
    url = trigger_url(bench.state, "b/published", keyring=bench.keyring, public_url="https://x.example.com/")
    secret = secret_of(bench.state, "b/published", keyring=bench.keyring)
    assert url == f"https://x.example.com/api/public/hooks/{bench.hook('b/published').id}/{secret}"
    turn(bench, "b/published")
    assert url != trigger_url(bench.state, "b/published", keyring=bench.keyring, public_url="https://x.example.com/")


def test_a_referenced_secret_is_neither_rotated_nor_revealed(bench: Any) -> None:
    """It is changed and read at its source."""
    bench.apply(BOTS)
    with pytest.raises(UsageError, match="at its source"):
        turn(bench, "b/ops")
    with pytest.raises(UsageError, match="env OPS"):
        secret_of(bench.state, "b/ops", keyring=bench.keyring)


def test_a_rotation_under_a_wrong_key_is_refused(bench: Any) -> None:
    """The daemon, which has the right one, could not open what it made."""
    bench.apply(BOTS)
    before = bench.state
    bench.keyring = Keyring([b"w" * 32], mint=bench.mint)
    with pytest.raises(StateUnreadable, match="a key that is not here"):
        turn(bench, "b/crm")
    assert bench.state == before
    bench.keyring = Keyring([b"w" * 32, b"k" * 32], mint=bench.mint)
    assert turn(bench, "b/crm").serial == before.serial + 1


def test_only_a_trigger_has_a_url(bench: Any) -> None:
    """An outgoing webhook is told apart from an unknown one, and a near miss is named."""
    with pytest.raises(UnknownAddress, match="nothing has been applied"):
        trigger_url(bench.state, "b/crm", keyring=bench.keyring, public_url="https://x")
    bench.apply(BOTS)
    with pytest.raises(UsageError, match="outgoing"):
        trigger_url(bench.state, "b/crm", keyring=bench.keyring, public_url="https://x")
    with pytest.raises(UnknownAddress, match="did you mean b/published"):
        trigger_url(bench.state, "b/publishd", keyring=bench.keyring, public_url="https://x")


def test_a_rotation_that_is_overtaken_starts_again(bench: Any) -> None:
    """It is decided on one hook alone, so a change elsewhere is no reason to give up; but not for ever."""

    class Busy(MemoryStore):
        stale = 0

        async def commit(self, *args: Any, **more: Any) -> int:
            if self.stale:
                self.stale -= 1
                raise PlanStale("overtaken")
            return await super().commit(*args, **more)

    bench.store = Busy()
    bench.apply(BOTS)
    bench.store.stale = 3
    assert turn(bench, "b/crm").serial == 2
    bench.store.stale = 100
    with pytest.raises(PlanStale):
        turn(bench, "b/crm")
