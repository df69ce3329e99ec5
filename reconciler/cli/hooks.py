"""`reconcile hooks` and `reconcile show`: what is applied, and how it is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.cli.command import command
from reconciler.cli.opening import finished, opened
from reconciler.cli.options import address_argument, format_options, store_option
from reconciler.cli.output import note, print_fields, print_json, print_table, print_text
from reconciler.cli.text import many_lines
from reconciler.cli.times import ago

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.model.resource import State
    from reconciler.store.port import Observed

__all__ = ["hooks", "show"]


@command("hooks", examples=("reconcile hooks", "reconcile hooks --json | jq -r '.items[].address'"))
@format_options("text", "json")
@store_option
def hooks(format_: str, store: str) -> None:
    """List the applied webhooks with their health.

    Health is `disabled`, `idle` (nothing has happened yet), `healthy`, `failing` (the last attempts failed) or
    `gone` (the receiver answered 410). It is read from the store. An open breaker, and a pause that a receiver asked
    for, the daemon alone knows: `reconcile status` shows them.
    """
    from reconciler.web.views import hook_view, webhooks

    state, observed, now_ms = finished(_observe(store))
    found = webhooks(state)
    if format_ == "json":
        items = [hook_view(resource, observed.get(resource.id or "")) for resource in found]
        print_json({"items": items, "next": None})
        return
    if not found:
        note("nothing is applied yet; `reconcile --plan` shows what would be")
        return
    rows = []
    for resource in found:
        seen = observed.get(resource.id or "")
        view = hook_view(resource, seen)
        last = max(filter(None, (seen.last_called_ms, seen.last_attempt_ms)), default=None) if seen else None
        rows.append((
            view["address"],
            view["type"],
            view["health"],
            ago(last, now_ms),
            str(view["day_count"]),
            str(view["waiting"]),
            f"fp {view['fingerprint']}" if view["fingerprint"] else "by reference",
        ))  # fmt: skip
    print_table(("address", "type", "health", "last active", "24 h", "waiting", "secret"), rows)


@command(
    "show",
    examples=("reconcile show support-bot/crm-new-chat", "reconcile show support-bot/crm-new-chat --json | jq .spec"),
)
@address_argument
@format_options("text", "json")
@store_option
def show(address: str, format_: str, store: str) -> None:
    """Show one webhook in full: its specification, what has happened at it, and its secret's fingerprint.

    It is read from the store. An open breaker, and a pause that a receiver asked for, the daemon alone knows:
    `reconcile status` shows them.
    """
    from reconciler.control.addresses import webhook_at
    from reconciler.web.views import hook_detail

    state, observed, now_ms = finished(_observe(store))
    resource = webhook_at(state, address)
    detail = hook_detail(resource, observed.get(resource.id or ""), now_ms=now_ms)
    if format_ == "json":
        print_json(detail)
        return
    spec, secret = detail.pop("spec"), detail.pop("secret")
    fields = {_words(name): _scalar(value) for name, value in detail.items() if value is not None}
    fields["secret"] = ", ".join(_scalar(value) for value in _flat_values(secret))
    print_fields(fields)
    print_text("\nspecification")
    for path, value in _leaves(spec):
        lines = many_lines(_scalar(value)).splitlines() or [""]
        print_text(f"  {path}: {lines[0]}" if len(lines) == 1 else f"  {path}:")
        if len(lines) > 1:
            print_text("\n".join(f"    | {line}" for line in lines))


async def _observe(url: str) -> tuple[State, dict[str, Observed], int]:
    from reconciler.clock import SystemClock
    from reconciler.store.port import Access

    now_ms = SystemClock().now_ms()
    async with opened(url, Access.READ) as store:
        return await store.read_state(), await store.observed(now_ms=now_ms), now_ms


def _words(name: str) -> str:
    return {"day_count": "in 24 h", "id": "id"}.get(name, name.replace("_", " "))


def _flat_values(secret: Mapping[str, Any]) -> Iterator[Any]:
    yield "given by reference" if secret["source"] == "reference" else "generated"
    if "fingerprint" in secret:
        yield f"fp {secret['fingerprint']}"
        yield f"since {secret['created_at']}"
    if "previous" in secret:
        yield f"the previous one, fp {secret['previous']['fingerprint']}, good until {secret['previous']['until']}"


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar or list of a specification with its path; what is absent is left out."""
    for key, item in value.items():
        here = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict):
            yield from _leaves(item, here)
        elif item is not None:
            yield here, item


def _scalar(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(_scalar(item) for item in value)
        case _:
            return str(value)
