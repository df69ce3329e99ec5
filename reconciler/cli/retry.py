"""`reconcile retry`: deliver again what was given up, one or many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import click

from reconciler.cli.command import command
from reconciler.cli.complete import AddressType, ErrorClassType
from reconciler.cli.options import format_options, server_option, store_option, yes_option
from reconciler.cli.output import ask, is_interactive, is_watched, note, print_json, print_text
from reconciler.cli.text import plural
from reconciler.cli.times import parse_since
from reconciler.errors import ExitCode, ReconcilerError, UsageError
from reconciler.model.delivery import AttemptError, DeliveryStatus
from reconciler.model.hook import DELIVERED_TYPES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.client import Client

__all__ = ["Retried", "retry"]

_BATCH = 500
_PATH = "api/v1/deliveries/retry"
_HELD_BACK_SHOWN = 10
_TIMES = ("since", "until", "ended_before")
_REDELIVERABLE = [str(status) for status in DeliveryStatus if status.is_redeliverable]


class Retried(NamedTuple):
    """How many matched, how many of them will be delivered again, and why not the others.

    `held_back` are the webhooks that let nothing out now, each with the reason and, if it passes, its end.
    """

    matched: int
    retried: int
    why_not: str
    held_back: Sequence[Mapping[str, Any]] = ()


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
@click.option("--ended-before", metavar="TIME", help="Those that ended before. [default: now]")
@click.option(
    "--status", multiple=True, type=click.Choice(_REDELIVERABLE), help="Those in this state. [default: exhausted]"
)
@click.option("--event", type=click.Choice(DELIVERED_TYPES), help="Those of this event type.")
@click.option(
    "--error",
    metavar="CLASS",
    type=ErrorClassType(),
    help=f"Whose last attempt failed so: {', '.join(AttemptError)}, or an answer such as http-503.",
)
@yes_option
@format_options("text", "json")
@server_option
@store_option
def retry(*, delivery_id: str | None, yes: bool, format_: str, server: str, store: str, **filters: Any) -> int:
    """Deliver again, under the same ids and with a fresh number of attempts.

    Either one delivery by its ID, or all that match a filter: their number is shown, and asked about, first.
    Interrupted, it can be run again and goes on with the rest. What is delivered again waits behind first attempts.
    Where a webhook lets nothing out now, because its breaker is open, its receiver asked for a pause, or it is gone
    or disabled, that is said. Exits 3 if only a part of them could be put back.
    """
    from reconciler.cli.client import Client

    which = {name: list(value) if isinstance(value, tuple) else value for name, value in filters.items() if value}
    if (delivery_id is None) == (not which):
        raise UsageError("give either the ID of one delivery or a filter such as --hook; see `reconcile retry -h`")
    with Client(server, store=store) as client:
        if delivery_id is not None:
            path = f"api/v1/deliveries/{quote(delivery_id, safe='')}/retry"
            done = client.post(path)
            held_back = done.get("held_back", ())
            result = Retried(done["matched"], done["retried"], "its webhook exists no more", held_back)
            return _report(result, as_json=format_ == "json")
        return _report(_retry_many(client, _fixed(which), yes=yes), as_json=format_ == "json")


def _fixed(which: Mapping[str, Any]) -> dict[str, Any]:
    """The filter with ages as times: it must mean the same in every request that follows.

    What ends after the start is left alone, so nothing is put back twice by one run.
    """
    from reconciler.clock import SystemClock
    from reconciler.web.times import iso

    now_ms = SystemClock().now_ms()
    times = {name: iso(parse_since(which[name], now_ms)) for name in _TIMES if name in which}
    return {"ended_before": iso(now_ms), **which, **times}


def _retry_many(client: Client, which: Mapping[str, Any], *, yes: bool) -> Retried:
    """Count, ask, and put back."""
    matched = client.post(_PATH, {**which, "dry_run": True})["matched"]
    note(f"{plural(matched, 'delivery', 'deliveries')} {'matches' if matched == 1 else 'match'}")
    if not matched:
        return Retried(0, 0, "")
    if not yes:
        if not is_interactive():
            raise UsageError("nobody can be asked here: there is no terminal; give --yes to retry without asking")
        if not ask("Deliver again?"):
            raise ReconcilerError("nothing was retried: the answer was not yes")
    return _put_back(client, which, matched)


def _put_back(client: Client, which: Mapping[str, Any], matched: int) -> Retried:
    """Batch by batch, as long as the daemon answers and nobody interrupts."""
    retried, why_not = 0, "their webhooks exist no more, or they were retried by somebody else"
    held_back: dict[str, Mapping[str, Any]] = {}
    try:
        while retried < matched:
            done = client.post(_PATH, {**which, "limit": min(_BATCH, matched - retried)})
            retried += done["retried"]
            held_back |= {held["hook"]: held for held in done.get("held_back", ())}
            if is_watched():
                sys.stderr.write(f"\r{retried:,} of {matched:,}")
            if not done["retried"]:
                break
    except (KeyboardInterrupt, ReconcilerError) as error:
        if not retried:
            raise
        cause = error.message if isinstance(error, ReconcilerError) else "interrupted"
        why_not = f"{cause}; to go on, run it again with --ended-before {which['ended_before']}"
    finally:
        if is_watched():
            sys.stderr.write("\r\x1b[K")
    return Retried(matched, retried, why_not, tuple(held_back.values()))


def _why_held_back(held: Mapping[str, Any]) -> str:
    """What a webhook waits for, and what an operator can do who would rather not."""
    hook = held["hook"]
    match held["reason"]:
        case "breaker-open":
            return (
                f"{hook}: its breaker is open, nothing is sent before {held['until']}; "
                f"once the receiver is mended, `reconcile test {hook}` lets everything go at once"
            )
        case "retry-after":
            return (
                f"{hook}: its receiver asked to be left alone, nothing is sent before {held['until']}; "
                f"if it is well before that, a good `reconcile test {hook}` lets everything go at once"
            )
        case "gone":
            return f"{hook}: its receiver answered 410, nothing is sent until `reconcile test {hook}` gets a 2xx"
        case _:
            return f"{hook}: it is disabled, nothing is sent until it is enabled"


def _report(result: Retried, *, as_json: bool) -> int:
    remaining = result.matched - result.retried
    if as_json:
        print_json(
            {
                "matched": result.matched,
                "retried": result.retried,
                "remaining": remaining,
                "held_back": list(result.held_back),
            }
        )
    else:
        print_text(f"{plural(result.retried, 'delivery', 'deliveries')} will be delivered again.")
        for held in result.held_back[:_HELD_BACK_SHOWN]:
            note(_why_held_back(held))
        if len(result.held_back) > _HELD_BACK_SHOWN:
            note(f"and {len(result.held_back) - _HELD_BACK_SHOWN} more webhooks that let nothing out now")
    if remaining > 0:
        note(f"{plural(remaining, 'delivery', 'deliveries')} not: {result.why_not}")
        return ExitCode.PARTLY if result.retried else ExitCode.FAILED
    return ExitCode.DONE
