"""Secrets at rest, and the keys they are sealed under."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import StateUnreadable, UsageError
from reconciler.mint import SystemMint
from reconciler.store.seal import Keyring, fingerprint

if TYPE_CHECKING:
    from pathlib import Path

PLACE = {"lineage": "l", "hook_id": "h", "field": "secret"}


def key(number: int) -> bytes:
    """A key that is no secret."""
    return bytes([number]) * 32


def text(*numbers: int) -> str:
    """Keys as RECONCILER_KEY holds them."""
    return ",".join(base64.b64encode(key(number)).decode() for number in numbers)


def load(**given: Any) -> Keyring:
    """A keyring from what is given, nothing else."""
    given = {"environ_value": None, "key_file": None, "beside": None, "create": False} | given
    return Keyring.load(mint=SystemMint(), **given)


def test_a_sealed_secret_opens_in_its_place_only() -> None:
    """Moved to another store, hook or field it does not open, and the error does not show it."""
    ring = load(environ_value=text(1))
    sealed = ring.seal("whsec_geheim", **PLACE)
    assert ring.open(sealed, **PLACE) == "whsec_geheim"
    assert b"geheim" not in sealed
    for change in ({"lineage": "L"}, {"hook_id": "x"}, {"field": "previous"}, {"lineage": "lh", "hook_id": ""}):
        with pytest.raises(StateUnreadable) as caught:
            ring.open(sealed, **(PLACE | change))
        assert "geheim" not in caught.value.message


def test_the_same_secret_is_never_sealed_alike() -> None:
    """Equal secrets cannot be told from the store's bytes."""
    ring = load(environ_value=text(1))
    assert ring.seal("s", **PLACE) != ring.seal("s", **PLACE)


def test_the_first_key_seals_and_all_open() -> None:
    """A new key is put in front and the old one kept after a comma until everything was sealed anew."""
    old = load(environ_value=text(1)).seal("s", **PLACE)
    both = load(environ_value=f" {text(2)} , {text(1)} ")
    assert both.open(old, **PLACE) == "s"
    assert load(environ_value=text(2)).open(both.seal("s", **PLACE), **PLACE) == "s"
    with pytest.raises(StateUnreadable, match="sealed under a key that is not here"):
        load(environ_value=text(2)).open(old, **PLACE)


@pytest.mark.parametrize("at", [0, 1, 8, 20, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    """Version, key id, nonce, text and tag are all checked."""
    ring = load(environ_value=text(1))
    sealed = bytearray(ring.seal("secret", **PLACE))
    sealed[at] ^= 1
    for damaged in (bytes(sealed), bytes(sealed[:10]), b""):
        with pytest.raises(StateUnreadable):
            ring.open(damaged, **PLACE)


@pytest.mark.parametrize(
    "bad", ["short", base64.b64encode(b"x" * 31).decode(), "\u00e9" * 44, f"{text(1)},oops", ","]
)
def test_an_unusable_key_is_refused_without_repeating_it(bad: str, tmp_path: Path) -> None:
    """Neither from the environment nor from a file does a message show key material."""
    file = tmp_path / "key"
    file.write_text(bad, encoding="utf-8")
    for given in ({"environ_value": bad}, {"key_file": file}):
        with pytest.raises(UsageError) as caught:
            load(**given)
        assert bad not in caught.value.message or bad == ","


def test_environment_goes_before_file_and_file_before_default(tmp_path: Path) -> None:
    """The nearest to the person who starts it counts."""
    file, beside = tmp_path / "file", tmp_path / "key"
    file.write_text(text(2) + "\n", encoding="ascii")
    beside.write_text(text(3), encoding="ascii")

    def opens(ring: Keyring) -> list[int]:
        sealed = {number: load(environ_value=text(number)).seal("s", **PLACE) for number in (1, 2, 3)}
        found = []
        for number, one in sealed.items():
            try:
                ring.open(one, **PLACE)
            except StateUnreadable:
                continue
            found.append(number)
        return found

    assert opens(load(environ_value=text(1), key_file=file, beside=beside)) == [1]
    assert opens(load(environ_value=" ", key_file=file, beside=beside)) == [2]
    assert opens(load(beside=beside)) == [3]
    assert opens(load(beside=tmp_path)) == [3]


def test_the_default_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    """The first loading makes it and says so; later ones find it."""
    beside = tmp_path / "state" / "key"
    first = load(beside=beside, create=True)
    assert first.made == beside
    assert beside.stat().st_mode & 0o777 == 0o600
    second = load(beside=beside, create=True)
    assert second.made is None
    assert second.open(first.seal("s", **PLACE), **PLACE) == "s"
    assert [path.name for path in beside.parent.iterdir()] == ["key"]


def test_a_missing_key_is_not_made_unasked(tmp_path: Path) -> None:
    """A new key would open nothing old, so only whoever knows that there is nothing old may ask for one."""
    with pytest.raises(StateUnreadable, match="missing"):
        load(beside=tmp_path / "key")
    with pytest.raises(UsageError, match="does not exist"):
        load(key_file=tmp_path / "nothing", beside=tmp_path / "key", create=True)
    with pytest.raises(StateUnreadable, match="RECONCILER_KEY"):
        load()
    assert list(tmp_path.iterdir()) == []


def test_a_keyring_shows_no_key() -> None:
    """Neither `repr` nor `str` holds key material."""
    ring = load(environ_value=text(1))
    for shown in (repr(ring), str(ring)):
        assert text(1) not in shown
        assert repr(key(1)) not in shown


def test_a_fingerprint_tells_secrets_apart_and_lineages_too() -> None:
    """Eight hex digits, the same for the same secret and salt only."""
    one = fingerprint("secret", b"salt")
    assert len(one) == 8
    assert int(one, 16) >= 0
    assert one == fingerprint("secret", b"salt")
    assert one not in (fingerprint("secret", b"other"), fingerprint("secreT", b"salt"))


def test_planning_imports_no_cryptography() -> None:
    """Loading the module, a keyring and a fingerprint costs no import of `cryptography`."""
    code = (
        "import sys; from reconciler.store.seal import Keyring, fingerprint; from reconciler.mint import SystemMint;"
        f"Keyring.load(environ_value={text(1)!r}, key_file=None, beside=None, create=False, mint=SystemMint());"
        "fingerprint('s', b's'); sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
