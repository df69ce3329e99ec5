"""Signing deliveries, and verifying them: the platform's own header and the three of Standard Webhooks."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.hook import SigningSecrets

__all__ = [
    "TOLERANCE_S",
    "delivery_headers",
    "is_reserved_header",
    "is_standard_secret",
    "legacy_signature",
    "standard_signature",
    "verify_legacy",
    "verify_standard",
]

TOLERANCE_S = 300
"""How far a signed timestamp may lie from now, either way (Standard Webhooks' own figure)."""

KEYS_KEPT = 16_384
"""For as many secrets as are likely to be busy at a time: half of what it costs to sign a short body is the key."""

_TIMESTAMP = re.compile(r"[0-9]{1,12}")
_STANDARD_PREFIX = "whsec_"
_STANDARD_KEY_BYTES = range(24, 65)

_RESERVED = frozenset({
    "x-secret-key",
    "host",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "trailer",
    "te",
    "upgrade",
    "expect",
})  # fmt: skip
_RESERVED_PREFIXES = ("x-chatthing-", "webhook-", "proxy-")


def is_reserved_header(name: str) -> bool:
    """Whether a custom payload must not set this header, in any case and with `_` for `-` (CGI reads them alike)."""
    folded = name.strip().lower().replace("_", "-")
    return folded in _RESERVED or folded.startswith(_RESERVED_PREFIXES)


def is_standard_secret(secret: str) -> bool:
    """Whether Standard Webhooks can sign with it: `whsec_` and the base64 of 24 to 64 bytes."""
    return _standard_key(secret) is not None


def legacy_signature(body: bytes, secret: str) -> str:
    """`sha256=` and the hexadecimal HMAC-SHA256 of the exact body, keyed by the whole secret's UTF-8 bytes."""
    signing = _legacy_hmac(secret).copy()
    signing.update(body)
    return "sha256=" + signing.hexdigest()


def standard_signature(delivery_id: str, timestamp_s: int, body: bytes, secrets: Sequence[str]) -> str | None:
    """The `webhook-signature` header: one `v1,<base64>` for each secret that fits, in order; None if none does."""
    signed = b"%b.%d.%b" % (delivery_id.encode(), timestamp_s, body)
    keyed = [_standard_hmac(secret) for secret in secrets]
    return " ".join([_standard_signature(key, signed) for key in keyed if key is not None]) or None


def delivery_headers(
    *,
    event_type: str,
    delivery_id: str,
    body: bytes,
    secrets: SigningSecrets,
    now_ms: int,
    timestamp_s: int,
    secret_header: bool = True,
    standard_webhooks: bool = True,
    test: bool = False,
) -> list[tuple[str, str]]:
    """The headers that tell what a delivery is and prove where it comes from.

    Until the overlap of a rotation ends, headers that hold one value keep the previous secret, so that receivers
    have that long to fetch the new one; `webhook-signature` holds both, the current first. `now_ms` decides about
    the overlap, `timestamp_s` is what gets signed.
    """
    in_force = secrets.current
    standard: tuple[str, ...] = (secrets.current,)
    if secrets.previous is not None and now_ms < secrets.overlap_until_ms:
        in_force = secrets.previous
        standard = (secrets.current, secrets.previous)
    headers = [("X-Secret-Key", in_force)] if secret_header else []
    headers += [
        ("X-ChatThing-Signature", legacy_signature(body, in_force)),
        ("X-ChatThing-Delivery-Id", delivery_id),
        ("X-ChatThing-Event", event_type),
    ]
    if test:
        headers.append(("X-ChatThing-Test", "true"))
    signature = standard_signature(delivery_id, timestamp_s, body, standard) if standard_webhooks else None
    if signature is not None:
        headers += [
            ("webhook-id", delivery_id),
            ("webhook-timestamp", str(timestamp_s)),
            ("webhook-signature", signature),
        ]
    return headers


def verify_legacy(body: bytes, signature: str | None, secret: str) -> bool:
    """Whether an `X-ChatThing-Signature` header signs this body; constant time, never true for an empty secret."""
    return bool(secret) and _same(legacy_signature(body, secret), signature or "")


def verify_standard(
    *,
    delivery_id: str | None,
    timestamp: str | None,
    signature: str | None,
    body: bytes,
    secret: str,
    now_s: int,
    tolerance_s: int = TOLERANCE_S,
) -> bool:
    """Whether the three Standard Webhooks headers sign this body and are fresh.

    Any one `v1` signature of the list may match. False when a header is missing or the secret does not fit.
    """
    if not delivery_id or not signature or not _is_fresh(timestamp, now_s, tolerance_s):
        return False
    key = _standard_hmac(secret)
    if key is None:
        return False
    # Over the header as it came: what was signed is its text, not the number in it.
    expected = _standard_signature(key, f"{delivery_id}.{timestamp}.".encode("utf-8", "surrogatepass") + body)
    return any(_same(expected, candidate) for candidate in signature.split(" "))


def _is_fresh(timestamp: str | None, now_s: int, tolerance_s: int) -> bool:
    if timestamp is None or _TIMESTAMP.fullmatch(timestamp) is None:
        return False
    return abs(int(timestamp) - now_s) <= tolerance_s


def _same(expected: str, given: str) -> bool:
    """Equality in constant time; bytes, because `compare_digest` raises on text that is not ASCII."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "surrogatepass"))


def _standard_signature(key: hmac.HMAC, signed: bytes) -> str:
    signing = key.copy()
    signing.update(signed)
    return "v1," + base64.b64encode(signing.digest()).decode("ascii")


@lru_cache(KEYS_KEPT)
def _legacy_hmac(secret: str) -> hmac.HMAC:
    """To be copied for each body."""
    return hmac.new(secret.encode(), digestmod="sha256")


@lru_cache(KEYS_KEPT)
def _standard_hmac(secret: str) -> hmac.HMAC | None:
    """To be copied for each body; None where the secret does not fit."""
    key = _standard_key(secret)
    return None if key is None else hmac.new(key, digestmod="sha256")


def _standard_key(secret: str) -> bytes | None:
    if not secret.startswith(_STANDARD_PREFIX):
        return None
    try:
        key = base64.b64decode(secret[len(_STANDARD_PREFIX) :].encode(), validate=True)
    except binascii.Error:
        return None
    return key if len(key) in _STANDARD_KEY_BYTES else None
