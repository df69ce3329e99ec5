"""`serve` hands the daemon exactly what it was told."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from reconciler.cli.options import DEFAULT_STORE
from reconciler.daemon.options import ServeOptions
from reconciler.store import connect

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServeOptions]:
    """What the daemon is started with; it ends at once."""
    options: list[ServeOptions] = []

    def serve(given: ServeOptions) -> int:
        options.append(given)
        return 0

    monkeypatch.setitem(sys.modules, "reconciler.daemon.serve", types.SimpleNamespace(serve=serve))
    return options


def test_defaults_are_the_daemons_own(reconcile: Callable[..., Any], served: list[ServeOptions]) -> None:
    """Without options the command adds nothing: the store only is followed."""
    assert reconcile("serve").code == 0
    assert served == [ServeOptions()]


def test_commands_daemon_and_store_agree_on_the_default_store() -> None:
    """Named in three places, because two of them must not be imported just for a name."""
    assert DEFAULT_STORE == connect.DEFAULT_STORE == ServeOptions().store


def test_every_option_arrives(reconcile: Callable[..., Any], served: list[ServeOptions]) -> None:
    """Names, durations and repeated options become the daemon's settings."""
    ended = reconcile(
        *("serve", "-f", "a.yaml", "-f", "hooks", "--host", "::1", "--port", "0", "--on-change", "plan"),
        *("--allow-target", "127.0.0.0/8", "--allow-target", "fd00::/8", "--retention", "12h"),
        *("--retention-count", "5", "--retention-parked", "90s", "--grace", "2s", "--log-level", "debug"),
        *(
            "--log-format",
            "json",
            "--store",
            "sqlite:x.db",
            "--key-file",
            "k",
            "--public-url",
            "https://h.example.com",
        ),
    )

    assert ended.code == 0, ended.err
    assert served == [
        ServeOptions(
            store="sqlite:x.db",
            key_file="k",
            files=("a.yaml", "hooks"),
            host="::1",
            port=0,
            public_url="https://h.example.com",
            on_change="plan",
            allow_targets=("127.0.0.0/8", "fd00::/8"),
            retention_ms=12 * 3_600_000,
            retention_count=5,
            parked_ms=90_000,
            grace_ms=2_000,
            log_level="debug",
            log_format="json",
        )
    ]


@pytest.mark.parametrize("arguments", [["--grace", "soon"], ["--port", "70000"], ["--on-change", "maybe"]])
def test_impossible_values_exit_64(
    reconcile: Callable[..., Any], served: list[ServeOptions], arguments: list[str]
) -> None:
    """The daemon is not started with what it could not do."""
    assert reconcile("serve", *arguments).code == 64
    assert served == []
