"""Secrets at rest: AES-256-GCM under a keyring, bound to the place they belong to.

A sealed secret is `version (1) ‖ key id (4) ‖ nonce (12) ‖ ciphertext and tag`. The associated data names lineage,
hook and field, so that a sealed value moved to another row, or to another store, does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from typing import TYPE_CHECKING

from reconciler.errors import StateUnreadable, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reconciler.mint import Mint

__all__ = ["Keyring", "fingerprint"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
_ID_BYTES = 4
_KEY_FILE_BYTES_MAX = 16_384
_VERSION = b"\x01"
_HEAD_BYTES = len(_VERSION) + _ID_BYTES + _NONCE_BYTES
_TAG_BYTES = 16


def fingerprint(secret: str, salt: bytes) -> str:
    """Eight hex digits that tell two secrets of one lineage apart and tell nothing else."""
    return hmac.new(salt, secret.encode(), hashlib.sha256).hexdigest()[:8]


class Keyring:
    """The keys in force: the first seals, all open. Never shows one.

    `made` is the key file that loading has just created, for the caller to tell of.
    """

    __slots__ = ("_keys", "_mint", "made")

    def __init__(self, keys: Sequence[bytes], *, mint: Mint, made: Path | None = None) -> None:
        if not keys or any(len(key) != _KEY_BYTES for key in keys):
            raise ValueError(f"a keyring needs at least one key of {_KEY_BYTES} bytes")
        self._keys = {_key_id(key): key for key in reversed(keys)}
        self._mint = mint
        self.made = made

    def __repr__(self) -> str:
        return f"Keyring({len(self._keys)} keys)"

    @classmethod
    def load(
        cls, *, environ_value: str | None, key_file: Path | None, beside: Path | None, create: bool, mint: Mint
    ) -> Keyring:
        """The keyring of RECONCILER_KEY, else of `key_file`, else of the default file `beside` the database.

        `beside` is that file (`connect.companions`), or the folder it is in. Only the default file is ever made,
        and only with `create`, which is for stores that hold no secret yet or whose keys are elsewhere: a new key
        opens nothing old. Raises StateUnreadable where there is no key, UsageError for one that cannot be used.
        """
        if environ_value is not None and environ_value.strip():
            return cls(_parse(environ_value, "RECONCILER_KEY"), mint=mint)
        if key_file is not None:
            keys = _read(key_file)
            if keys is None:
                raise UsageError(f"the key file {key_file} does not exist; make one with `openssl rand -base64 32`")
            return cls(keys, mint=mint)
        if beside is None:
            raise StateUnreadable("secrets need a key: set RECONCILER_KEY (make one with `openssl rand -base64 32`)")
        default = beside / "key" if beside.is_dir() else beside
        keys = _read(default)
        if keys is not None:
            return cls(keys, mint=mint)
        if not create:
            raise StateUnreadable(
                f"the key that opens this store's secrets is missing: put {default} back, or set RECONCILER_KEY"
            )
        made = _make(default, mint)
        keys = _read(default)
        assert keys is not None, "just written"
        return cls(keys, mint=mint, made=default if made else None)

    def holds(self, sealed: bytes) -> bool:
        """Whether the key that sealed this is among them. Cheap: nothing is opened."""
        return sealed[1 : 1 + _ID_BYTES] in self._keys

    def seal(self, plaintext: str, *, lineage: str, hook_id: str, field: str) -> bytes:
        """`plaintext` under the first key, openable only with the same lineage, hook and field."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - planning never needs it

        key_id = next(reversed(self._keys))
        nonce = self._mint.bytes(_NONCE_BYTES)
        bound = _associated(lineage, hook_id, field)
        return _VERSION + key_id + nonce + AESGCM(self._keys[key_id]).encrypt(nonce, plaintext.encode(), bound)

    def open(self, sealed: bytes, *, lineage: str, hook_id: str, field: str) -> str:
        """The secret that was sealed for this place; StateUnreadable under another key or from another place."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - planning never needs it
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        if len(sealed) < _HEAD_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise StateUnreadable(f"the secret of hook {hook_id} is damaged; restore the store from a backup")
        key = self._keys.get(sealed[1 : 1 + _ID_BYTES])
        if key is None:
            raise StateUnreadable(
                f"the secret of hook {hook_id} was sealed under a key that is not here; "
                "put the key file back, or add the old key to RECONCILER_KEY after a comma"
            )
        nonce, body = sealed[1 + _ID_BYTES : _HEAD_BYTES], sealed[_HEAD_BYTES:]
        try:
            return AESGCM(key).decrypt(nonce, body, _associated(lineage, hook_id, field)).decode()
        except InvalidTag:
            raise StateUnreadable(
                f"the secret of hook {hook_id} does not open: it was changed, or belongs to another hook or store"
            ) from None


def _associated(*parts: str) -> bytes:
    """The parts joined so that no two different lists give the same bytes."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)


def _key_id(key: bytes) -> bytes:
    return hmac.new(key, b"webhook-reconciler key id", hashlib.sha256).digest()[:_ID_BYTES]


def _parse(text: str, source: str) -> list[bytes]:
    """The keys in `text`, separated by commas or line breaks. No message ever repeats one."""
    keys = []
    for number, part in enumerate((part for part in text.replace("\n", ",").split(",") if part.strip()), start=1):
        try:
            key = base64.b64decode(part.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != _KEY_BYTES:
            raise UsageError(
                f"{source}: key {number} is not the base64 of {_KEY_BYTES} bytes; "
                "make one with `openssl rand -base64 32`"
            )
        keys.append(key)
    if not keys:
        raise UsageError(f"{source} holds no key; make one with `openssl rand -base64 32`")
    return keys


def _read(path: Path) -> list[bytes] | None:
    """The keys of a file, or None where there is no such file."""
    try:
        with path.open("rb") as file:
            text = file.read(_KEY_FILE_BYTES_MAX).decode("ascii")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not a key file: it holds more than base64") from None
    except OSError as error:
        raise StateUnreadable(f"cannot read the key file {path}: {error.strerror or error}") from error
    return _parse(text, str(path))


def _make(path: Path, mint: Mint) -> bool:
    """Write a new key, readable by its owner only; False if another process was first.

    The file appears whole or not at all: half a key under the final name could never be mended.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(mint.bytes(_KEY_BYTES)) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UsageError(f"cannot make the key file {path}: {error.strerror or error}; set RECONCILER_KEY") from error
    return True
