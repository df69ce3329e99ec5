"""`reconcile url`, `reconcile secret`, `reconcile rotate`: the only commands that a secret passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.cli.command import command
from reconciler.cli.opening import finished, load_keyring, opened, read_state
from reconciler.cli.options import (
    address_argument,
    format_options,
    key_file_option,
    public_url_option,
    store_option,
)
from reconciler.cli.output import note, print_json, print_text

if TYPE_CHECKING:
    from reconciler.control.rotate import Rotated

__all__ = ["rotate", "secret", "url"]


@command(
    "url",
    examples=(
        "reconcile url support-bot/cms-published",
        "reconcile url support-bot/cms-published --public-url https://hooks.example.com",
    ),
)
@address_argument
@public_url_option
@format_options("text", "json")
@store_option
@key_file_option
def url(*, address: str, public_url: str, format_: str, store: str, key_file: str | None) -> None:
    """Print a trigger's URL, ready to share.

    Whoever has the URL can start a sync: treat it like a password. `reconcile rotate` makes it invalid.
    """
    from reconciler.control.addresses import webhook_at
    from reconciler.control.reveal import trigger_url

    state = finished(read_state(store))
    webhook_at(state, address)
    found = trigger_url(state, address, keyring=load_keyring(store, key_file), public_url=public_url)
    if format_ == "json":
        print_json({"address": address, "url": found})
    else:
        print_text(found)


@command(
    "secret",
    examples=(
        "reconcile secret support-bot/crm-new-chat",
        'OPS_SECRET="$(reconcile secret support-bot/sync-alerts)" reconcile listen --secret-env OPS_SECRET',
    ),
)
@address_argument
@format_options("text", "json")
@store_option
@key_file_option
def secret(*, address: str, format_: str, store: str, key_file: str | None) -> None:
    """Print a webhook's generated secret, for its receiver to verify signatures with."""
    from reconciler.control.addresses import webhook_at
    from reconciler.control.reveal import secret_of

    state = finished(read_state(store))
    webhook_at(state, address)
    found = secret_of(state, address, keyring=load_keyring(store, key_file))
    if format_ == "json":
        print_json({"address": address, "secret": found})
    else:
        print_text(found)


@command("rotate", examples=("reconcile rotate support-bot/cms-published",))
@address_argument
@format_options("text", "json")
@store_option
@key_file_option
def rotate(*, address: str, format_: str, store: str, key_file: str | None) -> None:
    """Give a webhook a new secret now, without touching the configuration: the next plan is still empty.

    The old one stays good for the webhook's `rotation.overlap`. A daemon takes the new one up within two seconds.
    To rotate by pull request, raise `secret_version` instead.
    """
    rotated, is_trigger = finished(_rotate(address, store, key_file))
    from reconciler.web.times import maybe_iso

    until = maybe_iso(rotated.previous_until_ms)
    if format_ == "json":
        print_json({
            "address": address,
            "fingerprint": rotated.fingerprint,
            "serial": rotated.serial,
            "previous_until": until,
        })  # fmt: skip
        return
    print_text(f"{address} has a new secret, fp {rotated.fingerprint}; the state's serial is {rotated.serial}.")
    note(f"the old one is good until {until}" if until else "the old one is invalid from now on")
    note(f"`reconcile {'url' if is_trigger else 'secret'} {address}` prints the new one")


async def _rotate(address: str, store_url: str, key_file: str | None) -> tuple[Rotated, bool]:
    from reconciler.clock import SystemClock
    from reconciler.control.addresses import webhook_at
    from reconciler.control.rotate import rotate as carry_out
    from reconciler.mint import SystemMint
    from reconciler.store.port import Access

    # Looked up without creating anything first: a mistyped address must not leave a store behind.
    webhook = webhook_at(await read_state(store_url), address)
    async with opened(store_url, Access.WRITE) as store:
        rotated = await carry_out(
            store,
            address,
            keyring=load_keyring(store_url, key_file),
            mint=SystemMint(),
            now_ms=SystemClock().now_ms(),
        )
    return rotated, webhook.spec["type"] == "sync.trigger"
