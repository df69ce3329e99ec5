"""Hooks, deliveries, plans and the rest of the API: shapes, scopes and refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import jsonschema
import pytest

from reconciler.errors import GuardRefused, PlanStale, StateUnreadable, StoreLocked, StoreUnavailable
from reconciler.model.breaker import BreakerState, Tripped
from reconciler.model.delivery import Attempt, AttemptError, DeliveryStatus, Settlement
from reconciler.model.exchange import Reply
from reconciler.model.resource import Key, Kind
from reconciler.problem import Place, Problem
from reconciler.store.port import Demand
from reconciler.web import deliveries as web_deliveries
from reconciler.web.access import Access
from reconciler.web.app import routes
from reconciler.web.endpoint import Endpoint
from reconciler.web.openapi import build_document
from reconciler.web.services import Reloaded
from reconciler.web.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable

EVENT = {
    "event": "conversation.started",
    "conversation": {
        "id": "abc-123",
        "botId": "def-456",
        "channelType": "web",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}
TOKENS = {"admin": "admin-token-1", "ingest": "ingest-token-2", "read": "read-token-3"}


def is_described(name: str, value: Any) -> bool:
    """Whether the value is what the description says of this component, and has no property that it does not name."""
    reference = {"$ref": f"#/components/schemas/{name}", "unevaluatedProperties": False}
    validator = jsonschema.Draft202012Validator({"components": build_document()["components"], **reference})
    return validator.is_valid(value)


async def deliver(web: Any, status: DeliveryStatus, count: int = 1) -> list[str]:
    """Post `count` events and end their deliveries with this status; the ids, oldest first."""
    services = web.services
    for _ in range(count):
        services.clock.ms += 1000
        assert (await web.post("/api/v1/events", EVENT)).status == 202
    hook_ids = [await services.hook_id(f"support/{name}") for name in ("new-chat", "new-chat-too")]
    claims = await services.store.claim(
        [Demand(hook_id, 1000, 1000) for hook_id in hook_ids],
        limit=10_000,
        owner="w",
        now_ms=services.clock.ms,
        lease_ms=60_000,
    )
    attempt = Attempt(
        number=1,
        round=1,
        started_ms=services.clock.ms,
        duration_ms=12,
        status=None,
        error=AttemptError.CONNECT,
        message="refused",
        headers='[["X-A","b"]]',
        body=b"\xff\x00",
    )
    await services.store.settle(
        [
            Settlement(
                delivery_id=claim.delivery_id, fence=claim.fence, status=status, attempt=attempt, error="connect"
            )
            for claim in claims
        ],
        now_ms=services.clock.ms,
    )
    return sorted(claim.delivery_id for claim in claims)


# -- access --------------------------------------------------------------------------------------------------


def test_each_path_asks_for_its_scope(web: Callable[..., None]) -> None:
    """401 without a good token, 403 below the scope, for every route that has one, before body and method."""

    async def body(web: Any) -> None:
        for route in routes(web.services, Access(TOKENS)):
            endpoint = route.endpoint
            assert isinstance(endpoint, Endpoint)
            path = route.path.format(bot="support", hook="new-chat", id="x")
            if endpoint.scope is None:
                assert (await web.call(endpoint.method, path)).status in (200, 503)
                continue
            for method in ("GET", "POST", "PURGE"):
                assert (await web.call(method, path, [b"x"] * 3)).status == 401
                assert web.call.chunks_read == 0
            too_little = {"admin": ["ingest", "read"], "read": ["ingest"]}[endpoint.scope.value]
            for scope in too_little:
                assert (await web.call(endpoint.method, path, [b"x"] * 3, token=TOKENS[scope])).status == 403
                assert web.call.chunks_read == 0
            other = "GET" if endpoint.method == "POST" else "POST"
            refused = await web.call(other, path, token=TOKENS["admin"])
            assert refused.status == 405
            assert endpoint.method in (refused.header("allow") or "")

    web(body)


def test_the_description_matches_the_routes(web: Callable[..., None]) -> None:
    """OpenAPI names every route with its method and scope, and nothing that is not there."""

    async def body(web: Any) -> None:
        answer = await web.get("/api/v1/openapi.json")
        document = answer.json
        assert document == build_document()
        described = {
            (path, method.upper()): operation.get("x-scope")
            for path, item in document["paths"].items()
            for method, operation in item.items()
            if method != "parameters" and not path.startswith("/api/public/")
        }
        real: dict[tuple[str, str], str | None] = {("/api/v1/events", "POST"): "ingest"}
        for route in routes(web.services, Access(TOKENS)):
            endpoint = route.endpoint
            assert isinstance(endpoint, Endpoint)
            real[route.path, endpoint.method] = endpoint.scope.value if endpoint.scope else None
        assert described == real

    web(body)


def test_the_description_holds_together() -> None:
    """Every reference leads somewhere, every component is used, every path parameter is declared."""
    document = build_document()
    text = json.dumps(document)
    schemas = set(document["components"]["schemas"])
    referred = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert referred == schemas
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for name, operation in item.items()
        if name != "parameters"
    ]
    assert len(ids) == len(set(ids))
    for path, item in document["paths"].items():
        wanted = {part[1:-1] for part in path.split("/") if part.startswith("{")}
        for name, operation in item.items():
            if name == "parameters":
                continue
            given = [*operation.get("parameters", []), *item.get("parameters", [])]
            assert {parameter["name"] for parameter in given if parameter["in"] == "path"} == wanted
            assert operation["responses"]


def test_unknown_paths_are_a_problem(web: Callable[..., None]) -> None:
    """404 as problem+json, whoever asks."""

    async def body(web: Any) -> None:
        for path in ("/", "/api/v1/nothing", "/api/v1/hooks/", "/api/v1/hooks/a/b/c", "/%00", "/api/v1/events/"):
            answer = await web.get(path)
            assert answer.status == 404
            assert answer.header("content-type") == "application/problem+json"

    web(body)


# -- health --------------------------------------------------------------------------------------------------


def test_probes_need_no_token(web: Callable[..., None]) -> None:
    """Alive is always 200; ready is 503 with reasons while something is missing."""

    async def body(web: Any) -> None:
        assert (await web.call("GET", "/healthz")).json == {"status": "ok"}
        assert (await web.call("HEAD", "/healthz")).status == 200
        assert (await web.call("GET", "/readyz")).status == 200
        web.services.unready = ("the store does not answer",)
        answer = await web.call("GET", "/readyz")
        assert (answer.status, answer.json["reasons"]) == (503, ["the store does not answer"])

    web(body)


def test_metrics_count_the_store_when_they_are_scraped(web: Callable[..., None]) -> None:
    """Queue depth and age are fresh, but the store is not counted more than once in a while."""

    async def body(web: Any) -> None:
        await web.post("/api/v1/events", EVENT)
        web.services.clock.ms += 7_000
        answer = await web.call("GET", "/metrics")
        assert (answer.header("content-type") or "").startswith("text/plain; version=0.0.4")
        text = answer.body.decode()
        assert 'reconciler_queue_depth{status="pending"} 2.0' in text
        assert "reconciler_oldest_waiting_seconds 7.0" in text
        assert "reconciler_store_up 1.0" in text

        web.services.trouble = "the store cannot be written"
        assert "reconciler_store_up 1.0" in (await web.call("GET", "/metrics")).body.decode()
        web.services.clock.ms += 60_000
        text = (await web.call("GET", "/metrics")).body.decode()
        assert "reconciler_store_up 0.0" in text
        assert "reconciler_oldest_waiting_seconds 67.0" in text

        class Down:
            async def stats(self) -> None:
                raise StoreUnavailable("gone")

        web.services.store, web.services.trouble = Down(), None
        web.services.clock.ms += 60_000
        assert "reconciler_store_up 0.0" in (await web.call("GET", "/metrics")).body.decode()

    web(body)


# -- hooks ---------------------------------------------------------------------------------------------------


def test_hooks_are_listed_by_address(web: Callable[..., None]) -> None:
    """Each row has the promised keys and never a secret; pages join without gaps."""

    async def body(web: Any) -> None:
        answer = (await web.get("/api/v1/hooks")).json
        addresses = [item["address"] for item in answer["items"]]
        assert addresses == sorted(addresses)
        assert len(addresses) == 7
        assert answer["next"] is None
        assert {"address", "type", "enabled", "health", "id", "fingerprint"} <= set(answer["items"][0])
        assert {item["health"] for item in answer["items"]} == {"idle", "disabled"}
        paged, cursor = [], ""
        while cursor is not None:
            page = (await web.get(f"/api/v1/hooks?limit=3&cursor={cursor}")).json
            paged += [item["address"] for item in page["items"]]
            cursor = page["next"]
        assert paged == addresses
        only = (await web.get("/api/v1/hooks?type=sync.trigger&bot=support")).json["items"]
        assert [item["address"] for item in only] == ["support/asleep", "support/published"]
        assert (await web.get("/api/v1/hooks?bot=nobody")).json["items"] == []

    web(body)


def test_a_hook_shows_its_specification_and_its_health(web: Callable[..., None]) -> None:
    """In full: spec, secret by fingerprint, and what has happened."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED)
        hook = (await web.get("/api/v1/hooks/support/new-chat")).json
        assert hook["spec"]["url"] == "https://crm.example.com/a"
        assert hook["secret"]["fingerprint"] == hook["fingerprint"]
        assert hook["health"] == "failing"
        assert hook["id"] == await web.services.hook_id("support/new-chat")
        text = json.dumps(hook)
        assert await web.services.secret("support/new-chat") not in text
        assert (await web.get("/api/v1/hooks/support/none")).status == 404
        assert (await web.get("/api/v1/hooks/a%2Fb/..")).status == 404

    web(body)


def test_a_breaker_shows_in_health_in_plans_and_in_metrics(web: Callable[..., None]) -> None:
    """What the daemon holds back is seen in all three places, though the store knows nothing of it."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED)
        now_ms = web.services.clock.now_ms()
        tripped = Tripped(BreakerState.HALF_OPEN, now_ms - 60_000, now_ms - 1, 11)
        web.services.tripped = {await web.services.hook_id("support/new-chat"): tripped}
        hook = (await web.get("/api/v1/hooks/support/new-chat")).json
        assert hook["health"] == "breaker-open"
        assert (hook["breaker"]["state"], hook["breaker"]["failures"]) == ("half-open", 11)
        other = (await web.get("/api/v1/hooks/support/new-chat-too")).json
        assert (other["health"], other["breaker"]) == ("failing", None)
        plan = (await web.post("/api/v1/plan", {"files": {"hooks.yaml": "{}"}})).json
        drift = {each["address"]: each for each in plan["drift"]}
        assert drift["support/new-chat"]["code"] == "breaker-open"
        assert drift["support/new-chat"]["since"] == hook["breaker"]["since"][:19] + "Z"
        assert "11 attempts in a row failed" in drift["support/new-chat"]["message"]
        assert drift["support/new-chat-too"]["code"] == "failing"
        text = (await web.call("GET", "/metrics")).body.decode()
        assert 'reconciler_breakers{state="half_open"} 1.0' in text
        assert 'reconciler_breakers{state="open"} 0.0' in text
        closed = len(web.services.snapshot.outgoing) - 1
        assert f'reconciler_breakers{{state="closed"}} {closed}.0' in text

    web(body)


def test_a_pause_shows_at_its_webhook(web: Callable[..., None]) -> None:
    """In the list and alone, until when its receiver wants to be left alone; null for everybody else."""

    async def body(web: Any) -> None:
        until_ms = web.services.clock.now_ms() + 60_000
        web.services.paused = {await web.services.hook_id("support/new-chat"): until_ms}
        items = (await web.get("/api/v1/hooks")).json["items"]
        told = {item["address"]: item["paused_until"] for item in items}
        assert told == {**dict.fromkeys(told), "support/new-chat": iso(until_ms)}
        assert all(is_described("Hook", item) for item in items)
        assert (await web.get("/api/v1/hooks/support/new-chat")).json["paused_until"] == iso(until_ms)
        assert (await web.get("/api/v1/hooks/support/new-chat-too")).json["paused_until"] is None

    web(body)


def test_a_test_sends_a_real_request(web: Callable[..., None]) -> None:
    """The receiver's answer comes back, for a disabled hook too, with what it sent for an event of ours."""

    async def body(web: Any) -> None:
        trial = (await web.post("/api/v1/hooks/support/silent/test")).json
        assert (trial["status"], trial["success"], trial["body"]) == (200, True, "thanks")
        assert trial["headers"] == [["X-A", "b"]]
        assert trial["unresolved"] == []
        (request,) = web.services.sender.requests
        assert dict(request.headers)["X-ChatThing-Test"] == "true"
        await web.post("/api/v1/hooks/support/new-chat/test", EVENT)
        assert b"abc-123" in web.services.sender.requests[-1].body
        web.services.sender.reply = Reply(status=500, headers=(), body=b"\xff")
        broken = (await web.post("/api/v1/hooks/support/new-chat/test")).json
        assert (broken["success"], broken["status"], broken["body"]) == (False, 500, None)
        assert broken["body_base64"] == "/w=="
        assert (await web.post("/api/v1/hooks/support/none/test")).status == 404
        wrong = {"event": "sync.failure", "bot": "support", "dataSource": "docs", "reason": "no"}
        refused = await web.post("/api/v1/hooks/support/new-chat/test", wrong)
        assert (refused.status, refused.json["exit"]) == (422, 64)

    web(body)


def test_a_trigger_is_tested_by_starting_its_sync(web: Callable[..., None]) -> None:
    """As calling its URL would: 200 and a sync, or 403 and none."""

    async def body(web: Any) -> None:
        trial = (await web.post("/api/v1/hooks/support/published/test", {"page": 1})).json
        assert (trial["status"], trial["success"]) == (200, True)
        assert web.services.syncs_woken == 1
        asleep = (await web.post("/api/v1/hooks/support/asleep/test")).json
        assert (asleep["status"], asleep["success"]) == (403, False)
        assert web.services.syncs_woken == 1

    web(body)


def test_a_rotation_answers_with_the_new_fingerprint(web: Callable[..., None]) -> None:
    """The secret changes, the fingerprint tells so, and the secret itself is nowhere in the answer."""

    async def body(web: Any) -> None:
        before = (await web.get("/api/v1/hooks/support/new-chat")).json["fingerprint"]
        answer = await web.post("/api/v1/hooks/support/new-chat/rotate")
        assert answer.json["fingerprint"] != before
        assert (await web.services.secret("support/new-chat")).encode() not in answer.body
        assert answer.json["serial"] == web.services.snapshot.serial
        assert (await web.post("/api/v1/hooks/support/none/rotate")).status == 404

    web(body)


# -- deliveries ----------------------------------------------------------------------------------------------


def test_deliveries_are_listed_newest_first(web: Callable[..., None]) -> None:
    """Each row has the promised keys; filters and pages work together."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED, 3)
        await web.post("/api/v1/events", EVENT)
        everything = (await web.get("/api/v1/deliveries")).json
        assert len(everything["items"]) == 8
        row = everything["items"][-1]
        assert set(row) >= {
            *("id", "hook", "event", "event_id", "status", "attempts"),
            *("created_at", "next_attempt_at", "last_status", "last_error"),
        }
        assert (row["status"], row["attempts"], row["last_error"]) == ("exhausted", 1, "connect")
        created = [item["created_at"] for item in everything["items"]]
        assert created == sorted(created, reverse=True)
        assert created[0].endswith("Z")
        for query, count in (
            ("status=exhausted", 6),
            ("status=pending,exhausted", 8),
            ("status=pending&status=exhausted", 8),
            ("status=delivered", 0),
            ("hook=support/new-chat", 4),
            (f"hook={await web.services.hook_id('support/new-chat')}", 4),
            ("event=sync.failure", 0),
            ("since=1500ms", 6),
            (f"until={created[-1]}", 0),
            (f"since={created[-1]}&until={created[0]}", 4),
        ):
            found = (await web.get(f"/api/v1/deliveries?{query}")).json
            assert len(found["items"]) == count, query
        ids, cursor = [], ""
        while cursor is not None:
            page = (await web.get("/api/v1/deliveries?limit=3" + (f"&cursor={cursor}" if cursor else ""))).json
            ids += [item["id"] for item in page["items"]]
            cursor = page["next"]
        assert ids == [item["id"] for item in everything["items"]]

    web(body)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=1001", 422),
        ("limit=-1", 422),
        ("limit=٣", 422),
        ("limit=9999999999999999999999", 422),
        ("status=lost", 422),
        ("event=message", 422),
        ("error=tired", 422),
        ("since=yesterday", 422),
        ("since=", 422),
        ("cursor=nonsense", 422),
        ("stauts=pending", 422),
        ("hook=support/none", 404),
    ],
)
def test_a_filter_that_means_nothing_is_refused(web: Callable[..., None], query: str, status: int) -> None:
    """Never a guess, never everything, never a 500."""

    async def body(web: Any) -> None:
        answer = await web.get(f"/api/v1/deliveries?{quote(query, safe='=&/')}")
        assert answer.status == status, answer.body
        assert answer.json["detail"]

    web(body)


def test_a_delivery_shows_every_attempt(web: Callable[..., None]) -> None:
    """In full: payload and attempts, a body that is no text as base64."""

    async def body(web: Any) -> None:
        delivery_id, _ = await deliver(web, DeliveryStatus.EXHAUSTED)
        delivery = (await web.get(f"/api/v1/deliveries/{delivery_id}")).json
        assert delivery["payload"]["conversation"]["id"] == "abc-123"
        (attempt,) = delivery["attempts"]
        assert (attempt["error"], attempt["status"], attempt["duration_ms"]) == ("connect", None, 12)
        assert attempt["headers"] == [["X-A", "b"]]
        assert (attempt["body"], attempt["body_base64"]) == (None, "/wA=")
        assert (await web.get("/api/v1/deliveries/none")).status == 404

    web(body)


def test_one_delivery_is_retried_under_its_id(web: Callable[..., None]) -> None:
    """It is pending again and its hook is woken; one that still moves, or never will, is refused."""

    async def body(web: Any) -> None:
        delivery_id, _ = await deliver(web, DeliveryStatus.REFUSED)
        web.services.deliveries_woken.clear()
        answer = await web.post(f"/api/v1/deliveries/{delivery_id}/retry")
        assert answer.json == {"matched": 1, "retried": 1, "remaining": 0, "dry_run": False, "held_back": []}
        delivery = (await web.get(f"/api/v1/deliveries/{delivery_id}")).json
        assert (delivery["status"], delivery["round"], len(delivery["attempts"])) == ("pending", 2, 1)
        assert len(web.services.deliveries_woken) == 1
        again = await web.post(f"/api/v1/deliveries/{delivery_id}/retry")
        assert (again.status, again.json["code"]) == (409, "not-redeliverable")
        assert (await web.post("/api/v1/deliveries/none/retry")).status == 404

    web(body)


def test_a_retry_says_which_webhook_lets_nothing_out(web: Callable[..., None]) -> None:
    """An open breaker, a pause, a 410 and a disabled webhook hold back what is put back; a half-open one does not.

    Of a breaker and a pause the one that lasts longer is named.
    """

    async def body(web: Any) -> None:
        services = web.services
        hook_ids = {name: await services.hook_id(f"support/{name}") for name in ("new-chat", "new-chat-too")}
        until_ms = services.clock.ms + 60_000
        waits = {"hook": "support/new-chat", "reason": "breaker-open", "until": iso(until_ms)}

        async def held_back(**more: Any) -> Any:
            await deliver(web, DeliveryStatus.EXHAUSTED)
            answer = (await web.post("/api/v1/deliveries/retry", more)).json
            assert is_described("Retried", answer)
            return answer["held_back"]

        services.tripped = {hook_ids["new-chat"]: Tripped(BreakerState.HALF_OPEN, 0, until_ms, 10)}
        assert await held_back() == []
        services.tripped = {hook_ids["new-chat"]: Tripped(BreakerState.OPEN, 0, until_ms, 10)}
        assert await held_back() == [waits]
        assert await held_back(dry_run=True) == []
        assert await held_back(hook="support/new-chat-too") == []
        services.paused = {hook_ids["new-chat"]: until_ms - 1}
        assert await held_back() == [waits]
        services.paused = {hook_ids["new-chat"]: until_ms + 1}
        paused = {"hook": "support/new-chat", "reason": "retry-after", "until": iso(until_ms + 1)}
        assert await held_back() == [paused]
        services.tripped = {}
        assert await held_back() == [paused]
        services.tripped, services.paused = {hook_ids["new-chat"]: Tripped(BreakerState.OPEN, 0, until_ms, 10)}, {}
        services.gone_hooks.add(hook_ids["new-chat-too"])
        gone = {"hook": "support/new-chat-too", "reason": "gone", "until": None}
        assert await held_back() == [waits, gone]
        for delivery_id in await deliver(web, DeliveryStatus.EXHAUSTED):
            assert (await web.post(f"/api/v1/deliveries/{delivery_id}/retry")).json["held_back"] in ([waits], [gone])

        await deliver(web, DeliveryStatus.EXHAUSTED)
        hook = {"type": "conversation.started", "url": "https://crm.example.com/a"}
        hooks = {"new-chat": {**hook, "enabled": False}, "new-chat-too": {**hook, "enabled": True}}
        await services.declare({"support": {"id": "def-456", "webhooks": hooks}})
        off = {"hook": "support/new-chat", "reason": "disabled", "until": None}
        assert (await web.post("/api/v1/deliveries/retry", {})).json["held_back"] == [off, gone]

    web(body)


def test_a_delivery_of_a_deleted_hook_is_not_retried(web: Callable[..., None]) -> None:
    """There is nowhere to send it."""

    async def body(web: Any) -> None:
        delivery_id, _ = await deliver(web, DeliveryStatus.EXHAUSTED)
        await web.services.declare({"support": {"id": "def-456"}})
        answer = await web.post(f"/api/v1/deliveries/{delivery_id}/retry")
        assert (answer.status, answer.json["code"]) == (409, "not-redeliverable")

    web(body)


def test_many_are_counted_before_they_are_retried(web: Callable[..., None]) -> None:
    """`dry_run` counts, `limit` bounds, the answer says what is left; exhausted ones are the default."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.REFUSED)
        await deliver(web, DeliveryStatus.EXHAUSTED, 3)
        retry = "/api/v1/deliveries/retry"
        counted = (await web.post(retry, {"dry_run": True})).json
        assert counted == {"matched": 6, "retried": 0, "remaining": 6, "dry_run": True, "held_back": []}
        some = (await web.post(retry, {"limit": 4})).json
        assert some == {"matched": 6, "retried": 4, "remaining": 2, "dry_run": False, "held_back": []}
        rest = (await web.post(retry)).json
        assert rest == {"matched": 2, "retried": 2, "remaining": 0, "dry_run": False, "held_back": []}
        refused = (await web.post(retry, {"status": ["refused"], "hook": "support/new-chat"})).json
        assert refused["retried"] == 1
        assert (await web.post(retry, {"status": "refused", "since": "1h", "error": "connect"})).json["retried"] == 1

    web(body)


def test_delivered_ones_are_delivered_again_once_however_quickly(web: Callable[..., None]) -> None:
    """What has ended after the given moment is left alone, so batches never meet what they have just put back."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.DELIVERED, 2)
        before = web.services.clock.ms + 1
        asked = {"status": "delivered", "ended_before": iso(before)}
        web.services.clock.ms = before
        first = (await web.post("/api/v1/deliveries/retry", asked)).json
        assert first["retried"] == first["matched"] > 0
        assert len(await deliver(web, DeliveryStatus.DELIVERED, 0)) == first["retried"]
        assert (await web.get("/api/v1/deliveries?status=delivered")).json["items"]
        again = (await web.post("/api/v1/deliveries/retry", asked)).json
        assert (again["matched"], again["retried"]) == (0, 0)

    web(body)


def test_putting_back_very_many_takes_its_time(web: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is put back at once, each batch waits for its turn, over all calls together."""
    monkeypatch.setattr(web_deliveries, "RETRIES_A_SECOND", 2)
    monkeypatch.setattr(web_deliveries, "RETRY_BATCH", 1)

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED, 3)
        waits: list[float] = []

        async def wait(_event: Any, timeout_s: float) -> bool:
            waits.append(timeout_s)
            return False

        web.services.clock.wait = wait
        done = (await web.post("/api/v1/deliveries/retry", {})).json
        assert done["remaining"] == 0
        assert waits == [pytest.approx(0.5 * turn) for turn in range(1, done["retried"] - 2)]

    web(body)


@pytest.mark.parametrize(
    "asked",
    [
        {"status": ["pending"]},
        {"status": ["sending", "exhausted"]},
        {"status": [3]},
        {"status": [["exhausted"]]},
        {"status": {}},
        {"stauts": ["exhausted"]},
        {"limit": 0},
        {"limit": True},
        {"limit": "5"},
        {"dry_run": "yes"},
        {"since": 5},
        {"hook": ["a/b"]},
        [],
        "text",
    ],
)
def test_a_retry_of_what_is_not_understood_touches_nothing(web: Callable[..., None], asked: Any) -> None:
    """422 for every key and value that could have meant something else."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED)
        assert (await web.post("/api/v1/deliveries/retry", asked)).status == 422
        assert (await web.get("/api/v1/deliveries?status=exhausted")).json["items"]

    web(body)


# -- configuration -------------------------------------------------------------------------------------------


def files(bots: Any, **more: Any) -> dict[str, Any]:
    """A post of one file; in these tests a file is JSON."""
    return {"files": {"hooks.yaml": json.dumps(bots)}, **more}


def test_posted_files_are_planned_against_the_live_state(web: Callable[..., None]) -> None:
    """A reader may plan; the plan names the commit and changes nothing."""

    async def body(web: Any) -> None:
        serial = web.services.snapshot.serial
        asked = json.dumps(files({"support": {"id": "def-456"}, "new": {}}, commit="abc")).encode()
        answer = await web.call("POST", "/api/v1/plan", asked, token="read-token-3")
        plan = answer.json
        assert (answer.status, plan["format_version"], plan["commit"]) == (200, 1, "abc")
        assert plan["summary"]["create"] == 1
        assert plan["base"]["serial"] == serial
        text = await web.call("POST", "/api/v1/plan?format=text", asked, token="read-token-3")
        assert b"Plan: 1 to add" in text.body
        bare = await web.call(
            "POST",
            "/api/v1/plan",
            json.dumps({"new": {}}).encode(),
            token="read-token-3",
            headers={"Content-Type": "application/yaml"},
        )
        assert bare.json["summary"]["create"] == 1
        assert web.services.snapshot.serial == serial

    web(body)


def test_invalid_files_answer_with_their_problems(web: Callable[..., None]) -> None:
    """422, each problem with file, line and column, and the exit code for a command."""

    async def body(web: Any) -> None:
        answer = await web.post("/api/v1/plan", {"files": {"hooks.yaml": "{"}})
        assert answer.status == 422
        assert answer.json["exit"] == 65
        (problem,) = answer.json["problems"]
        assert (problem["file"], problem["line"], problem["column"]) == ("hooks.yaml", 3, 5)

    web(body)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"files": []},
        {"files": {"a.yaml": 3}},
        {"files": {}, "base_dir": "relative"},
        {"files": {}, "base_dir": 3},
        {"files": {}, "commit": 3},
        {"files": {}, "alow_delete": []},
    ],
)
def test_a_plan_of_what_is_no_set_of_files_is_refused(web: Callable[..., None], asked: Any) -> None:
    """422 with a pointer."""

    async def body(web: Any) -> None:
        answer = await web.post("/api/v1/plan", asked)
        assert answer.status == 422
        assert answer.json["problems"][0]["pointer"].startswith("/")

    web(body)


def test_applying_serves_what_was_applied(web: Callable[..., None]) -> None:
    """The serial grows and the snapshot has the new webhook; guards and stale plans are conflicts."""

    async def body(web: Any) -> None:
        bots = {"support": {"id": "def-456", "webhooks": {}}, "new": {}}
        refused = await web.post("/api/v1/apply", files(bots))
        if refused.status != 200:
            assert (refused.status, refused.json["exit"]) == (409, 6)
        answer = await web.post("/api/v1/apply", files(bots, allow_delete_all=True))
        assert answer.status == 200
        assert answer.json["serial"] == web.services.snapshot.serial
        assert "new" in web.services.snapshot.bots
        assert (await web.post("/api/v1/apply", files(bots, allow_delete="a/b"))).status == 422
        assert (await web.post("/api/v1/apply", files(bots, allow_delete_all=1))).status == 422

    web(body)


@pytest.mark.parametrize(
    ("error", "status", "exit_code"),
    [
        (GuardRefused("2 webhooks: --allow-delete-all"), 409, 6),
        (PlanStale("the state moved on"), 409, 4),
        (StateUnreadable("sealed under another key"), 500, 66),
        (StoreLocked("held"), 503, None),
        (StoreUnavailable("disk /secret"), 503, None),
        (RuntimeError("bug with /secret"), 500, None),
    ],
)
def test_errors_keep_their_exit_code_over_http(
    web: Callable[..., None], error: Exception, status: int, exit_code: int | None
) -> None:
    """A command that meets them ends as it would beside the store; unexpected ones tell nothing."""

    async def body(web: Any) -> None:
        async def fail(*_args: Any, **_kwargs: Any) -> None:
            raise error

        web.services.apply = fail
        answer = await web.post("/api/v1/apply", files({}))
        assert (answer.status, answer.json.get("exit")) == (status, exit_code)
        assert b"secret" not in answer.body

    web(body)


def test_a_reload_answers_when_it_is_done(web: Callable[..., None]) -> None:
    """200 with the generation, or 422 with the problems and the generation that stays."""

    async def body(web: Any) -> None:
        good = Reloaded(is_good=True, outcome="applied", message="", generation=4, serial=7)
        web.services.reloaded = good
        answer = await web.post("/-/reload")
        assert answer.status == 200
        assert answer.json["generation"] == 4
        place = Place("hooks.yaml", 3, 1)
        problem = Problem(place=place, code="unknown-key", message="unknown", suggestion="url", also=place)
        web.services.reloaded = Reloaded(
            is_good=False, outcome="invalid", message="1 problem", generation=4, serial=7, problems=(problem,)
        )
        answer = await web.post("/-/reload")
        assert answer.status == 422
        assert answer.json["generation"] == 4
        assert answer.json["problems"][0]["suggestion"] == "url"

    web(body)


def test_the_status_is_what_the_process_says(web: Callable[..., None]) -> None:
    """As JSON, to a reader."""

    async def body(web: Any) -> None:
        assert (await web.get("/api/v1/status")).json == dict(await web.services.status())

    web(body)


def test_no_secret_is_in_any_answer(web: Callable[..., None]) -> None:
    """Everything a reader can get, grepped for every secret there is."""

    async def body(web: Any) -> None:
        await deliver(web, DeliveryStatus.EXHAUSTED)
        await web.post("/api/v1/hooks/support/new-chat/rotate")
        state = await web.services.store.read_state()
        addresses = [key.address for key in state.resources if key.kind is Kind.WEBHOOK]
        secrets = [(await web.services.secret(address)).encode() for address in addresses]
        assert Key(Kind.WEBHOOK, "support/new-chat") in state.resources
        paths = ["/api/v1/hooks", "/api/v1/deliveries", "/api/v1/status", "/metrics", "/readyz"]
        paths += [f"/api/v1/hooks/{address}" for address in addresses]
        for path in paths:
            answer = await web.get(path)
            assert answer.status == 200
            assert not any(secret in answer.body for secret in secrets), path

    web(body)
