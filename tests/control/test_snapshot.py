"""`control.snapshot`: what the daemon serves."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from reconciler.control.reveal import secret_of
from reconciler.control.rotate import rotate
from reconciler.control.snapshot import build_snapshot
from reconciler.errors import ConfigurationInvalid, StateUnreadable
from reconciler.model.hook import CommandSync, EventType, HttpSync, TriggerHook
from reconciler.model.template import Site, render
from reconciler.problem import Place
from reconciler.store.seal import Keyring

BOTS: dict[str, Any] = {
    "support": {
        "id": "def-456",
        "name": "My Bot",
        "data_sources": {
            "docs": {
                "id": "ds-1",
                "sync": {
                    "http": {"url": "https://cms/${env:P}", "headers": {"Authorization": "Bearer ${env:TOKEN}"}}
                },
            },
            "wiki": {"sync": {"command": ["sync", "${env:P}"], "timeout": "2m"}},
            "bare": {},
        },
        "webhooks": {
            "published": {"type": "sync.trigger", "data_source": "docs", "enabled": True},
            "crm": {
                "type": "conversation.started",
                "url": "https://crm/${env:P}/{{conversation.id}}",
                "enabled": True,
                "custom_payload": {
                    "method": "PUT",
                    "headers": {"X-Token": "${env:TOKEN}", "content-type": "text/plain"},
                    "body": "{{conversation.id}}",
                },
            },
            "alerts": {
                "type": "sync.failure",
                "data_source": "docs",
                "url": "https://ops",
                "timeout": "5s",
                "retry": {"attempts": 2, "schedule": ["1s"], "jitter": 0},
                "secret": {"env": "OPS"},
                "custom_payload": {"enabled": False, "body": "x"},
            },
        },
    },
    "twin": {"name": "My Bot"},
}
ENVIRON = {"P": "path{{x}}", "TOKEN": "t0ken-value", "OPS": "ops-secret"}


def snapshot_of(bench: Any, environ: dict[str, str] | None = None, **more: Any) -> Any:
    """The snapshot of the bench's state."""
    return build_snapshot(
        bench.state, keyring=bench.keyring, environ=ENVIRON if environ is None else environ, generation=7, **more
    )


def test_everything_is_indexed_for_its_question(bench: Any) -> None:
    """Bots by handle, id and name; hooks by id, address, and by bot and type; data sources by address."""
    bench.apply(BOTS)
    snapshot = snapshot_of(bench)
    assert (snapshot.generation, snapshot.lineage, snapshot.serial) == (7, bench.state.lineage, 1)
    assert snapshot.bots_by_id["def-456"] is snapshot.bots["support"]
    assert [bot.handle for bot in snapshot.bots_by_name["My Bot"]] == ["support", "twin"]
    bot = snapshot.bots["support"]
    assert {event: [hook.address for hook in hooks] for event, hooks in bot.hooks.items()} == {
        EventType.CONVERSATION_STARTED: ["support/crm"],
        EventType.SYNC_FAILURE: ["support/alerts"],
    }
    assert bot.data_sources["docs"] is snapshot.data_sources["support/docs"]
    assert list(snapshot.addresses) == ["support/alerts", "support/crm", "support/published"]
    crm = snapshot.addresses["support/crm"]
    assert snapshot.outgoing[bench.hook("support/crm").id] is crm
    assert snapshot.triggers[bench.hook("support/published").id] is snapshot.addresses["support/published"]


def test_an_outgoing_hook_is_typed_and_resolved(bench: Any) -> None:
    """What a reference brings is inert: a token in it is no token."""
    bench.apply(BOTS)
    crm = snapshot_of(bench).addresses["support/crm"]
    rendered = render(crm.url, Site.URL, {"conversation": {"id": "a b"}})
    assert rendered.text.startswith("https://crm/path")
    assert rendered.text.endswith("/a%20b")
    assert rendered.unresolved == ()
    assert crm.custom.method == "PUT"
    assert crm.custom.body.content_type == "text/plain"
    assert crm.secrets.current == secret_of(bench.state, "support/crm", keyring=bench.keyring)

    alerts = snapshot_of(bench).addresses["support/alerts"]
    assert (alerts.enabled, alerts.timeout_ms, alerts.retry.attempts, alerts.custom) == (False, 5_000, 2, None)
    assert (alerts.data_source, alerts.secrets.current) == ("support/docs", "ops-secret")


def test_what_a_record_may_not_keep_is_listed(bench: Any) -> None:
    """The secrets in force and everything that references brought, longest first, and nothing of it in a repr."""
    bench.apply(BOTS)
    snapshot = snapshot_of(bench)
    crm = snapshot.addresses["support/crm"]
    assert crm.scrub == (crm.secrets.current, "t0ken-value", "path{{x}}")
    assert snapshot.data_sources["support/docs"].scrub == ("t0ken-value", "path{{x}}")
    for secret in (crm.secrets.current, "t0ken-value", "ops-secret"):
        assert secret not in repr(snapshot)


def test_a_default_that_stands_in_the_yaml_is_no_secret(bench: Any) -> None:
    """Blanking what everybody can read in git would only make records unreadable."""
    bench.apply({"b": {"data_sources": {"d": {"sync": {"command": ["run", "${env:FOLDER:-content}"]}}}}})
    assert snapshot_of(bench, {}).data_sources["b/d"].scrub == ()
    assert snapshot_of(bench, {"FOLDER": "elsewhere"}).data_sources["b/d"].scrub == ("elsewhere",)
    assert snapshot_of(bench, {"FOLDER": "x"}).data_sources["b/d"].scrub == ("x",)


def test_a_data_source_knows_how_it_is_synced(bench: Any) -> None:
    """Over HTTP, as a command, or not at all."""
    bench.apply(BOTS)
    sources = snapshot_of(bench).data_sources
    assert sources["support/docs"].sync == HttpSync(
        method="POST", url="https://cms/path{{x}}", headers=(("Authorization", "Bearer t0ken-value"),)
    )
    assert sources["support/wiki"].sync == CommandSync(argv=("sync", "path{{x}}"))
    assert (sources["support/wiki"].timeout_ms, sources["support/docs"].timeout_ms) == (120_000, 900_000)
    assert sources["support/bare"].sync is None


def test_an_overlap_keeps_both_secrets(bench: Any) -> None:
    """A trigger answers on both URLs until its end, a delivery can be signed with both."""
    bots = {
        "b": {
            "data_sources": BOTS["support"]["data_sources"],
            "webhooks": {
                "t": {"type": "sync.trigger", "data_source": "docs", "rotation": {"overlap": "1h"}},
                "c": {"type": "conversation.started", "url": "https://c", "rotation": {"overlap": "1h"}},
            },
        }
    }
    bench.apply(bots)
    old = {address: secret_of(bench.state, address, keyring=bench.keyring) for address in ("b/t", "b/c")}
    for address in old:
        bench.run(rotate(bench.store, address, keyring=bench.keyring, mint=bench.mint, now_ms=bench.now_ms))
    snapshot = snapshot_of(bench)
    until_ms = bench.now_ms + 3_600_000
    trigger, outgoing = snapshot.addresses["b/t"], snapshot.addresses["b/c"]
    assert isinstance(trigger, TriggerHook)
    new = secret_of(bench.state, "b/t", keyring=bench.keyring)
    assert trigger.digests == (
        (hashlib.sha256(new.encode()).digest(), None),
        (hashlib.sha256(old["b/t"].encode()).digest(), until_ms),
    )
    assert (outgoing.secrets.previous, outgoing.secrets.overlap_until_ms) == (old["b/c"], until_ms)
    assert {outgoing.secrets.current, old["b/c"]} <= set(outgoing.scrub)


def test_every_reference_that_cannot_be_resolved_refuses_the_snapshot(bench: Any) -> None:
    """All at once, at the place that wrote each, or at address and field where the files are not known."""
    bench.apply(BOTS)
    with pytest.raises(ConfigurationInvalid) as refused:
        snapshot_of(bench, {"P": "x", "OPS": "ö"})
    problems = {problem.place.file: problem.message for problem in refused.value.problems}
    assert set(problems) == {
        "support/crm custom_payload.headers.X-Token",
        "support/docs sync.http.headers.Authorization",
        "support/alerts secret",
    }
    assert "ö" not in "".join(problems.values())
    assert not any(message.startswith("support/") for message in problems.values()), "the place says it already"

    with pytest.raises(ConfigurationInvalid) as refused:
        snapshot_of(bench, {"P": "x", "OPS": "s"}, locate=lambda key, path: Place(f"{key.address}.yaml", 3))
    assert [str(problem.place.file) for problem in refused.value.problems] == [
        "support/crm.yaml",
        "support/docs.yaml",
    ]


def test_a_secret_that_does_not_open_refuses_the_snapshot(bench: Any) -> None:
    """Another key opens nothing."""
    bench.apply(BOTS)
    bench.keyring = Keyring([b"o" * 32], mint=bench.mint)
    with pytest.raises(StateUnreadable):
        snapshot_of(bench)
