"""The commands that talk to a daemon: what they ask it, and what they make of its answers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.cli import emit
from reconciler.cli.client import Client
from reconciler.model.signature import verify_legacy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVENT = b'{"event": "conversation.started"}'
TRIAL = {
    "address": "b/h",
    "delivery_id": "d-1",
    "success": True,
    "method": "POST",
    "url": "https://a.example.com/",
    "status": 200,
    "error": None,
    "message": "",
    "headers": [["X-A", "1"]],
    "body": "fine",
    "duration_ms": 12,
    "unresolved": ["{{conversation.nope}}"],
}


def accepted(*ids: str, duplicate: bool = False) -> tuple[int, dict[str, Any]]:
    """The daemon's answer to events that it took."""
    events = [{"id": name, "duplicate": duplicate, "deliveries": 2} for name in ids]
    return 202, {"accepted": len(ids), "duplicates": len(ids) if duplicate else 0, "events": events}


def refused(*pointers: str) -> tuple[int, dict[str, Any]]:
    """The daemon's answer to a batch with mistakes at these places."""
    problems = [{"pointer": pointer, "code": "required", "message": "is required"} for pointer in pointers]
    return 422, {"status": 422, "code": "invalid", "detail": "invalid events", "problems": problems}


# -- every one of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["emit", "missing.json"], ["test", "b/h", "--event", "missing.json"]])
def test_missing_file_of_events_is_a_mistake_of_the_caller(
    reconcile: Callable[..., Any], daemon: Any, folder: Path, arguments: list[str]
) -> None:
    """Exit 64, as for every other file that is named and not there."""
    ended = reconcile(*arguments, "--json")

    assert ended.code == 64
    assert "'missing.json' cannot be read: No such file or directory" in ended.err
    assert json.loads(ended.out)["error"]["exit"] == 64


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["emit", "-"], ["test", "b/h"], ["retry", "d-1"], ["retry", "--hook", "b/h", "--yes"]],
    ids=lambda arguments: arguments[0],
)
def test_unreachable_daemon_exits_69(reconcile: Callable[..., Any], folder: Path, arguments: list[str]) -> None:
    """No daemon there: the message says how to start one or where to look; JSON says the same."""
    server = ("--server", "http://127.0.0.1:1")

    text = reconcile(*arguments, *server, given=EVENT)
    structured = reconcile(*arguments, *server, "--json", given=EVENT)

    assert (text.code, structured.code) == (69, 69)
    assert "reconcile serve" in text.err
    assert structured.json["error"]["code"] == "daemon-unreachable"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("answer", [(200, b"<html>hello</html>"), (404, b"not here"), (502, b"")])
def test_stranger_at_the_address_exits_69(reconcile: Callable[..., Any], daemon: Any, answer: Any) -> None:
    """Whatever answers there is no daemon of ours."""
    daemon.answers = [answer]

    ended = reconcile("status")

    assert ended.code == 69
    assert "no daemon of ours" in ended.err


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (401, "unauthorized", 64),
        (403, "forbidden", 64),
        (404, "unknown-address", 64),
        (409, "plan-stale", 4),
        (409, "guard-refused", 6),
        (422, "usage", 64),
        (422, "configuration-invalid", 65),
        (500, "state-unreadable", 66),
        (500, "internal", 1),
    ],
)
def test_refusal_by_the_daemon_keeps_its_exit_code(
    reconcile: Callable[..., Any], daemon: Any, status: int, code: str, exit_code: int
) -> None:
    """What the daemon calls an error ends as the same error would here."""
    daemon.answers = [(status, {"status": status, "code": code, "detail": "no, because", "problems": []})]

    assert reconcile("status").code == exit_code


def test_token_comes_from_the_environment_and_is_never_printed(
    reconcile: Callable[..., Any], daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request carries it; no message does, not even the one about a wrong one."""
    daemon.answers = [(401, {"detail": "no"}), (200, {})]

    wrong = reconcile("status")

    assert "RECONCILER_TOKEN" in wrong.err
    assert "canary-token" not in wrong.err + wrong.out
    monkeypatch.delenv("RECONCILER_TOKEN")
    assert reconcile("status").code == 0
    assert "authorization" not in daemon.asked[1][2]


def test_token_of_the_embedded_daemon_is_read_beside_the_database(
    reconcile: Callable[..., Any], daemon: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a variable the file `token` serves, for a daemon on this machine only."""
    monkeypatch.delenv("RECONCILER_TOKEN")
    (folder / "state").mkdir()
    (folder / "state" / "token").write_text("from-the-file\n")
    daemon.answers = [(200, {})]

    reconcile("status")

    assert daemon.asked[0][2]["authorization"] == "Bearer from-the-file"
    with Client("https://hooks.example.com", store="sqlite:state/reconciler.db") as client:
        assert "authorization" not in client._client.headers


def test_credentials_in_the_address_are_not_printed(reconcile: Callable[..., Any], folder: Path) -> None:
    """A password in `--server` shows in no message."""
    ended = reconcile("status", "--server", "http://user:canary@127.0.0.1:1")

    assert ended.code == 69
    assert "canary" not in ended.err


def test_hostile_answer_cannot_reach_the_terminal(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Escape sequences in what a receiver said are taken out."""
    daemon.answers = [(200, {**TRIAL, "body": "\x1b]0;owned\x07hi\x1b[2J", "headers": [["X-\x1b[1mA", "\x9b31m1"]]})]

    ended = reconcile("test", "b/h")

    assert "\x1b" not in ended.out
    assert "\x9b" not in ended.out
    assert "X-A: 1" in ended.out
    assert ended.out.endswith("\nhi\n")


def test_trigger_that_is_tested_is_named_without_its_url(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Its URL holds its secret, so the daemon does not tell it; the first line says what was called."""
    daemon.answers = [(200, {**TRIAL, "url": None})]

    ended = reconcile("test", "b/t")

    assert ended.out.splitlines()[0] == f"{TRIAL['method']} the trigger URL of b/t"


# -- emit ------------------------------------------------------------------------------------------------------


def test_one_event_is_posted_as_it_is(reconcile: Callable[..., Any], daemon: Any, folder: Path) -> None:
    """A file with an object becomes one post of that object; the answer is counted."""
    (folder / "e.json").write_bytes(EVENT)
    daemon.answers = [accepted("e-1")] * 2

    text = reconcile("emit", "e.json")
    structured = reconcile("emit", "e.json", "--json")

    assert (text.code, text.out) == (0, "1 event accepted, 2 deliveries.\n")
    assert structured.json["events"][0]["id"] == "e-1"
    method, path, headers, body = daemon.asked[0]
    assert (method, path, body) == ("POST", "/api/v1/events", json.loads(EVENT))
    assert headers["content-type"] == "application/json"


def test_long_input_goes_in_batches(reconcile: Callable[..., Any], daemon: Any) -> None:
    """2,500 lines are three posts of at most 1,000 events."""
    daemon.answers = [accepted(*(str(n) for n in range(size))) for size in (1000, 1000, 500)]

    ended = reconcile("emit", "-", given=(EVENT + b"\n") * 2500)

    assert (ended.code, ended.out) == (0, "2,500 events accepted, 5,000 deliveries.\n")
    assert [len(body) for *_, body in daemon.asked] == [1000, 1000, 500]


def test_refused_array_is_refused_whole_and_exits_1(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Nothing of an array is accepted if one event is wrong; the problem names the event."""
    daemon.answers = [refused("/1/conversation/id")] * 2
    given = b"[" + EVENT + b"," + EVENT + b"]"

    text = reconcile("emit", "-", given=given)
    structured = reconcile("emit", "-", "--json", given=given)

    assert text.code == 1
    assert "event 1 /conversation/id: is required" in text.err
    assert structured.json["error"] == {"code": "events-refused", "exit": 1, "message": "2 events refused"}
    assert structured.json["problems"][0]["event"] == "event 1"


def test_good_lines_pass_beside_bad_ones_and_exit_is_3(reconcile: Callable[..., Any], daemon: Any) -> None:
    """JSON lines are independent: those that are refused are named, the others are posted again without them."""
    daemon.answers = [refused("/1/event", "/3"), accepted("a", "b")]

    ended = reconcile("emit", "-", given=(EVENT + b"\n") * 4)

    assert ended.code == 3
    assert "2 events accepted" in ended.out
    assert "line 2 /event: is required" in ended.err
    assert "line 4: is required" in ended.err
    assert len(daemon.asked[1][3]) == 2


UNAVAILABLE = (503, {"status": 503, "code": "store-unavailable", "detail": "nothing was stored; try again"})


def test_full_store_is_met_with_patience(reconcile: Callable[..., Any], daemon: Any) -> None:
    """A 503 stored nothing, so the same batch is posted again, byte for byte."""
    daemon.answers = [UNAVAILABLE, accepted("a")]

    ended = reconcile("emit", "-", given=EVENT)

    assert (ended.code, ended.err) == (0, "")
    assert daemon.asked[0][3] == daemon.asked[1][3] == json.loads(EVENT)


def test_patience_ends(reconcile: Callable[..., Any], daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that stays full is an error: 1 when nothing was accepted, 3 when something was."""
    monkeypatch.setattr(emit, "_WAITS_S", (0.0,))
    daemon.answers = [UNAVAILABLE] * 2
    assert reconcile("emit", "-", "--json", given=EVENT).json["error"]["code"] == "store-unavailable"

    daemon.answers = [accepted(*(str(n) for n in range(1000))), UNAVAILABLE, UNAVAILABLE]
    ended = reconcile("emit", "-", "--json", given=(EVENT + b"\n") * 1001)

    assert (ended.code, ended.json["accepted"], ended.json["error"]["exit"]) == (3, 1000, 3)


def test_input_that_breaks_off_keeps_what_was_accepted(reconcile: Callable[..., Any], daemon: Any) -> None:
    """A line that is not JSON after 1,000 good ones: those are in, exit 3 says so."""
    daemon.answers = [accepted(*(str(n) for n in range(1000)))]

    ended = reconcile("emit", "-", given=(EVENT + b"\n") * 1001 + b"nonsense\n")

    assert ended.code == 3
    assert "1,000 events accepted" in ended.out
    assert "line 1002 is not JSON" in ended.err


def test_duplicates_and_strangers_are_told(reconcile: Callable[..., Any], daemon: Any) -> None:
    """A repeated event delivers nothing again; an unknown bot is no error, but is said."""
    duplicate = accepted("a", duplicate=True)
    duplicate[1]["events"][0]["unmatched"] = "bot"
    daemon.answers = [duplicate]

    ended = reconcile("emit", "-", given=EVENT)

    assert ended.code == 0
    assert "1 of them a duplicate, 0 deliveries" in ended.out
    assert "not configured" in ended.err


# -- test ------------------------------------------------------------------------------------------------------


def test_trial_shows_the_answer_and_what_did_not_resolve(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Status, time, headers and body on stdout; unresolved tokens as warnings; 2xx exits 0."""
    daemon.answers = [(200, TRIAL)]

    ended = reconcile("test", "b/h")

    assert ended.code == 0
    assert "answered 200 after 12 ms\nX-A: 1\n\nfine\n" in ended.out
    assert "{{conversation.nope}} does not resolve" in ended.err
    assert daemon.asked[0][:2] == ("POST", "/api/v1/hooks/b/h/test")


def test_failed_trial_exits_1(reconcile: Callable[..., Any], daemon: Any) -> None:
    """No answer, or one that is not 2xx, is a test that failed."""
    silent = {
        **TRIAL,
        "success": False,
        "status": None,
        "error": "timeout",
        "message": "10 s",
        "headers": [],
        "body": "",
    }
    daemon.answers = [(200, silent), (200, {**TRIAL, "success": False, "status": 500})]

    first, second = reconcile("test", "b/h"), reconcile("test", "b/h", "--json")

    assert (first.code, second.code) == (1, 1)
    assert "no answer after 12 ms: timeout: 10 s" in first.out
    assert second.json["status"] == 500


def test_own_event_goes_along(reconcile: Callable[..., Any], daemon: Any, folder: Path) -> None:
    """`--event` posts that event; what is not one JSON object is refused here."""
    (folder / "e.json").write_bytes(EVENT)
    daemon.answers = [(200, TRIAL)]

    assert reconcile("test", "b/h", "--event", "e.json").code == 0
    assert daemon.asked[0][3] == json.loads(EVENT)
    (folder / "e.json").write_bytes(b"[]")
    assert reconcile("test", "b/h", "--event", "e.json").code == 64


def test_dry_run_renders_and_signs_without_a_daemon(
    reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is complete and verifies, but shows no secret and no resolved reference."""
    hooks = (applied / "hooks.yaml").read_text()
    custom = (
        "        custom_payload:\n          enabled: true\n"
        '          headers: {Authorization: "Bearer ${env:CRM_TOKEN}"}\n'
        '          body: \'{"bot": "{{conversation.botName}}", "typo": "{{conversation.userData.emial}}"}\'\n'
    )
    (applied / "hooks.yaml").write_text(hooks + custom)
    assert reconcile("--yes").code == 0
    monkeypatch.setenv("CRM_TOKEN", "canary-crm-token")
    secret = reconcile("secret", "support-bot/chats").out.strip()

    ended = reconcile("test", "support-bot/chats", "--dry-run", "--json")

    request, headers = ended.json, dict(ended.json["headers"])
    assert ended.code == 0
    assert request["url"] == "https://crm.example.com/hooks/web"
    assert json.loads(request["body"])["bot"] == "My Bot"
    assert request["unresolved"]
    assert headers["X-ChatThing-Test"] == "true"
    assert verify_legacy(request["body"].encode(), headers["X-ChatThing-Signature"], secret)
    text = reconcile("test", "support-bot/chats", "--dry-run")
    for printed in (ended.out, text.out, text.err):
        assert secret not in printed
        assert "canary-crm-token" not in printed
    assert "emial" in text.err


def test_dry_run_needs_only_the_references_of_its_own_webhook(reconcile: Callable[..., Any], applied: Path) -> None:
    """Another webhook's missing variable is no obstacle; its own is a problem, exit 65; a trigger has no request."""
    more = "      other: {type: conversation.started, url: 'https://a.example.com/${env:NOT_SET}'}\n"
    (applied / "hooks.yaml").write_text((applied / "hooks.yaml").read_text() + more)
    assert reconcile("--yes").code == 0

    assert reconcile("test", "support-bot/chats", "--dry-run").code == 0
    assert reconcile("test", "support-bot/other", "--dry-run").code == 65
    assert reconcile("test", "support-bot/published", "--dry-run").code == 64


# -- retry -----------------------------------------------------------------------------------------------------


def counts(matched: int, retried: int) -> tuple[int, dict[str, Any]]:
    """The daemon's answer to a retry, or (none retried) to a dry run of it."""
    return 200, {"matched": matched, "retried": retried, "remaining": matched - retried, "dry_run": not retried}


def test_one_delivery_is_retried_by_id(reconcile: Callable[..., Any], daemon: Any) -> None:
    """No question is asked about one; its id is quoted into the path."""
    daemon.answers = [counts(1, 1), counts(1, 1)]

    assert reconcile("retry", "d-1").out == "1 delivery will be delivered again.\n"
    reconcile("retry", "d/../1")
    assert [path for _, path, *_ in daemon.asked] == [
        "/api/v1/deliveries/d-1/retry",
        "/api/v1/deliveries/d%2F..%2F1/retry",
    ]


def test_many_are_counted_first_and_asked_about(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Without a terminal and `--yes` only the count is asked for: exit 64."""
    daemon.answers = [counts(3, 0)]

    ended = reconcile("retry", "--hook", "b/h", "--since", "24h")

    assert ended.code == 64
    assert "3 deliveries match" in ended.err
    ((_, path, _, body),) = daemon.asked
    assert path == "/api/v1/deliveries/retry"
    assert body["dry_run"] is True
    assert body["hook"] == "b/h"
    assert body["since"].endswith("Z"), "an age must mean the same moment in every request"


def test_many_are_put_back_in_batches(reconcile: Callable[..., Any], daemon: Any) -> None:
    """What was counted is the bound: nothing that fails again at once is put back twice."""
    daemon.answers = [counts(1200, 0), counts(1200, 500), counts(900, 500), counts(700, 200)]

    ended = reconcile("retry", "--status", "refused", "--status", "expired", "--yes", "--json")

    assert (ended.code, ended.json) == (
        0,
        {"matched": 1200, "retried": 1200, "remaining": 0, "held_back": []},
    )
    assert [body.get("limit") for *_, body in daemon.asked] == [None, 500, 500, 200]
    assert daemon.asked[1][3]["status"] == ["refused", "expired"]


def test_a_retry_that_will_wait_says_for_what(reconcile: Callable[..., Any], daemon: Any) -> None:
    """An open breaker, a pause, a 410 and a disabled webhook are named once each, with what helps."""
    shut = {"hook": "b/shut", "reason": "breaker-open", "until": "2026-03-10T12:05:00.000Z"}
    gone, off = ({"hook": f"b/{reason}", "reason": reason, "until": None} for reason in ("gone", "disabled"))

    def answer(matched: int, *held_back: Any) -> tuple[int, dict[str, Any]]:
        status, body = counts(matched, min(matched, 500))
        return status, {**body, "held_back": held_back}

    daemon.answers = [answer(1, shut)]
    said = reconcile("retry", "d-1")
    assert said.out == "1 delivery will be delivered again.\n"
    assert "b/shut: its breaker is open, nothing is sent before 2026-03-10T12:05:00.000Z" in said.err
    assert "`reconcile test b/shut`" in said.err

    daemon.answers = [answer(1, {**shut, "hook": "b/busy", "reason": "retry-after"})]
    said = reconcile("retry", "d-1")
    assert "b/busy: its receiver asked to be left alone, nothing is sent before 2026-03-10T12:05:00.000Z" in said.err
    assert "`reconcile test b/busy`" in said.err

    daemon.answers = [counts(1000, 0), answer(1000, shut, gone), answer(500, shut, off)]
    said = reconcile("retry", "--error", "timeout", "--yes")
    assert [said.err.count(one) for one in ("b/shut: ", "b/gone: ", "b/disabled: ")] == [1, 1, 1]

    many = [{**off, "hook": f"b/{number}"} for number in range(12)]
    daemon.answers = [counts(12, 0), answer(12, *many), counts(12, 0), answer(12, *many)]
    assert "and 2 more webhooks" in reconcile("retry", "--error", "timeout", "--yes").err
    assert reconcile("retry", "--error", "timeout", "--yes", "--json").json["held_back"] == many


def test_partly_done_retry_exits_3(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Deliveries of deleted webhooks cannot come again; some of ten is 3, none is 1, none asked for is 0."""
    daemon.answers = [counts(10, 0), counts(10, 6), counts(4, 0)]
    assert reconcile("retry", "--hook", "b/h", "--yes").code == 3
    daemon.answers = [counts(10, 0), counts(10, 0)]
    assert reconcile("retry", "--hook", "b/h", "--yes").code == 1
    daemon.answers = [counts(0, 0)]
    assert reconcile("retry", "--hook", "b/h").code == 0


def test_an_interrupted_retry_says_how_to_go_on(reconcile: Callable[..., Any], daemon: Any) -> None:
    """A daemon that goes away in the middle leaves a part done: exit 3, and the moment that a new run starts from."""
    daemon.answers = [counts(1200, 0), counts(1200, 500), (503, {"detail": "nothing was stored", "code": "x"})]

    ended = reconcile("retry", "--error", "http-503", "--yes", "--json")

    assert (ended.code, ended.json) == (3, {"matched": 1200, "retried": 500, "remaining": 700, "held_back": []})
    started = daemon.asked[1][3]["ended_before"]
    assert f"--ended-before {started}" in ended.err
    assert {body["ended_before"] for *_, body in daemon.asked} == {started}
    assert daemon.asked[0][3]["error"] == "http-503"
    daemon.answers = [counts(700, 0), counts(700, 500), counts(200, 200)]
    again = reconcile("retry", "--error", "http-503", "--ended-before", started, "--yes", "--json")
    assert (again.code, again.json["retried"]) == (0, 700)
    assert daemon.asked[-1][3]["ended_before"] == started


def test_a_class_of_errors_is_one_that_there_is(reconcile: Callable[..., Any], daemon: Any) -> None:
    """A typo would match nothing, and look as if nothing had failed."""
    assert reconcile("retry", "--error", "timeouts", "--yes").code == 64
    assert reconcile("retry", "--error", "http-5xx", "--yes").code == 64
    assert daemon.asked == []


# -- status ----------------------------------------------------------------------------------------------------


def test_status_is_for_people_and_for_scripts(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Text says what waits for approval and how to approve; JSON is what the daemon said."""
    document = {
        "generation": 3,
        "serial": 7,
        "queue": {"pending": 5, "oldest_waiting_ms": 90_500},
        "workers": {"in_flight": 1},
        "waiting_for_approval": {
            "summary": {"delete": 2, "unchanged": 9},
            "guards": [{"code": "protected", "address": "b/h", "message": "it is protected", "allow": "--x"}],
            "config_digest": "x",
            "changes": [{"action": "delete", "kind": "webhook", "address": "b/h"}],
            "command": "reconcile -f 'my hooks' --allow-delete b/h",
        },
        "problem": None,
    }
    daemon.answers = [(200, document)] * 3

    text = reconcile("status")

    assert reconcile("status", "--json").json == document
    assert "serving  generation 3, serial 7\n" in text.out
    assert "queue    5 pending, 0 sending, the oldest overdue by 1m 30s\n" in text.out
    assert "workers  1 in flight\n" in text.out
    assert text.out.endswith(
        "\nwaiting for approval: 2 to delete\n"
        "  delete webhook b/h\n"
        "  guard b/h: it is protected\n"
        "  approve with: reconcile -f 'my hooks' --allow-delete b/h\n"
    )
    elsewhere = reconcile("status", "--store", "sqlite:other.db")
    assert elsewhere.out.endswith("--allow-delete b/h --store sqlite:other.db\n")


def test_status_says_what_is_not_well_and_what_helps(reconcile: Callable[..., Any], daemon: Any) -> None:
    """Webhooks that are gone or failing, problems of the files, a state that cannot be served; nothing else."""
    document = {
        "version": "1.2.3",
        "uptime_ms": 183_900_000,
        "generation": 3,
        "serial": 7,
        "queue": {
            "pending": 0,
            "sending": 1,
            "delivered": 1_200,
            "exhausted": 2,
            "refused": 0,
            "oldest_waiting_ms": 0,
        },
        "workers": {"in_flight": 0},
        "syncs": {"waiting": 0, "running": 0},
        "hooks": {
            "outgoing": 40,
            "triggers": 1,
            "gone": 1,
            "health": {"healthy": 37, "gone": 1, "failing": 3},
            "attention": [
                {"address": "b/left", "health": "gone", "since": "2026-01-02T03:04:05.000Z", "waiting": 12},
                {"address": "b/poorly", "health": "failing", "since": None, "waiting": 0, "paused_until": None},
                {
                    "address": "b/busy",
                    "health": "healthy",
                    "since": None,
                    "waiting": 3,
                    "paused_until": "2026-03-10T12:05:00.000Z",
                },
            ],
            "attention_count": 5,
        },
        "files": {
            "outcome": "invalid",
            "message": "the configuration has 1 problem",
            "problems": [
                {
                    "file": "h.yaml",
                    "line": 3,
                    "column": 5,
                    "severity": "error",
                    "code": "type",
                    "message": "no\x1b[2J",
                }
            ],
        },
        "problem": "${env:X} is not set",
        "store": {
            "backend": "sqlite",
            "file_bytes": 3_000_000,
            "wal_bytes": 2048,
            "trouble": "the store cannot be written",
        },
    }
    daemon.answers = [(200, document), (200, {**document, "hooks": {}, "files": {}, "problem": None})]

    told = reconcile("status")

    lines = told.out.splitlines()
    assert lines[0].endswith(", version 1.2.3, up 2d 3h")
    assert lines[1:] == [
        "serving   generation 3, serial 7",
        "files     invalid, the configuration has 1 problem",
        "queue     0 pending, 1 sending",
        "kept      1,200 delivered, 2 exhausted",
        "workers   idle",
        "syncs     idle",
        "webhooks  40 outgoing, 1 trigger, 37 healthy, 1 gone, 3 failing",
        "store     sqlite, 3 MiB, 2 KiB of log not yet in it",
        "",
        "not well:",
        (
            "  b/left    gone since 2026-01-02T03:04:05.000Z, 12 waiting;"
            " change its url, or try it again: reconcile test b/left"
        ),
        "  b/poorly  failing; see: reconcile deliveries --hook b/poorly",
        (
            "  b/busy    healthy, 3 waiting; asked to be left alone until 2026-03-10T12:05:00.000Z;"
            " clears by itself, or by a good reconcile test b/busy"
        ),
        "  and 2 more: reconcile hooks",
        "",
        "problems of the files, which change nothing until they are mended:",
        "  h.yaml:3:5: error[type]: no",
    ]
    assert "${env:X} is not set" in told.err
    assert "warning: the store cannot be written: events and triggers are answered 503" in told.err
    assert "not well" not in reconcile("status").out
