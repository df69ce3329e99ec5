"""The daemon follows its files and its store, however they change."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONVERSATION = {
    "event": "conversation.started",
    "timestamp": "2026-03-10T12:00:00.000Z",
    "conversation": {
        "id": "abc-123",
        "botId": "b",
        "channelType": "web",
        "createdAt": "2026-03-10T12:00:00.000Z",
    },
}


def hooks_yaml(url: str) -> str:
    """One bot with one enabled hook."""
    hook = {"type": "conversation.started", "url": url, "enabled": True}
    return json.dumps({"version": 1, "bots": {"b": {"webhooks": {"h": hook}}}})


def _edit(path: Path, text: str) -> None:
    path.write_text(text)


def _rename_over(path: Path, text: str) -> None:
    new = path.with_name(".hooks.yaml.swp")
    new.write_text(text)
    new.rename(path)


def _unlink_and_create(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("change", [_edit, _rename_over, _unlink_and_create])
def test_changed_file_takes_effect_however_it_is_written(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], change: Callable[[Path, str], None]
) -> None:
    """An edit in place, an editor's rename-over and a checkout's unlink-and-create are all seen."""
    folder = tmp_path / "hooks"
    folder.mkdir()
    (folder / "hooks.yaml").write_text(hooks_yaml(receiver.url + "/old"))
    daemon = start_daemon("-f", "hooks")

    change(folder / "hooks.yaml", hooks_yaml(receiver.url + "/new"))

    daemon.wait_for_log("snapshot.swapped", serial=2)
    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(1)[0].path == "/new"


def test_symlink_swap_takes_effect_as_a_mounted_configmap_does_it(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """The `..data` link of a ConfigMap volume moves to another folder; the daemon follows it."""
    folder = tmp_path / "hooks"
    for version in ("old", "new"):
        (folder / f"..{version}").mkdir(parents=True)
        (folder / f"..{version}" / "hooks.yaml").write_text(hooks_yaml(f"{receiver.url}/{version}"))
    (folder / "..data").symlink_to("..old")
    (folder / "hooks.yaml").symlink_to("..data/hooks.yaml")
    daemon = start_daemon("-f", "hooks")

    (folder / "..tmp").symlink_to("..new")
    (folder / "..tmp").replace(folder / "..data")

    daemon.wait_for_log("snapshot.swapped", serial=2)
    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(1)[0].path == "/new"


def test_invalid_file_changes_nothing_until_it_is_mended(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Deliveries go on from the last good configuration while the file is broken, and the mended one is taken."""
    path = tmp_path / "hooks.yaml"
    path.write_text(hooks_yaml(receiver.url + "/old"))
    daemon = start_daemon("-f", "hooks.yaml")

    for broken in ("bots: [", "[" * 50_000, "version: 1\nbots: {b: {webhooks: {h: {type: nonsense}}}}\n", "\x00"):
        path.write_text(broken)
        problem = daemon.wait_for_log("files.problem")
        assert problem["file"].endswith("hooks.yaml")
        assert problem["line"] >= 1
    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(1)[0].path == "/old"
    with daemon.client as client:
        assert client.post("/-/reload").status_code == 422
        path.write_text(hooks_yaml(receiver.url + "/new"))
        assert client.post("/-/reload").status_code == 200

    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(2)[1].path == "/new"


def test_reload_reports_success_when_a_broken_file_is_put_back_as_it_was(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """Undoing the mistake clears the report although nothing needs to be applied."""
    path = tmp_path / "hooks.yaml"
    good = hooks_yaml(receiver.url)
    path.write_text(good)
    daemon = start_daemon("-f", "hooks.yaml")
    path.write_text("bots: [")
    daemon.wait_for_log("files.problem")

    path.write_text(good)

    daemon.wait_for_log("files.looked-at", outcome="current")


def test_another_process_applies_and_the_daemon_serves_it(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """A daemon without files follows the store: a command's apply takes effect by itself."""
    daemon = start_daemon()
    assert daemon.post_event(CONVERSATION).json()["events"][0]["unmatched"]
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))

    applied = reconcile("-f", "hooks.yaml", "--yes")

    assert applied.returncode == 0, applied.stderr
    daemon.wait_for_log("snapshot.swapped", serial=1)
    assert daemon.post_event(CONVERSATION).json()["events"][0]["deliveries"] == 1
    receiver.wait_for(1)


def test_old_checkout_reverts_nothing_when_the_daemon_restarts(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """Files that were acted on before and have not changed since are not applied over what CI applied later."""
    path = tmp_path / "hooks.yaml"
    path.write_text(hooks_yaml(receiver.url + "/old"))
    daemon = start_daemon("-f", "hooks.yaml")
    (tmp_path / "ci.yaml").write_text(hooks_yaml(receiver.url + "/ci"))
    assert reconcile("-f", "ci.yaml", "--yes").returncode == 0
    daemon.wait_for_log("snapshot.swapped", serial=2)
    daemon.stop()

    daemon = start_daemon("-f", "hooks.yaml")

    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(1)[0].path == "/ci"


def test_unresolved_reference_keeps_the_last_good_configuration(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A reference to a variable that is not set refuses the new files, naming the place."""
    path = tmp_path / "hooks.yaml"
    path.write_text(hooks_yaml(receiver.url + "/old"))
    daemon = start_daemon("-f", "hooks.yaml")

    path.write_text(hooks_yaml(receiver.url + "/${env:NOT_SET_ANYWHERE}"))

    problem = daemon.wait_for_log("files.problem")
    assert "NOT_SET_ANYWHERE" in problem["message"]
    daemon.post_event(CONVERSATION)
    assert receiver.wait_for(1)[0].path == "/old"


def test_changed_source_of_a_reference_takes_effect_when_a_reload_is_asked_for(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A secret changed at its source is in force after a reload, which changes nothing while it is missing."""
    source = tmp_path / "secret"
    source.write_text("the-first-secret\n")
    hook = {"type": "conversation.started", "url": receiver.url, "enabled": True, "secret": {"file": "secret"}}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": {"b": {"webhooks": {"h": hook}}}}))
    daemon = start_daemon("-f", "hooks.yaml")
    keys = []

    with daemon.client as client:
        generation = client.post("/-/reload").json()["generation"]
        source.unlink()
        refused = client.post("/-/reload")
        daemon.post_event(CONVERSATION)
        keys.append(receiver.wait_for(1)[0].headers["x-secret-key"])
        source.write_text("the-second-secret\n")
        reloaded = client.post("/-/reload")
        daemon.post_event(CONVERSATION)
        keys.append(receiver.wait_for(2)[1].headers["x-secret-key"])
        again = client.post("/-/reload")

    assert refused.status_code == 422
    assert refused.json()["problems"][0]["code"] == "reference-unresolved"
    assert refused.json()["problems"][0]["line"] == 1
    assert keys == ["the-first-secret", "the-second-secret"]
    assert reloaded.json()["generation"] == again.json()["generation"] == generation + 1


def test_cold_start_exits_65_when_the_files_are_invalid(tmp_path: Path, start_daemon: Callable[..., Any]) -> None:
    """With nothing applied yet there is no last good configuration to serve."""
    (tmp_path / "hooks.yaml").write_text("version: 1\nbotz: {}\n")

    daemon = start_daemon("-f", "hooks.yaml", ready=False)

    assert daemon.process.wait(timeout=20) == 65


def test_second_daemon_is_refused_while_the_first_serves(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """One SQLite store has one daemon; the second ends with exit code 5."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    first = start_daemon("-f", "hooks.yaml")

    second = start_daemon("-f", "hooks.yaml", ready=False)

    assert second.process.wait(timeout=20) == 5
    assert first.post_event(CONVERSATION).status_code == 202


def test_open_binding_is_refused_without_a_configured_token(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]
) -> None:
    """A token nobody chose does not guard a port that others can reach."""
    daemon = start_daemon("--host", "0.0.0.0", ready=False)

    assert daemon.process.wait(timeout=20) == 64


def test_first_signal_drains_and_ends_with_0(tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any]) -> None:
    """SIGTERM lets what is in flight finish."""
    (tmp_path / "hooks.yaml").write_text(hooks_yaml(receiver.url))
    daemon = start_daemon("-f", "hooks.yaml")
    daemon.post_event(CONVERSATION)
    receiver.wait_for(1)

    assert daemon.stop(signal.SIGTERM) == 0


def test_guarded_deletion_waits_until_it_is_approved_as_the_status_says(
    tmp_path: Path, receiver: Any, start_daemon: Callable[..., Any], reconcile: Callable[..., Any]
) -> None:
    """A protected webhook that vanishes from the files stays in force; the command in the status lets it go."""
    document = json.loads(hooks_yaml(receiver.url))
    document["bots"]["b"]["webhooks"]["h"]["protected"] = True
    path = tmp_path / "hooks.yaml"
    path.write_text(json.dumps(document))
    daemon = start_daemon("-f", "hooks.yaml")
    with daemon.client as client:
        assert client.get("/api/v1/status").json()["waiting_for_approval"] is None

        document["bots"]["b"]["webhooks"] = {}
        path.write_text(json.dumps(document))

        daemon.wait_for_log("files.looked-at", outcome="waiting")
        waiting = client.get("/api/v1/status").json()["waiting_for_approval"]
        assert waiting["changes"] == [{"action": "delete", "kind": "webhook", "address": "b/h"}]
        assert [guard["code"] for guard in waiting["guards"]] == ["protected"]
        assert waiting["command"] == "reconcile -f hooks.yaml --allow-delete b/h"
        daemon.post_event(CONVERSATION)
        receiver.wait_for(1)

        command = shlex.split(waiting["command"])[1:]
        approved = reconcile(*command, "--yes")

        assert approved.returncode == 0, approved.stderr
        daemon.wait_for_log("snapshot.swapped", serial=2)
        daemon.wait_for_log("files.looked-at", outcome="applied")
        assert client.get("/api/v1/status").json()["waiting_for_approval"] is None
