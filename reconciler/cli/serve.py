"""`reconcile serve`: the daemon's options, and nothing of the daemon."""

from __future__ import annotations

from typing import Any

import click

from reconciler.cli.command import command
from reconciler.cli.options import PathType, check_public_url, key_file_option, store_option
from reconciler.cli.times import DURATION
from reconciler.daemon.options import ServeOptions
from reconciler.model.duration import format_duration

__all__ = ["serve"]

_DEFAULTS = ServeOptions()


def _default(ms: int) -> dict[str, Any]:
    return {"type": DURATION, "default": ms, "show_default": format_duration(ms), "metavar": "DURATION"}


@command(
    "serve",
    examples=(
        "reconcile serve -f hooks.yaml",
        "reconcile serve -f hooks/ --on-change plan        report what changes, apply nothing",
        "reconcile serve --allow-target 127.0.0.0/8         deliver to receivers on this machine, too",
        "RECONCILER_ADMIN_TOKEN=… reconcile serve --host 0.0.0.0 --public-url https://hooks.example.com",
    ),
)
@click.option(
    "-f",
    "--file",
    "files",
    metavar="PATH",
    multiple=True,
    type=PathType(),
    help="Follow this YAML file or folder; repeatable. Without it the daemon follows the store only.",
)
@click.option("--host", default=_DEFAULTS.host, show_default=True, help="The address to bind.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=_DEFAULTS.port,
    show_default=True,
    help="The port; 0 takes any free one and logs it.",
)
@click.option(
    "--public-url",
    metavar="URL",
    envvar="RECONCILER_PUBLIC_URL",
    show_envvar=True,
    callback=check_public_url,
    help="The address under which callers reach the daemon.",
)
@click.option(
    "--on-change",
    type=click.Choice(["apply", "plan", "ignore"]),
    default=_DEFAULTS.on_change,
    show_default=True,
    help="What to do when the followed files change.",
)
@click.option(
    "--allow-target",
    "allow_targets",
    metavar="CIDR",
    multiple=True,
    help="Let deliveries, tests and syncs dial this range, though it is not public; repeatable.",
)
@click.option(
    "--retention", "retention_ms", help="How long ended deliveries are kept.", **_default(_DEFAULTS.retention_ms)
)
@click.option(
    "--retention-count",
    type=click.IntRange(1),
    default=_DEFAULTS.retention_count,
    show_default=True,
    help="How many of them at most.",
)
@click.option(
    "--retention-parked",
    "parked_ms",
    help="How long the waiting deliveries of a disabled or gone webhook are kept.",
    **_default(_DEFAULTS.parked_ms),
)
@click.option(
    "--grace",
    "grace_ms",
    help="How long a graceful stop may take; a second signal stops at once.",
    **_default(_DEFAULTS.grace_ms),
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default=_DEFAULTS.log_level,
    show_default=True,
    help="The least grave lines to log.",
)
@click.option(
    "--log-format",
    type=click.Choice(["auto", "json", "console"]),
    default=_DEFAULTS.log_format,
    show_default=True,
    help="How to log on stderr; auto: JSON lines unless it is a terminal.",
)
@store_option
@key_file_option
def serve(files: tuple[str, ...], **options: Any) -> int:
    """Run the daemon: answer trigger URLs, take in events, deliver them, follow the configuration.

    Tokens come from RECONCILER_ADMIN_TOKEN, RECONCILER_INGEST_TOKEN and RECONCILER_READ_TOKEN; with none set, one
    is made in the file `token` beside the database. SIGTERM drains and stops; a second one stops at once.
    """
    import ipaddress

    from reconciler.errors import UsageError

    for text in options["allow_targets"]:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise UsageError(
                f"--allow-target {text!r} is no range of addresses; write 127.0.0.0/8 or fd00::/8"
            ) from None
    from reconciler.daemon.serve import serve as run_daemon

    return int(run_daemon(ServeOptions(files=files or None, **options)))
