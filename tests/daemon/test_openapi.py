"""The published description, taken at its word by a program that tries to prove it wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = 12
PATIENCE_S = 100
CHANGING = ("apply", "reload")
EVENT = {"event": "sync.failure", "bot": "b", "dataSource": "d", "reason": "r", "id": "e-1"}


@pytest.mark.parametrize("changing", [False, True])
def test_the_api_is_as_described(
    tmp_path: Path,
    receiver: Any,
    start_daemon: Callable[..., Any],
    reconcile: Callable[..., Any],
    *,
    changing: bool,
) -> None:
    """Whatever fits the description, and whatever does not: no 5xx, no undescribed answer, nothing let in unasked."""
    hooks = {
        "t": {"type": "sync.trigger", "data_source": "d", "enabled": True},
        "h": {"type": "sync.failure", "url": receiver.url, "enabled": True},
    }
    bots = {"b": {"data_sources": {"d": {"sync": {"command": ["true"]}}}, "webhooks": hooks}}
    (tmp_path / "hooks.yaml").write_text(json.dumps({"version": 1, "bots": bots}))
    daemon = start_daemon("-f", "hooks.yaml")
    daemon.post_event(EVENT)
    receiver.wait_for(1)
    delivery = json.loads(reconcile("deliveries", "--json").stdout)["items"][0]["id"]
    hook_id, secret = reconcile("url", "b/t").stdout.strip().rpartition("/hooks/")[2].split("/")
    known = {"bot": "b", "hook": "h", "id": delivery, "hookId": hook_id, "secret": secret}
    lines = [f'"path.{name}" = {json.dumps(value)}' for name, value in known.items()]
    # Triggers take methods that the description's language has no word for.
    any_method = '[[operations]]\ninclude-tag = "triggers"\nchecks.unsupported_method.enabled = false\n'
    (tmp_path / "schemathesis.toml").write_text("\n".join(["[parameters]", *lines, any_method]))

    ended = subprocess.run(
        [
            *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{daemon.url}/api/v1/openapi.json"),
            *("--header", f"Authorization: Bearer {daemon.token}", "--no-color", "--generation-deterministic"),
            *("--max-examples", str(EXAMPLES), "--phases", "examples,coverage,fuzzing"),
            # Not all that a schema lets pass is right: a cursor, an age, a file of YAML.
            *("--exclude-checks", "positive_data_acceptance"),
            *(
                part
                for name in CHANGING
                for part in ("--include-operation-id" if changing else "--exclude-operation-id", name)
            ),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        stdin=subprocess.DEVNULL,
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    with daemon.client as client:
        assert client.get("/readyz").status_code == 200
    assert daemon.stop() == 0
    log = "".join(daemon.raw_log)
    assert "Traceback" not in log
    assert [line for line in log.splitlines() if json.loads(line)["level"] in ("error", "critical")] == []
