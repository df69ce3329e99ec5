"""Deliveries are signed so that anybody's verifier accepts them, and nobody's forgery."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from reconciler.model.hook import SigningSecrets
from reconciler.model.signature import (
    delivery_headers,
    is_reserved_header,
    is_standard_secret,
    legacy_signature,
    standard_signature,
    verify_legacy,
    verify_standard,
)

NEW = "whsec_" + base64.b64encode(b"n" * 32).decode()
OLD = "whsec_" + base64.b64encode(b"o" * 32).decode()
BODY = '{"deliveryId":"d-1","text":"é😀"}'.encode()


def headers_of(secrets: SigningSecrets, *, now_ms: int = 0, timestamp_s: int = 1_700_000_000) -> dict[str, str]:
    """The headers of a delivery of BODY."""
    made = delivery_headers(
        event_type="sync.success",
        delivery_id="d-1",
        body=BODY,
        secrets=secrets,
        now_ms=now_ms,
        timestamp_s=timestamp_s,
    )
    assert len(dict(made)) == len(made)
    return dict(made)


def documented_verifier(raw_body: bytes, header_value: str, secret: str) -> bool:
    """What receivers are told to do."""
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), raw_body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, header_value or "")


@pytest.mark.parametrize("secret", [NEW, "plain", "a secret with blanks", "14e6c7131ce0465cb46ec109e7de0719"])
def test_the_signature_header_verifies_as_receivers_are_told_to(secret: str) -> None:
    """The key is the whole secret string, whatever it looks like."""
    signature = headers_of(SigningSecrets(current=secret))["X-ChatThing-Signature"]
    assert documented_verifier(BODY, signature, secret)
    assert not documented_verifier(BODY + b" ", signature, secret)


def test_the_standard_headers_verify_with_the_independent_library() -> None:
    """Any Standard Webhooks receiver can check a delivery."""
    now_s = int(datetime.now(UTC).timestamp())  # noqa: TID251 - the library compares with the machine's clock
    headers = headers_of(SigningSecrets(current=NEW), timestamp_s=now_s)
    assert Webhook(NEW).verify(BODY, headers) == {"deliveryId": "d-1", "text": "é😀"}
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(BODY, headers)


def test_every_delivery_says_what_it_is() -> None:
    """Id, event and secret go out under the documented names, the test mark only on tests."""
    headers = headers_of(SigningSecrets(current=NEW))
    assert list(headers) == [
        "X-Secret-Key",
        "X-ChatThing-Signature",
        "X-ChatThing-Delivery-Id",
        "X-ChatThing-Event",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
    ]
    assert headers["X-Secret-Key"] == NEW
    assert headers["X-ChatThing-Delivery-Id"] == headers["webhook-id"] == "d-1"
    assert headers["X-ChatThing-Event"] == "sync.success"
    assert headers["webhook-timestamp"] == "1700000000"


def test_headers_that_are_switched_off_stay_away() -> None:
    """`secret_header: false` and `standard_webhooks: false` leave the legacy signature alone."""
    made = delivery_headers(
        event_type="sync.success",
        delivery_id="d-1",
        body=BODY,
        secrets=SigningSecrets(current=NEW),
        now_ms=0,
        timestamp_s=0,
        secret_header=False,
        standard_webhooks=False,
        test=True,
    )
    assert [name for name, _ in made] == [
        "X-ChatThing-Signature",
        "X-ChatThing-Delivery-Id",
        "X-ChatThing-Event",
        "X-ChatThing-Test",
    ]
    assert dict(made)["X-ChatThing-Test"] == "true"


def test_both_secrets_sign_until_the_overlap_of_a_rotation_ends() -> None:
    """Single-valued headers keep the old secret, the list holds both, the current first; then the new is alone."""
    secrets = SigningSecrets(current=NEW, previous=OLD, overlap_until_ms=1_000)
    within = headers_of(secrets, now_ms=999)
    assert within["X-Secret-Key"] == OLD
    assert documented_verifier(BODY, within["X-ChatThing-Signature"], OLD)
    both = [standard_signature("d-1", 1_700_000_000, BODY, [secret]) for secret in (NEW, OLD)]
    assert within["webhook-signature"].split(" ") == both
    after = headers_of(secrets, now_ms=1_000)
    assert after["X-Secret-Key"] == NEW
    assert documented_verifier(BODY, after["X-ChatThing-Signature"], NEW)
    assert after["webhook-signature"] == both[0]


def test_a_secret_that_is_no_standard_one_brings_no_standard_headers() -> None:
    """In an overlap, too, only those sign that can."""
    assert "webhook-signature" not in headers_of(SigningSecrets(current="plain"))
    mixed = headers_of(SigningSecrets(current=NEW, previous="plain", overlap_until_ms=9))
    assert mixed["webhook-signature"] == standard_signature("d-1", 1_700_000_000, BODY, [NEW])


@pytest.mark.parametrize(
    ("secret", "good"),
    [
        ("whsec_" + base64.b64encode(b"k" * 24).decode(), True),
        ("whsec_" + base64.b64encode(b"k" * 64).decode(), True),
        ("whsec_" + base64.b64encode(b"k" * 23).decode(), False),
        ("whsec_" + base64.b64encode(b"k" * 65).decode(), False),
        ("whsec_", False),
        ("whsec_" + "é" * 40, False),
        ("whsec_" + "!" * 40, False),
        (base64.b64encode(b"k" * 32).decode(), False),
        ("whsec_" + base64.b64encode(b"k" * 32).decode().rstrip("="), False),
    ],
)
def test_a_standard_secret_is_the_prefix_and_the_base64_of_24_to_64_bytes(secret: str, *, good: bool) -> None:
    """Everything else signs with the legacy header only."""
    assert is_standard_secret(secret) is good


@pytest.mark.parametrize(
    "name",
    [
        "X-Secret-Key",
        "x_secret_key",
        "X-CHATTHING-ANYTHING",
        "x_chatthing_test",
        "Webhook-Id",
        "webhook_signature",
        "HOST",
        "Content-Length",
        "content_encoding",
        "Transfer-Encoding",
        "Connection",
        "Trailer",
        "TE",
        "Upgrade",
        "Expect",
        "Proxy-Authorization",
        "proxy_connection",
    ],
)
def test_reserved_headers_are_known_in_any_spelling(name: str) -> None:
    """Case does not matter, and CGI makes `_` of `-`."""
    assert is_reserved_header(name)


@pytest.mark.parametrize("name", ["X-Bot", "Content-Type", "User-Agent", "Authorization", "X-Webhook", "Hosting"])
def test_other_headers_are_free(name: str) -> None:
    """A custom payload may set what does not carry the delivery itself."""
    assert not is_reserved_header(name)


def test_a_legacy_signature_verifies_only_for_its_body_and_secret() -> None:
    """Nothing else is accepted, and nothing raises."""
    good = legacy_signature(BODY, "s")
    assert verify_legacy(BODY, good, "s")
    for body, signature, secret in [
        (BODY + b" ", good, "s"),
        (BODY, good, "t"),
        (BODY, good.upper(), "s"),
        (BODY, "sha256=", "s"),
        (BODY, "é\ud800", "s"),
        (BODY, None, "s"),
        (BODY, legacy_signature(BODY, ""), ""),
    ]:
        assert not verify_legacy(body, signature, secret)


def verify(**changes: object) -> bool:
    """Whether a good request with these changes verifies."""
    good: dict[str, object] = {
        "delivery_id": "d-1",
        "timestamp": "1000",
        "signature": standard_signature("d-1", 1_000, BODY, [NEW]),
        "body": BODY,
        "secret": NEW,
        "now_s": 1_000,
    }
    return verify_standard(**(good | changes))  # type: ignore[arg-type]


def test_a_standard_signature_verifies_while_it_is_fresh() -> None:
    """Five minutes either way, no more."""
    assert verify()
    assert verify(now_s=1_300)
    assert verify(now_s=700)
    assert not verify(now_s=1_301)
    assert not verify(now_s=699)


def test_one_good_signature_of_a_list_is_enough() -> None:
    """A receiver that knows either secret accepts; unknown versions are passed over."""
    both = standard_signature("d-1", 1_000, BODY, [OLD, NEW])
    assert verify(signature=f"v1a,AAAA garbage {both}")


@pytest.mark.parametrize(
    "changes",
    [
        {"delivery_id": "d-2"},
        {"delivery_id": None},
        {"delivery_id": "\ud800"},
        {"timestamp": "1001"},
        {"timestamp": "01000"},
        {"timestamp": "1e3"},
        {"timestamp": "9" * 5_000},
        {"timestamp": None},
        {"signature": None},
        {"signature": ""},
        {"signature": "v1,"},
        {"signature": "v1,é\udfff"},
        {"body": b""},
        {"secret": OLD},
        {"secret": "plain"},
        {"secret": ""},
    ],
)
def test_a_standard_signature_is_refused_when_anything_differs(changes: dict[str, object]) -> None:
    """What was signed is the headers' own text; hostile values are a plain no."""
    assert verify(**changes) is False
