"""Trigger URLs: the password in the path, and the little that an outsider can learn."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import SnapshotMoved, StoreUnavailable
from reconciler.metrics import Metrics
from reconciler.model.snapshot import Snapshot
from reconciler.web.direct import DirectRequest
from reconciler.web.trigger import BODY_BYTES_MAX, Trigger

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_FOUND = b'{"success": false, "error": "not found"}'


async def queued(web: Any) -> int:
    """How many syncs wait."""
    return int((await web.services.store.stats()).syncs_waiting)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "PURGE"])
def test_a_call_queues_a_sync_whatever_its_method(web: Callable[..., None], method: str) -> None:
    """Any method queues the data source's sync durably and wakes the runner."""

    async def body(web: Any) -> None:
        answer = await web.call(method, await web.services.trigger_path("support/published"))
        assert (answer.status, answer.body) == (200, b'{"success": true}')
        assert answer.header("content-type") == "application/json"
        assert await queued(web) == 1
        assert web.services.syncs_woken == 1

    web(body)


def test_the_latest_body_counts_when_calls_join(web: Callable[..., None]) -> None:
    """Fifty calls while a sync waits start one sync, with the last body."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        for number in range(50):
            assert (await web.call("POST", path, b"%d" % number)).status == 200
        store = web.services.store
        (claim,) = await store.claim_syncs(limit=9, owner="w", now_ms=web.services.clock.now_ms(), lease_ms=1)
        assert claim.body == b"49"
        assert claim.data_source == "support/docs"

    web(body)


def test_every_refusal_is_the_same_bytes_when_the_url_is_wrong(web: Callable[..., None]) -> None:
    """Unknown id, wrong secret and any other path below the prefix cannot be told apart."""

    async def body(web: Any) -> None:
        hook_id = await web.services.hook_id("support/published")
        secret = await web.services.secret("support/published")
        asleep = await web.services.hook_id("support/asleep")
        outgoing = await web.services.hook_id("support/new-chat")
        paths = [
            f"/api/public/hooks/{hook_id}/{'0' * 32}",
            f"/api/public/hooks/00000000-0000-4000-8000-000000000000/{secret}",
            f"/api/public/hooks/{asleep}/{secret}",
            f"/api/public/hooks/{outgoing}/{await web.services.secret('support/new-chat')}".replace("+", "%2B"),
            f"/api/public/hooks/{hook_id}/{secret}/",
            f"/api/public/hooks/{hook_id}/{secret}/more",
            f"/api/public/hooks/{hook_id}//{secret}",
            f"/api/public/hooks/{hook_id}/{secret[:-1]}",
            f"/api/public/hooks/{hook_id}/{secret}0",
            f"/api/public/hooks/{hook_id}/{secret.upper()}",
            f"/api/public/hooks/{hook_id.upper()}/{secret}",
            f"/api/public/hooks/{hook_id}/",
            f"/api/public/hooks/{hook_id}",
            "/api/public/hooks//",
            "/api/public/hooks/",
            "/api/public/hooks",
            "/api/public/",
            "/api/public/hooks/%00/%00",
            "/api/public/hooks/%ff%fe/%80",
            f"/api/public/hooks/{hook_id}/%E2%82%AC",
            f"/api/public/hooks/{hook_id}%2F{secret}",
            "/api/public/hooks/" + "a" * 50_000 + "/" + "b" * 50_000,
        ]
        answers = [await web.call("GET", path) for path in paths]
        answers += [await web.call("POST", paths[0], b"x" * 100), await web.call("HEAD", paths[1])]
        assert {(answer.status, tuple(answer.headers), answer.body) for answer in answers} == {
            (404, tuple(answers[0].headers), NOT_FOUND)
        }
        assert await queued(web) == 0

    web(body)


def test_the_padding_opens_nothing_when_it_is_guessed(web: Callable[..., None]) -> None:
    """What stands in for missing digests matches no secret, whatever it is the digest of."""

    async def body(web: Any) -> None:
        hook_id = await web.services.hook_id("support/published")
        for guess in ("", "%00" * 32, "there%20is%20no%20such%20webhook"):
            assert (await web.call("GET", f"/api/public/hooks/{hook_id}/{guess}")).status == 404

    web(body)


def test_percent_encoding_means_the_same_characters(web: Callable[..., None]) -> None:
    """A client that escapes unreserved characters calls the same URL."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        escaped = path[:-1] + f"%{ord(path[-1]):02X}"
        assert (await web.call("GET", escaped)).status == 200
        assert (await web.call("GET", path + "?cache=1")).status == 200

    web(body)


def test_no_body_is_read_when_the_secret_is_wrong(web: Callable[..., None]) -> None:
    """The secret decides before a byte of the body is asked for; so does a disabled webhook."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        await web.call("POST", path[:-1] + "!", [b"x"] * 5)
        assert web.call.chunks_read == 0
        await web.call("POST", await web.services.trigger_path("support/asleep"), [b"x"] * 5)
        assert web.call.chunks_read == 0

    web(body)


def test_a_disabled_trigger_says_so_when_the_secret_is_right(web: Callable[..., None]) -> None:
    """403 and no sync, for the holder of the URL only."""

    async def body(web: Any) -> None:
        answer = await web.call("POST", await web.services.trigger_path("support/asleep"))
        assert (answer.status, answer.body) == (403, b'{"success": false, "error": "webhook is disabled"}')
        assert await queued(web) == 0

    web(body)


def test_a_body_of_one_mebibyte_is_the_largest(web: Callable[..., None]) -> None:
    """Exactly 1 MiB is queued; a byte more is refused, declared or not."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        assert (await web.call("POST", path, b"x" * BODY_BYTES_MAX)).status == 200
        chunked = await web.call("POST", path, [b"x" * BODY_BYTES_MAX, b"x"])
        declared = await web.call(
            "POST", path, b"x" * (BODY_BYTES_MAX + 1), headers={"Content-Length": str(BODY_BYTES_MAX + 1)}
        )
        assert (chunked.status, declared.status) == (413, 413)
        assert chunked.json["success"] is False

    web(body)


def test_both_urls_answer_while_a_rotation_overlaps(web: Callable[..., None]) -> None:
    """The old secret opens until the overlap ends, to the millisecond; then it is unknown."""

    async def body(web: Any) -> None:
        old = await web.services.trigger_path("support/published")
        rotated = await web.post("/api/v1/hooks/support/published/rotate")
        assert rotated.status == 200
        new = await web.services.trigger_path("support/published")
        assert new != old
        for path in (old, new):
            assert (await web.call("GET", path)).status == 200
        web.services.clock.ms += 10_000 - 1
        assert (await web.call("GET", old)).status == 200
        web.services.clock.ms += 1
        assert (await web.call("GET", old)).body == NOT_FOUND
        assert (await web.call("GET", new)).status == 200

    bots = {
        "support": {
            "data_sources": {"docs": {"sync": {"command": ["true"]}}},
            "webhooks": {
                "published": {
                    "type": "sync.trigger",
                    "data_source": "docs",
                    "enabled": True,
                    "rotation": {"overlap": "10s"},
                }
            },
        }
    }
    web(body, bots)


class Failing:
    """A store whose `request_sync` raises what it is given, then works."""

    def __init__(self, store: Any, errors: list[Exception]) -> None:
        self._store = store
        self._errors = errors

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def request_sync(self, *args: Any, **kwargs: Any) -> Any:
        if self._errors:
            raise self._errors.pop(0)
        return await self._store.request_sync(*args, **kwargs)


class Slow:
    """A store whose `request_sync` waits until it is let go on, and keeps what it was asked."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.asked: list[tuple[int, bytes]] = []
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def request_sync(self, sync: Any, **kwargs: Any) -> Any:
        self.asked.append((sync.calls, sync.body))
        self.entered.set()
        await self.go_on.wait()
        return await self._store.request_sync(sync, **kwargs)


def test_calls_that_come_while_the_store_is_writing_are_stored_together(web: Callable[..., None]) -> None:
    """Each is answered only when what holds it is on disk; all of them count, and the last one's body does."""

    async def body(web: Any) -> None:
        services = web.services
        store = services.store = Slow(services.store)
        trigger, answers, done = Trigger(services), [], asyncio.Event()

        def write(number: int, status: int) -> None:
            answers.append((number, status))
            if len(answers) == 40:
                done.set()

        path = (await services.trigger_path("support/published")).encode()

        def call(number: int) -> None:
            request = DirectRequest("POST", [], path, lambda _, answer: write(number, answer.status))
            trigger.take(request)
            request.end(b"%d" % number)

        call(0)
        await store.entered.wait()
        for number in range(1, 40):
            call(number)
        assert answers == []
        store.go_on.set()
        await done.wait()
        assert answers == [(number, 200) for number in range(40)]
        counted = services.metrics.exposition().decode()
        assert 'reconciler_triggers_total{outcome="queued"} 1.0' in counted
        assert 'reconciler_triggers_total{outcome="joined"} 39.0' in counted
        hook = services.snapshot.addresses["support/published"]
        assert store.asked == [(1, b"0"), (39, b"39")]
        assert (await queued(web), services.syncs_woken) == (1, 1)
        assert (await store.observed(now_ms=services.clock.now_ms()))[hook.id].day_count == 40

    web(body)


def test_all_who_were_stored_together_hear_that_it_failed(web: Callable[..., None]) -> None:
    """None of them is answered 200, and the next one is stored."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        failing = Failing(web.services.store, [StoreUnavailable("full")])
        store = web.services.store = Slow(failing)
        callers = [asyncio.create_task(replace(web.call).__call__("POST", path)) for _ in range(5)]
        store.go_on.set()
        assert [(await caller).status for caller in callers] == [503] * 5
        assert [calls for calls, _ in store.asked] == [5]
        assert (await web.call("POST", path)).status == 200

    web(body)


def test_a_call_is_asked_to_come_back_when_the_store_cannot_write(web: Callable[..., None]) -> None:
    """503 with Retry-After, and the store's reason stays inside."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        web.services.store = Failing(web.services.store, [StoreUnavailable("disk /secret/path is full")])
        answer = await web.call("POST", path)
        assert (answer.status, answer.body) == (503, b'{"success": false, "error": "unavailable"}')
        assert int(answer.header("retry-after") or "") >= 1
        assert web.services.syncs_woken == 0

    web(body)


def test_a_call_is_queued_when_the_state_moved_in_between(web: Callable[..., None]) -> None:
    """The snapshot is caught up and the call goes on; a state that never rests ends in 503."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        moved = SnapshotMoved("moved")
        web.services.store = Failing(web.services.store, [moved])
        assert (await web.call("POST", path)).status == 200
        web.services.store = Failing(web.services.store, [moved] * 10)
        assert (await web.call("POST", path)).status == 503

    web(body)


def test_a_rotated_secret_is_refused_when_the_snapshot_is_behind(web: Callable[..., None]) -> None:
    """A secret that another process has just replaced starts nothing."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        behind = web.services.snapshot
        await web.services.rotate("support/published")
        web.services._snapshot = behind
        assert (await web.call("POST", path)).body == NOT_FOUND
        assert await queued(web) == 0

    web(body)


def test_nothing_is_queued_when_the_client_leaves_in_the_middle_of_its_body(web: Callable[..., None]) -> None:
    """Half a body is no call."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        answer = await web.call("POST", path, [b"a", b"b"], disconnect=True)
        assert answer.status == 0
        assert await queued(web) == 0

    web(body)


def test_calls_are_counted_by_what_came_of_them(web: Callable[..., None]) -> None:
    """The metric tells outcomes apart and holds no path."""

    async def body(web: Any) -> None:
        path = await web.services.trigger_path("support/published")
        await web.call("GET", path)
        await web.call("GET", path)
        await web.call("GET", path + "0")
        text = web.services.metrics.exposition().decode()
        assert 'reconciler_triggers_total{outcome="queued"} 1.0' in text
        assert 'reconciler_triggers_total{outcome="joined"} 1.0' in text
        assert 'reconciler_triggers_total{outcome="not_found"} 1.0' in text
        assert path.rpartition("/")[2] not in text

    web(body)


@settings(max_examples=60)
@given(tail=st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
def test_no_path_below_the_prefix_does_anything_else_than_not_be_found(tail: str) -> None:
    """Whatever stands below the prefix, percent signs and dots included, gives the one answer."""

    class Nobody:
        snapshot = Snapshot(generation=1, lineage="l", serial=1)
        metrics = Metrics()

        class clock:  # noqa: N801 - stands where an attribute does
            @staticmethod
            def now_ms() -> int:
                return 0

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("a body was asked for")

    path = "/api/public/" + tail.replace("?", "")
    scope = {"method": "GET", "path": path, "raw_path": path.encode(), "headers": []}
    asyncio.run(Trigger(Nobody())(scope, receive, send))  # type: ignore[arg-type] # only what it asks for
    assert [sent[0]["status"], sent[1]["body"]] == [404, NOT_FOUND]
