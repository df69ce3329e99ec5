"""`reconcile test`: the test hook, through the daemon or as a dry run without one."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command import command
from reconciler.cli.opening import finished, load_keyring, read_state
from reconciler.cli.options import (
    PathType,
    address_argument,
    format_options,
    key_file_option,
    server_option,
    store_option,
)
from reconciler.cli.output import note, print_json, print_text
from reconciler.cli.text import many_lines, one_line
from reconciler.errors import ExitCode, UsageError
from reconciler.model.hook import NOTIFY_ADDRESS
from reconciler.model.resource import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.model.resource import State

__all__ = ["test"]


@command(
    "test",
    examples=(
        "reconcile test support-bot/crm-new-chat",
        "reconcile test support-bot/crm-new-chat --event event.json",
        "reconcile test support-bot/crm-new-chat --dry-run      render and sign, send nothing",
        "reconcile test support-bot/cms-published               a trigger: starts a sync",
    ),
)
@address_argument
@click.option("--event", "event_file", metavar="FILE", type=PathType(allow_dash=True), help="An event to test with"
              " instead of the catalog's example.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the request, rendered and signed, and send nothing. Needs no"
              " daemon.")  # fmt: skip
@format_options("text", "json")
@server_option
@store_option
@key_file_option
def test(
    *,
    address: str,
    event_file: str | None,
    dry_run: bool,
    format_: str,
    server: str,
    store: str,
    key_file: str | None,
) -> int:
    """Send one real request, marked as a test, from the saved configuration, whether enabled or not.

    Shows status, headers, body and time of the answer, and which tokens of the template did not resolve. Exits 1
    if the receiver did not answer 2xx.
    """
    event = None if event_file is None else _read_event(event_file)
    if dry_run:
        _show_request(_render(address, event, store, key_file), as_json=format_ == "json")
        return ExitCode.DONE
    from reconciler.cli.client import Client, hook_path

    if address.count("/") != 1 and address != NOTIFY_ADDRESS:
        raise UsageError(f"{address!r} is no webhook's address; it has the form bot/webhook")
    with Client(server, store=store) as client:
        trial = client.post(f"{hook_path(address)}/test", event)
    if format_ == "json":
        print_json(trial)
    else:
        _show_trial(trial, address)
    return ExitCode.DONE if trial["success"] else ExitCode.FAILED


def _read_event(path: str) -> Any:
    import orjson

    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"the event {path!r} cannot be read: {error.strerror or error}") from error
    try:
        event = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"{path} is not JSON: {error}") from None
    if not isinstance(event, dict):
        raise UsageError(f"{path} does not hold one event, a JSON object")
    return event


def _show_trial(trial: Mapping[str, Any], address: str) -> None:
    where = trial["url"] or f"the trigger URL of {address}"  # which holds a secret
    print_text(f"{trial['method']} {one_line(where)}")
    if trial["status"] is None:
        print_text(f"no answer after {trial['duration_ms']} ms: {trial['error']}: {one_line(trial['message'])}")
    else:
        print_text(f"answered {trial['status']} after {trial['duration_ms']} ms")
    _print_headers(trial["headers"])
    _print_body(trial.get("body") or "")
    _warn_unresolved(trial["unresolved"])


# -- the dry run ---------------------------------------------------------------------------------------------


def _render(address: str, event: Any, store: str, key_file: str | None) -> dict[str, Any]:
    """The request that a test would send, without its secrets."""
    from reconciler.clock import SystemClock
    from reconciler.control.addresses import webhook_at
    from reconciler.control.snapshot import build_snapshot
    from reconciler.delivery.trial import prepare_test
    from reconciler.mint import SystemMint
    from reconciler.model.hook import OutgoingHook
    from reconciler.model.scrubbing import scrub

    state = finished(read_state(store))
    webhook_at(state, address)
    keyring = load_keyring(store, key_file)
    snapshot = build_snapshot(_alone(state, address), keyring=keyring, environ=os.environ, generation=0)
    hook = snapshot.addresses[address]
    if not isinstance(hook, OutgoingHook):
        raise UsageError(f"{address} is a trigger: nothing is sent from it; `reconcile test {address}` calls it")
    clock = SystemClock()
    delivery_id = SystemMint().new_id(clock.now_ms())
    prepared = prepare_test(
        hook, snapshot=snapshot, payload=event, delivery_id=delivery_id, now_ms=clock.now_ms(), wall_s=clock.wall_s()
    )
    request = prepared.request
    return {
        "address": address,
        "delivery_id": delivery_id,
        "method": request.method,
        "url": scrub(request.url, hook.scrub),
        "headers": [[name, scrub(value, hook.scrub)] for name, value in request.headers],
        "body": scrub(request.body.decode("utf-8", "replace"), hook.scrub),
        "unresolved": list(prepared.unresolved),
    }


def _alone(state: State, address: str) -> State:
    """The state with nothing but what a webhook needs, so that no other one's references must resolve here."""
    bot = address.partition("/")[0]
    kept = {}
    for key, resource in state.resources.items():
        if key in (Key(Kind.BOT, bot), Key(Kind.WEBHOOK, address)):
            kept[key] = resource
        elif key.kind is Kind.DATA_SOURCE and key.address.partition("/")[0] == bot:
            kept[key] = replace(resource, spec={**resource.spec, "sync": None})
    return replace(state, resources=kept)


def _show_request(request: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(request)
        return
    print_text(f"{request['method']} {one_line(request['url'])}")
    _print_headers(request["headers"])
    _print_body(request["body"])
    _warn_unresolved(request["unresolved"])


def _print_headers(headers: Iterable[Any]) -> None:
    for name, value in headers:
        print_text(f"{one_line(name)}: {one_line(value)}")


def _print_body(body: str) -> None:
    if body:
        print_text(f"\n{many_lines(body)}")


def _warn_unresolved(tokens: Iterable[str]) -> None:
    for token in tokens:
        shown = token if token.startswith("{{") else "{{" + token + "}}"
        note(f"warning: {one_line(shown)} does not resolve; it is sent as it stands")
