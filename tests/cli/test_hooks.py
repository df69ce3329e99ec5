"""What is applied, shown to a person and to a script."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def test_hooks_are_listed_with_their_health(reconcile: Callable[..., Any], applied: Path) -> None:
    """A list has `items` and `next`; an item what scripts rely on, by address."""
    document = reconcile("hooks", "--json").json

    assert document["next"] is None
    assert [item["address"] for item in document["items"]] == ["support-bot/chats", "support-bot/published"]
    assert {"address", "type", "enabled", "health", "id", "fingerprint"} <= set(document["items"][0])
    lines = reconcile("hooks").out.splitlines()
    assert lines[0].split()[:3] == ["ADDRESS", "TYPE", "HEALTH"]
    assert lines[1].split()[:3] == ["support-bot/chats", "conversation.started", "idle"]


def test_help_says_where_a_breaker_and_a_pause_are_seen(reconcile: Callable[..., Any], folder: Path) -> None:
    """Both live in the daemon's memory, and these two commands read the store."""
    for command in ("hooks", "show"):
        said = " ".join(reconcile(command, "-h").out.split())
        assert "An open breaker, and a pause that a receiver asked for, the daemon alone knows" in said
        assert "`reconcile status`" in said


def test_nothing_applied_is_said_on_stderr(reconcile: Callable[..., Any], folder: Path) -> None:
    """An empty store lists nothing and makes nothing."""
    ended = reconcile("hooks")

    assert (ended.code, ended.out) == (0, "")
    assert "nothing is applied" in ended.err
    assert list(folder.iterdir()) == []


def test_show_tells_everything_but_the_secret(reconcile: Callable[..., Any], applied: Path) -> None:
    """The specification, the id, the fingerprint; the secret itself is nowhere."""
    secret = reconcile("secret", "support-bot/chats").out.strip()

    text, document = reconcile("show", "support-bot/chats").out, reconcile("show", "support-bot/chats", "--json").json

    assert document["spec"]["url"] == "https://crm.example.com/hooks/{{conversation.channelType}}"
    assert f"fp {document['fingerprint']}" in text
    assert "url: https://crm.example.com/hooks/{{conversation.channelType}}" in text
    assert secret.removeprefix("whsec_") not in text + str(document)


def test_unknown_address_exits_64_and_names_a_near_one(reconcile: Callable[..., Any], applied: Path) -> None:
    """Every command that takes an address says the same of one that is not there."""
    for command in ("show", "secret", "url", "rotate"):
        ended = reconcile(command, "support-bot/chat", "--json")
        assert ended.code == 64
        assert ended.json["error"]["code"] == "unknown-address"
        assert "support-bot/chats" in ended.json["error"]["message"]


def test_unknown_address_leaves_no_store_behind(reconcile: Callable[..., Any], folder: Path) -> None:
    """A mistyped address in the wrong folder creates nothing, not even with a command that writes."""
    for command in ("show", "secret", "url", "rotate"):
        assert reconcile(command, "a/b").code == 64

    assert list(folder.iterdir()) == []


def test_secret_prints_the_secret_and_nothing_else(reconcile: Callable[..., Any], applied: Path) -> None:
    """The output can be substituted into a command line as it is."""
    ended = reconcile("secret", "support-bot/chats")

    assert ended.out.startswith("whsec_")
    assert ended.out.count("\n") == 1
    assert ended.err == ""
    assert reconcile("secret", "support-bot/chats", "--json").json["secret"] == ended.out.strip()


def test_url_is_ready_to_share(reconcile: Callable[..., Any], applied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base comes from the flag, the environment or the default; id and secret follow it."""
    plain = reconcile("url", "support-bot/published").out.strip()
    assert plain.startswith("http://127.0.0.1:8080/api/public/hooks/")
    tail = plain.removeprefix("http://127.0.0.1:8080")

    monkeypatch.setenv("RECONCILER_PUBLIC_URL", "https://env.example.com/")
    assert reconcile("url", "support-bot/published").out.strip() == f"https://env.example.com{tail}"
    flag = reconcile("url", "support-bot/published", "--public-url", "https://flag.example.com")
    assert flag.out.strip() == f"https://flag.example.com{tail}"
    assert reconcile("url", "support-bot/chats").code == 64
    for wrong in (
        "hooks.example.com",
        "ftp://hooks.example.com",
        "https://",
        "https://a.example.com/?q=1",
        "https://a b",
    ):
        assert reconcile("url", "support-bot/published", "--public-url", wrong).code == 64


def test_rotation_changes_the_secret_and_the_next_plan_is_empty(reconcile: Callable[..., Any], applied: Path) -> None:
    """The id stays, the secret and the URL do not, and the configuration has nothing to say about it."""
    before = {command: reconcile(command, "support-bot/published").out for command in ("secret", "url")}

    ended = reconcile("rotate", "support-bot/published", "--json")

    after = {command: reconcile(command, "support-bot/published").out for command in ("secret", "url")}
    assert ended.json["serial"] == 2
    assert before["secret"] != after["secret"]
    assert before["url"].rpartition("/")[0] == after["url"].rpartition("/")[0]
    assert after["secret"].strip() not in ended.out + ended.err
    assert reconcile("--plan", "--detailed-exitcode").code == 0
    told = reconcile("rotate", "support-bot/published")
    assert "reconcile url support-bot/published" in told.err


def test_referenced_secret_is_neither_shown_nor_rotated(reconcile: Callable[..., Any], folder: Path) -> None:
    """It stands elsewhere, and that place is named."""
    (folder / "hooks.yaml").write_text(
        "version: 1\nbots:\n  b:\n    webhooks:\n      h:\n        type: conversation.started\n"
        "        url: https://a.example.com\n        secret: {env: OPS_SECRET}\n"
    )
    assert reconcile("--yes").code == 0

    for command in ("secret", "rotate"):
        ended = reconcile(command, "b/h")
        assert ended.code == 64, ended.err
        assert ended.out == ""
    assert "OPS_SECRET" in reconcile("secret", "b/h").err


def test_export_holds_no_secret_and_backup_is_a_store(reconcile: Callable[..., Any], applied: Path) -> None:
    """The export is canonical JSON with fingerprints; the copy opens with the same key and never overwrites."""
    secrets = [reconcile("secret", address).out.strip() for address in ("support-bot/chats", "support-bot/published")]

    export = reconcile("state", "export")
    copied = reconcile("state", "backup", "copy.db")

    assert export.json["serial"] == 1
    assert [secret for secret in secrets if secret in export.out] == []
    assert export.out == reconcile("state", "export", "--out", "s.json").out + (applied / "s.json").read_text()
    assert copied.code == 0, copied.err
    assert [item for item in (applied / "copy.db").read_bytes().split(b"\0") if secrets[0].encode() in item] == []
    key = ("--store", "sqlite:copy.db", "--key-file", "state/key")
    assert reconcile("secret", "support-bot/chats", *key).out.strip() == secrets[0]
    assert reconcile("state", "backup", "copy.db").code == 64


def test_what_is_no_file_is_written_to_and_not_replaced(reconcile: Callable[..., Any], applied: Path) -> None:
    """`--out /dev/stdout` and its like stay what they are, for root as well, who may replace them."""
    device = applied / "device"
    device.symlink_to("/dev/null")

    for command in (("state", "export"), ("--plan",)):
        assert reconcile(*command, "--out", "device").code == 0

    assert device.is_symlink()
    device.unlink()
    device.symlink_to("/dev/full")
    full = reconcile("state", "export", "--out", "device")
    assert (full.code, full.err) == (1, "error: device cannot be written: No space left on device\n")
    assert device.is_symlink()
    device.unlink()
    device.symlink_to("s.json")
    assert reconcile("state", "export", "--out", "device").code == 0
    assert device.is_symlink()
    assert (applied / "s.json").read_text() == reconcile("state", "export").out


def test_backup_without_a_store_makes_none(reconcile: Callable[..., Any], folder: Path) -> None:
    """There is nothing to copy, and nothing is created."""
    assert reconcile("state", "backup", "copy.db").code == 64
    assert list(folder.iterdir()) == []
