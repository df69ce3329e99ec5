"""Signatures hold for exactly what was signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from reconciler.model.signature import legacy_signature, standard_signature, verify_legacy, verify_standard

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1)
STANDARD = st.binary(min_size=24, max_size=64).map(lambda key: "whsec_" + base64.b64encode(key).decode())


@given(st.binary(), PRINTABLE, st.binary())
def test_a_legacy_signature_is_the_documented_hmac(body: bytes, secret: str, other: bytes) -> None:
    """Over the exact bytes, keyed by the secret's own."""
    signature = legacy_signature(body, secret)
    assert signature == "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    assert verify_legacy(body, signature, secret)
    assert verify_legacy(other, signature, secret) is (other == body)


@given(st.text(), st.lists(STANDARD, min_size=1, max_size=3), st.uuids().map(str))
def test_each_standard_signature_verifies_with_the_independent_library(
    text: str, secrets: list[str], delivery_id: str
) -> None:
    """Every secret of the list, over any JSON body."""
    body = b'{"text":"%b"}' % text.encode().hex().encode()
    now_s = int(datetime.now(UTC).timestamp())  # noqa: TID251 - the library compares with the machine's clock
    signature = standard_signature(delivery_id, now_s, body, secrets)
    assert signature is not None
    headers = {"webhook-id": delivery_id, "webhook-timestamp": str(now_s), "webhook-signature": signature}
    for secret in secrets:
        Webhook(secret).verify(body, headers)
        assert verify_standard(
            delivery_id=delivery_id,
            timestamp=str(now_s),
            signature=signature,
            body=body,
            secret=secret,
            now_s=now_s,
        )


@given(st.binary(), *[st.none() | st.text()] * 3, PRINTABLE | STANDARD)
def test_nothing_made_up_verifies_or_raises(
    body: bytes, delivery_id: str | None, timestamp: str | None, signature: str | None, secret: str
) -> None:
    """A receiver that is fed garbage says no."""
    assert not verify_legacy(body, signature, secret)
    assert not verify_standard(
        delivery_id=delivery_id, timestamp=timestamp, signature=signature, body=body, secret=secret, now_s=0
    )
