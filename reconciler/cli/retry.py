"""`reconcile retry`: deliver again what was given up, one or many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from reconciler.cli.command import command
from reconciler.cli.complete import AddressType
from reconciler.cli.options import format_options, server_option, store_option, yes_option
from reconciler.cli.output import ask, is_interactive, is_watched, note, print_json, print_text
from reconciler.cli.text import plural
from reconciler.cli.times import parse_since
from reconciler.errors import ExitCode, ReconcilerError, UsageError
from reconciler.model.delivery import AttemptError, DeliveryStatus
from reconciler.model.hook import DELIVERED_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.cli.client import Client

__all__ = ["retry"]

_BATCH = 500
_REDELIVERABLE = [str(status) for status in DeliveryStatus if status.is_redeliverable]


@command(
    "retry",
    examples=(
        "reconcile retry 0199f0c2-…",
        "reconcile retry --hook support-bot/crm-new-chat --since 24h",
        "reconcile retry --status refused --yes",
    ),
)
@click.argument("delivery_id", metavar="[ID]", required=False)
@click.option("--hook", metavar="ADDRESS", type=AddressType(), help="Those of this webhook.")
@click.option("--since", metavar="TIME", help="Those created at or after: an age (30m, 24h) or an ISO 8601 time.")
@click.option("--until", metavar="TIME", help="Those created before.")
@click.option(
    "--status", multiple=True, type=click.Choice(_REDELIVERABLE), help="Those in this state. [default: exhausted]"
)
@click.option("--event", type=click.Choice(DELIVERED_TYPES), help="Those of this event type.")
@click.option(
    "--error", type=click.Choice([str(kind) for kind in AttemptError]), help="Whose last attempt failed so."
)
@yes_option
@format_options("text", "json")
@server_option
@store_option
def retry(*, delivery_id: str | None, yes: bool, format_: str, server: str, store: str, **filters: Any) -> int:
    """Deliver again, under the same ids and with a fresh number of attempts.

    Either one delivery by its ID, or all that match a filter: their number is shown, and asked about, first.
    Exits 3 if only a part of them could be put back.
    """
    from reconciler.cli.client import Client

    which = {name: list(value) if isinstance(value, tuple) else value for name, value in filters.items() if value}
    if (delivery_id is None) == (not which):
        raise UsageError("give either the ID of one delivery or a filter such as --hook; see `reconcile retry -h`")
    with Client(server, store=store) as client:
        if delivery_id is not None:
            path = f"api/v1/deliveries/{quote(delivery_id, safe='')}/retry"
            return _report(client.post(path), as_json=format_ == "json")
        return _report(_retry_many(client, _fixed(which), yes=yes), as_json=format_ == "json")


def _fixed(which: Mapping[str, Any]) -> dict[str, Any]:
    """The filter with ages as times: it must mean the same in every request that follows."""
    from reconciler.clock import SystemClock
    from reconciler.web.times import iso

    now_ms = SystemClock().now_ms()
    times = {name: iso(parse_since(which[name], now_ms)) for name in ("since", "until") if name in which}
    return {"until": iso(now_ms), **which, **times}


def _retry_many(client: Client, which: Mapping[str, Any], *, yes: bool) -> dict[str, int]:
    """Count, ask, and put back in batches; what was counted is the bound, so that nothing is put back twice."""
    path = "api/v1/deliveries/retry"
    matched = client.post(path, {**which, "dry_run": True})["matched"]
    note(f"{plural(matched, 'delivery', 'deliveries')} {'matches' if matched == 1 else 'match'}")
    if matched and not yes:
        if not is_interactive():
            raise UsageError("nobody can be asked here: there is no terminal; give --yes to retry without asking")
        if not ask("Deliver again?"):
            raise ReconcilerError("nothing was retried: the answer was not yes")
    retried = 0
    while retried < matched:
        done = client.post(path, {**which, "limit": min(_BATCH, matched - retried)})["retried"]
        retried += done
        if is_watched():
            sys.stderr.write(f"\r{retried:,} of {matched:,}")
        if not done:
            break
    if is_watched() and matched:
        sys.stderr.write("\r\x1b[K")
    return {"matched": matched, "retried": retried, "remaining": matched - retried}


def _report(result: Mapping[str, int], *, as_json: bool) -> int:
    matched, retried = result["matched"], result["retried"]
    if as_json:
        print_json({name: result[name] for name in ("matched", "retried", "remaining")})
    else:
        print_text(f"{plural(retried, 'delivery', 'deliveries')} will be delivered again.")
    if retried < matched:
        note(f"{plural(matched - retried, 'delivery', 'deliveries')} could not be: their webhooks exist no more")
        return ExitCode.PARTLY if retried else ExitCode.FAILED
    return ExitCode.DONE
