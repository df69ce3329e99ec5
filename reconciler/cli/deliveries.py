"""`reconcile deliveries` and `reconcile delivery`: the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command import command
from reconciler.cli.complete import AddressType, ErrorClassType
from reconciler.cli.opening import finished, opened
from reconciler.cli.options import format_options, store_option
from reconciler.cli.output import note, print_fields, print_json, print_table, print_text
from reconciler.cli.text import many_lines, one_line, shorten
from reconciler.cli.times import ago, parse_since
from reconciler.errors import UnknownAddress
from reconciler.model.delivery import AttemptError, DeliveryFilter, DeliveryStatus
from reconciler.model.hook import DELIVERED_TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.delivery import Attempt, Delivery
    from reconciler.store.port import Page, Store

__all__ = ["STATUSES", "deliveries", "delivery"]

STATUSES = tuple(str(status) for status in DeliveryStatus)
LIMIT_MAX = 1000

_TEXT_BODY_CHARACTERS = 2000


@command(
    "deliveries",
    examples=(
        "reconcile deliveries --limit 20",
        "reconcile deliveries --hook support-bot/crm-new-chat --status exhausted --since 24h",
        "reconcile deliveries --error timeout --json",
    ),
)
@click.option("--hook", metavar="ADDRESS", multiple=True, type=AddressType(), help="Of this webhook; repeatable.")
@click.option("--status", multiple=True, type=click.Choice(STATUSES), help="In this state; repeatable.")
@click.option("--event", type=click.Choice(DELIVERED_TYPES), help="Of this event type.")
@click.option(
    "--error",
    metavar="CLASS",
    type=ErrorClassType(),
    help=f"Whose last attempt failed so: {', '.join(AttemptError)}, or an answer such as http-503.",
)
@click.option("--since", metavar="TIME", help="Created at or after: an age (30m, 24h, 7d) or an ISO 8601 time.")
@click.option("--until", metavar="TIME", help="Created before.")
@click.option("--limit", type=click.IntRange(1, LIMIT_MAX), default=50, show_default=True, help="How many at most.")
@click.option("--cursor", metavar="CURSOR", help="Where the page before ended (`next` of its JSON).")
@format_options("text", "json")
@store_option
def deliveries(format_: str, store: str, **filters: Any) -> None:
    """List deliveries, newest first."""
    from reconciler.web.views import delivery_view

    page, now_ms = finished(_list(store, **filters))
    if format_ == "json":
        print_json({"items": [delivery_view(item) for item in page.items], "next": page.next})
        return
    if not page.items:
        note("no delivery matches")
        return
    print_table(
        ("id", "hook", "event", "status", "attempts", "created", "next", "last answer"),
        [_row(item, now_ms) for item in page.items],
    )
    if page.next is not None:
        note(f"there are more: --cursor {page.next}")


async def _list(
    url: str,
    *,
    hook: Sequence[str],
    status: Sequence[str],
    event: str | None,
    error: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    cursor: str | None,
) -> tuple[Page, int]:
    from reconciler.clock import SystemClock
    from reconciler.store.port import Access

    now_ms = SystemClock().now_ms()
    which = {
        "statuses": frozenset(map(DeliveryStatus, status)) or None,
        "event": event,
        "error": error,
        "since_ms": None if since is None else parse_since(since, now_ms),
        "until_ms": None if until is None else parse_since(until, now_ms),
    }
    async with opened(url, Access.READ) as store:
        found = DeliveryFilter(hook_ids=await _hook_ids(store, hook), **which)  # type: ignore[arg-type]
        return await store.deliveries(found, cursor=cursor, limit=limit), now_ms


async def _hook_ids(store: Store, addresses: Sequence[str]) -> frozenset[str] | None:
    if not addresses:
        return None
    from reconciler.control.addresses import webhook_at

    state = await store.read_state()
    return frozenset(hook_id for address in addresses if (hook_id := webhook_at(state, address).id) is not None)


def _row(item: Delivery, now_ms: int) -> tuple[str, ...]:
    waits = item.status is DeliveryStatus.PENDING and item.next_attempt_ms is not None
    return (
        item.id,
        item.hook,
        item.event,
        str(item.status),
        str(item.attempts),
        ago(item.created_ms, now_ms),
        ago(item.next_attempt_ms, now_ms) if waits else "",
        _answer(item.last_status, item.last_error),
    )


def _answer(status: int | None, error: str | None) -> str:
    return shorten(one_line(" ".join(str(part) for part in (status, error) if part is not None)), 60)


@command(
    "delivery", examples=("reconcile delivery 0199f0c2-…", "reconcile delivery 0199f0c2-… --json | jq .attempts")
)
@click.argument("delivery_id", metavar="ID")
@format_options("text", "json")
@store_option
def delivery(delivery_id: str, format_: str, store: str) -> None:
    """Show one delivery: its event's payload, and every attempt with what the receiver answered."""
    from reconciler.web.views import delivery_detail

    item, payload, attempts = finished(_read(store, delivery_id))
    detail = delivery_detail(item, payload, attempts)
    if format_ == "json":
        print_json(detail)
        return
    detail.pop("attempts")
    detail.pop("payload")
    print_fields({name.replace("_", " "): str(value) for name, value in detail.items() if value is not None})
    print_text(f"\npayload\n  {many_lines(payload.decode('utf-8', 'replace'))}")
    for attempt in attempts:
        _print_attempt(attempt)


async def _read(url: str, delivery_id: str) -> tuple[Delivery, bytes, list[Attempt]]:
    from reconciler.store.port import Access

    async with opened(url, Access.READ) as store:
        found = await store.delivery(delivery_id)
    if found is None:
        raise UnknownAddress(f"no delivery {one_line(delivery_id)}; `reconcile deliveries` lists them")
    return found


def _print_attempt(attempt: Attempt) -> None:
    from reconciler.web.times import iso

    answer = _answer(attempt.status, None if attempt.error is None else str(attempt.error))
    again = f" of round {attempt.round}" if attempt.round > 1 else ""
    print_text(f"\nattempt {attempt.number}{again}  {iso(attempt.started_ms)}  {attempt.duration_ms} ms  {answer}")
    if attempt.message:
        print_text(f"  {one_line(attempt.message)}")
    for line in many_lines(attempt.body.decode("utf-8", "replace"))[:_TEXT_BODY_CHARACTERS].splitlines():
        print_text(f"  | {line}")
