"""Requests as receivers get them: exact bodies, headers that prove them, and payloads that try to break them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from reconciler.delivery.prepare import USER_AGENT, prepare
from reconciler.errors import Unrenderable
from reconciler.model.hook import (
    BodyTemplate,
    CustomPayload,
    EventType,
    OutgoingHook,
    Retry,
    SigningSecrets,
)
from reconciler.model.template import Template

if TYPE_CHECKING:
    from reconciler.delivery.prepare import Prepared

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
ID = "d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f"
NOW_S = 1_800_000_000
CONVERSATION = {
    "id": "abc-123",
    "botId": "def-456",
    "botName": "My Bot",
    "channelType": "web",
    "initialMessage": "What are your opening times?",
    "createdAt": "2026-03-10T12:00:00.000Z",
}


def stored(**changes: Any) -> bytes:
    """A conversation's payload as the store keeps it."""
    payload = {
        "event": "conversation.started",
        "timestamp": "2026-03-10T12:00:00.000Z",
        "conversation": {**CONVERSATION, **changes},
    }
    return orjson.dumps(payload)


def hook(**changes: Any) -> OutgoingHook:
    """A hook with every default."""
    values: dict[str, Any] = {
        "id": "hook-1",
        "address": "bot/hook",
        "type": EventType.CONVERSATION_STARTED,
        "enabled": True,
        "bot": "bot",
        "data_source": None,
        "url": Template.parse("https://crm.example.com/hook"),
        "timeout_ms": 10_000,
        "retry": Retry(attempts=5, schedule_ms=(30_000,), jitter=0.1),
        "concurrency": 8,
        "secret_header": True,
        "standard_webhooks": True,
        "custom": None,
        "secrets": SigningSecrets(current=SECRET),
    }
    return OutgoingHook(**{**values, **changes})


def custom(
    *, method: Any = "POST", headers: dict[str, str] | None = None, body: str | None = None, content_type: str = ""
) -> CustomPayload:
    """A custom payload that is switched on."""
    return CustomPayload(
        method=method,
        headers=tuple((name, Template.parse(value)) for name, value in (headers or {}).items()),
        body=None
        if body is None
        else BodyTemplate(template=Template.parse(body), content_type=content_type or "application/json"),
    )


def made(of: OutgoingHook, payload: bytes | None = None, **changes: Any) -> Prepared:
    """What `prepare` makes of it now."""
    values: dict[str, Any] = {
        "payload": stored() if payload is None else payload,
        "event_type": "conversation.started",
        "delivery_id": ID,
        "now_ms": NOW_S * 1000,
        "wall_s": NOW_S,
    }
    return prepare(of, **{**values, **changes})


def verify_chatthing_signature(raw_body: bytes, header_value: str, secret: str) -> bool:
    """What a receiver of the reference does."""
    expected = "sha256=" + hmac.new(secret.encode("utf-8"), raw_body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, header_value or "")


def test_a_default_payload_goes_out_byte_for_byte() -> None:
    """Compact JSON with `deliveryId` second, a POST, and the documented headers, each once."""
    request = made(hook()).request
    assert request.method == "POST"
    assert request.url == "https://crm.example.com/hook"
    assert request.timeout_ms == 10_000
    assert request.body == (
        b'{"event":"conversation.started","deliveryId":"d3c5a9e8-1b2c-4f5a-9b8d-1a2b3c4d5e6f",'
        b'"timestamp":"2026-03-10T12:00:00.000Z","conversation":{"id":"abc-123","botId":"def-456",'
        b'"botName":"My Bot","channelType":"web","initialMessage":"What are your opening times?",'
        b'"createdAt":"2026-03-10T12:00:00.000Z"}}'
    )
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers.pop("X-ChatThing-Signature").startswith("sha256=")
    assert headers.pop("webhook-signature").startswith("v1,")
    assert headers == {
        "Content-Type": "application/json",
        "User-Agent": USER_AGENT,
        "Accept": "*/*",
        "X-Secret-Key": SECRET,
        "X-ChatThing-Delivery-Id": ID,
        "X-ChatThing-Event": "conversation.started",
        "webhook-id": ID,
        "webhook-timestamp": str(NOW_S),
    }


@pytest.mark.parametrize(
    "of",
    [
        hook(),
        hook(custom=custom(body='{"text": "{{conversation.initialMessage}}"}')),
        hook(custom=custom(body="", method="GET")),
        hook(custom=custom(body="plain {{conversation.botName}}", content_type="text/plain", method="DELETE")),
    ],
    ids=["default", "json", "empty", "text"],
)
def test_the_body_is_what_the_signatures_sign(of: OutgoingHook) -> None:
    """Both the reference's own function and the Standard Webhooks library verify the exact bytes."""
    payload = stored(botName='Zoë "🤖"\r\n{{x}}', initialMessage="\u2028 \\ </script>")
    request = made(of, payload).request
    headers = dict(request.headers)
    assert verify_chatthing_signature(request.body, headers["X-ChatThing-Signature"], SECRET)
    assert not verify_chatthing_signature(request.body + b" ", headers["X-ChatThing-Signature"], SECRET)
    verifier = Webhook(SECRET)
    signed = f"{ID}.{NOW_S}.".encode() + request.body
    expected = base64.b64encode(hmac.digest(verifier._whsecret, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_a_test_is_marked_and_nothing_else_is() -> None:
    """`X-ChatThing-Test` stands on tests only."""
    assert "X-ChatThing-Test" not in dict(made(hook()).request.headers)
    assert dict(made(hook(), test=True).request.headers)["X-ChatThing-Test"] == "true"


def test_headers_can_be_switched_off() -> None:
    """Without `secret_header` the secret does not travel; without `standard_webhooks` their three are left out."""
    names = {name for name, _ in made(hook(secret_header=False, standard_webhooks=False)).request.headers}
    assert names == {
        "Content-Type",
        "User-Agent",
        "Accept",
        "X-ChatThing-Signature",
        "X-ChatThing-Delivery-Id",
        "X-ChatThing-Event",
    }


def test_within_an_overlap_both_secrets_sign() -> None:
    """Single-valued headers keep the old secret; `webhook-signature` holds both, until the overlap ends."""
    old = "whsec_" + base64.b64encode(bytes(32)).decode()
    secrets = SigningSecrets(current=SECRET, previous=old, overlap_until_ms=NOW_S * 1000 + 1)
    within = dict(made(hook(secrets=secrets)).request.headers)
    after = dict(made(hook(secrets=secrets), now_ms=NOW_S * 1000 + 1).request.headers)
    assert (within["X-Secret-Key"], after["X-Secret-Key"]) == (old, SECRET)
    assert len(within["webhook-signature"].split(" ")) == 2
    assert after["webhook-signature"] == within["webhook-signature"].split(" ")[0]


def test_a_custom_payload_sets_what_it_names_and_keeps_the_rest() -> None:
    """Method, headers and body are each replaced or kept by themselves; a header replaces its default in any case."""
    of = hook(
        custom=custom(method="PUT", headers={"content-type": "text/plain", "X-Bot": "{{conversation.botName}}"})
    )
    request = made(of).request
    assert request.method == "PUT"
    assert request.body == made(hook()).request.body
    names = [name.lower() for name, _ in request.headers]
    assert names.count("content-type") == 1
    assert dict(request.headers)["content-type"] == "text/plain"
    assert dict(request.headers)["X-Bot"] == "My Bot"
    assert dict(request.headers)["User-Agent"] == USER_AGENT


def test_url_headers_and_body_are_filled_for_their_places() -> None:
    """The same value is percent-encoded in a URL, made one line in a header, escaped in JSON."""
    of = hook(
        url=Template.parse("https://crm.example.com/{{conversation.channelType}}/x?b={{ conversation.botName }}"),
        custom=custom(headers={"X-Bot": "bot {{conversation.botName}}"}, body='{"b": "{{conversation.botName}}"}'),
    )
    name = 'a/b?c "d"\r\nX-Evil: 1 {{conversation.id}} 🤖'
    prepared = made(of, stored(botName=name, channelType="we/b"))
    assert prepared.request.url == (
        "https://crm.example.com/we%2Fb/x?b=a%2Fb%3Fc%20%22d%22%0D%0AX-Evil%3A%201%20%7B%7Bconversation.id%7D%7D"
        "%20%F0%9F%A4%96"
    )
    assert dict(prepared.request.headers)["X-Bot"] == 'bot a/b?c "d" X-Evil: 1 {{conversation.id}} 🤖'
    assert json.loads(prepared.request.body) == {"b": name}
    assert prepared.unresolved == ()


def test_the_delivery_id_is_a_variable_like_any_other() -> None:
    """Templates can use `deliveryId`."""
    of = hook(url=Template.parse("https://crm.example.com/{{deliveryId}}"), custom=custom(body="[{{deliveryId}}]"))
    prepared = made(of)
    assert prepared.request.url.endswith(ID)
    assert json.loads(prepared.request.body) == [ID]


def test_tokens_that_do_not_resolve_are_sent_literally_and_listed_once() -> None:
    """A typo shows at the receiver and in the test's result, and an object in a header counts as one."""
    of = hook(
        url=Template.parse("https://crm.example.com/?e={{conversation.emial}}"),
        custom=custom(
            headers={"X-All": "{{conversation}}"}, body='{"a": "{{conversation.emial}}", "b": {{conversation.nope}}}'
        ),
    )
    prepared = made(of)
    assert prepared.unresolved == ("{{conversation.emial}}", "{{conversation}}", "{{conversation.nope}}")
    assert json.loads(prepared.request.body) == {"a": "{{conversation.emial}}", "b": "{{conversation.nope}}"}
    assert dict(prepared.request.headers)["X-All"] == "{{conversation}}"


@pytest.mark.parametrize("value", [".", ".."])
def test_a_value_that_would_climb_the_path_is_not_sent(value: str) -> None:
    """A dot segment made by a value refuses the delivery."""
    with pytest.raises(Unrenderable):
        made(hook(url=Template.parse("https://crm.example.com/a/{{conversation.id}}/b")), stored(id=value))


def test_a_sync_event_goes_out_in_its_own_order() -> None:
    """`deliveryId` stands second there, too, and nothing of the event's own naming goes out."""
    payload = b'{"success":false,"reason":"no","bot":"My Bot","dataSource":"Docs"}'
    request = made(hook(type=EventType.SYNC_FAILURE), payload, event_type="sync.failure").request
    assert request.body == b'{"success":false,"deliveryId":"%b","reason":"no","bot":"My Bot","dataSource":"Docs"}' % (
        ID.encode()
    )
    assert dict(request.headers)["X-ChatThing-Event"] == "sync.failure"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
TEMPLATED = hook(
    url=Template.parse("https://crm.example.com/p/x{{conversation.botName}}/q?m={{conversation.initialMessage}}"),
    custom=custom(
        headers={"X-Bot": "{{conversation.botName}}", "X-Text": "a {{conversation.initialMessage}} b"},
        body='{"bot":"{{conversation.botName}}","all":{{conversation}},"text":"<{{conversation.initialMessage}}>"}',
    ),
)


@given(name=TEXTS, message=TEXTS)
def test_no_text_breaks_a_request(name: str, message: str) -> None:
    """Whatever a customer types: the JSON parses to the exact text, headers stay one line, the URL keeps its form."""
    request = made(TEMPLATED, stored(botName=name, initialMessage=message)).request
    body = json.loads(request.body)
    assert body["bot"] == name
    assert body["all"]["initialMessage"] == message
    assert body["text"] == f"<{message}>"
    assert all(character not in value for _, value in request.headers for character in "\r\n\0")
    assert request.url.isascii()
    path, _, query = request.url.removeprefix("https://crm.example.com/").partition("?")
    assert path.count("/") == 2
    assert query.count("=") == 1
    assert not set(request.url) & set(' #\\"<>\r\n')
    verified = dict(request.headers)["X-ChatThing-Signature"]
    assert verify_chatthing_signature(request.body, verified, SECRET)
