"""No command but those two prints a secret; no file but the key gives one away."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOOKS = """\
version: 1
bots:
  b:
    data_sources: {d: {sync: {command: ["true"]}}}
    webhooks:
      t: {type: sync.trigger, data_source: d, enabled: true}
      h:
        type: conversation.started
        url: https://a.example.com/?key=${env:URL_KEY}
        enabled: true
      r: {type: conversation.claimed, url: "https://a.example.com/", secret: {env: OPS_SECRET}}
"""
CANARIES = {"URL_KEY": "canary-url-key", "OPS_SECRET": "canary-ops-secret"}


def test_secrets_stay_where_they_belong(reconcile: Callable[..., Any], tmp_path: Path) -> None:
    """Plans, lists, exports, dry runs, errors and the store's bytes hold no secret and no resolved reference."""
    key = base64.b64encode(b"canary key of thirty-two bytes!!").decode()
    environment = {**CANARIES, "RECONCILER_KEY": key}
    path = tmp_path / "hooks.yaml"
    path.write_text(HOOKS)
    assert reconcile("--yes", **environment).returncode == 0
    secrets = {reconcile("secret", address, **environment).stdout.strip() for address in ("b/t", "b/h")}
    url = reconcile("url", "b/t", **environment).stdout.strip()
    assert any(url.endswith(f"/{secret}") for secret in secrets)
    rotated = HOOKS.replace("type: sync.trigger", "type: sync.trigger, secret_version: 2")
    path.write_text(rotated + "      x: {type: nope}\n")
    commands = [
        ("validate",),
        ("--plan",),
        ("--plan", "--json"),
        ("hooks", "--json"),
        ("show", "b/h", "--json"),
        ("show", "b/r"),
        ("state", "export"),
        ("test", "b/h", "--dry-run"),
        ("test", "b/r", "--dry-run", "--json"),
        ("secret", "b/r"),
        ("url", "b/h"),
        ("status",),
        ("rotate", "b/t"),
        ("rotate", "b/r"),
        ("hooks",),
    ]

    printed = [reconcile(*command, **environment) for command in commands]
    path.write_text(rotated)
    printed += [
        reconcile(*command, **environment)
        for command in (("--plan", "--format", "markdown"), ("--plan", "--out", "plan.json"), ("--yes", "--json"))
    ]

    fresh = {reconcile("secret", address, **environment).stdout.strip() for address in ("b/t", "b/h")}
    canaries = [*CANARIES.values(), key, *secrets, *fresh, *(secret.removeprefix("whsec_") for secret in secrets)]
    for ended in printed:
        assert [canary for canary in canaries if canary in ended.stdout + ended.stderr] == [], ended.args
    for file in tmp_path.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        assert [canary for canary in canaries if canary.encode() in content] == [], file.name


def test_wrong_key_is_said_without_either_key(reconcile: Callable[..., Any], tmp_path: Path) -> None:
    """A key that is none, and one that does not fit: exit 64 and 66, and no message repeats it."""
    (tmp_path / "hooks.yaml").write_text(HOOKS)
    assert reconcile("--yes").returncode == 0
    other = base64.b64encode(b"another key, of thirty-two bytes").decode()

    malformed = reconcile("secret", "b/h", RECONCILER_KEY="canary-but-no-key")
    foreign = reconcile("secret", "b/h", RECONCILER_KEY=other)

    assert (malformed.returncode, foreign.returncode) == (64, 66)
    assert "canary-but-no-key" not in malformed.stderr
    assert other not in foreign.stderr
