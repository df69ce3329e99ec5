"""`reconcile emit`: post events to the daemon, as the bot platform does."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from reconciler.cli.command import command
from reconciler.cli.options import PathType, format_options, server_option, store_option
from reconciler.cli.output import is_watched, note, print_json, print_text
from reconciler.cli.text import one_line, plural
from reconciler.errors import ExitCode, ReconcilerError, StoreUnavailable, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.cli.client import Client
    from reconciler.cli.events import Batch

__all__ = ["emit"]

_WAITS_S = (0.2, 0.5, 1.0, 2.0)
"""Between posts of a batch that the daemon could not store just then; after the last it is given up."""
_SHOWN_PROBLEMS = 20
EVENTS_PATH = "api/v1/events"


@command(
    "emit",
    examples=(
        "reconcile emit examples/events/conversation.started.json",
        "zcat events.jsonl.gz | reconcile emit -",
    ),
)
@click.argument("source", metavar="FILE|-", type=PathType(allow_dash=True))
@format_options("text", "json")
@server_option
@store_option
def emit(source: str, format_: str, server: str, store: str) -> int:
    """Post events: one JSON object, an array, or JSON lines.

    An array of up to 1,000 events is accepted or refused as a whole; of JSON lines each is taken on its own. Exits
    3 if only a part was accepted, 1 if nothing was. An event with an `id` is safe to post again.
    """
    from reconciler.cli.client import Client
    from reconciler.cli.events import batches, read_events

    tally = _Tally()
    failure: ReconcilerError | None = None
    with Client(server, store=store) as client, _open(source) as stream:
        try:
            for batch in batches(read_events(stream)):
                _post(client, batch, tally)
                if is_watched():
                    sys.stderr.write(f"\r{plural(tally.accepted, 'event')} accepted")
        except ReconcilerError as error:
            if not tally.accepted:
                raise
            failure = error
    if is_watched():
        sys.stderr.write("\r\x1b[K")
    return _report(tally, failure, as_json=format_ == "json")


@dataclass(slots=True)
class _Tally:
    """What has become of the events so far."""

    accepted: int = 0
    duplicates: int = 0
    refused: int = 0
    deliveries: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    problems: list[dict[str, Any]] = field(default_factory=list)


@contextmanager
def _open(source: str) -> Iterator[IO[bytes]]:
    if source == "-":
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            file = stack.enter_context(Path(source).open("rb"))
        except OSError as error:
            raise UsageError(f"the events {source!r} cannot be read: {error.strerror or error}") from error
        yield file


def _post(client: Client, batch: Batch, tally: _Tally) -> None:
    """Post a batch and count what came of it. Of JSON lines those that are refused do not hold up the others."""
    from reconciler.cli.client import DaemonRefused
    from reconciler.cli.events import Batch

    single = len(batch.events) == 1
    try:
        answer = _post_patiently(client, batch.events[0].content if single else batch.content)
    except DaemonRefused as refusal:
        wrong = {0} if single else {_index(problem) for problem in refusal.problems} - {None}
        tally.problems += [_located(problem, batch, single=single) for problem in refusal.problems]
        if not refusal.problems:
            tally.problems.append({"event": batch.events[0].place, "message": refusal.message})
        rest = tuple(event for at, event in enumerate(batch.events) if at not in wrong)
        if not batch.independent or not wrong:
            tally.refused += len(batch.events)
            return
        tally.refused += len(batch.events) - len(rest)
        if rest:
            _post(client, Batch(rest, independent=True), tally)
        return
    tally.accepted += answer["accepted"]
    tally.duplicates += answer["duplicates"]
    tally.deliveries += sum(event["deliveries"] for event in answer["events"] if not event["duplicate"])
    tally.events += answer["events"]


def _post_patiently(client: Client, content: bytes) -> Any:
    """The daemon's answer. A 503 says that nothing was stored, so posting again cannot deliver twice."""
    import asyncio

    from reconciler.clock import SystemClock

    for wait_s in _WAITS_S:
        try:
            return client.post_bytes(EVENTS_PATH, content)
        except StoreUnavailable:
            asyncio.run(SystemClock().wait(asyncio.Event(), wait_s))
    return client.post_bytes(EVENTS_PATH, content)


def _index(problem: Mapping[str, Any]) -> int | None:
    """Which event of a posted array a problem is about."""
    index = str(problem.get("pointer", "")).removeprefix("/").partition("/")[0]
    return int(index) if index.isdecimal() else None


def _located(problem: Mapping[str, Any], batch: Batch, *, single: bool) -> dict[str, Any]:
    """A problem of the daemon's, with the place in the input instead of the place in the batch."""
    index = _index(problem)
    if single or index is None or index >= len(batch.events):
        return {**problem, "event": batch.events[0].place if single else "the events"}
    rest = str(problem["pointer"]).removeprefix("/").partition("/")[2]
    return {**problem, "event": batch.events[index].place, "pointer": f"/{rest}" if rest else ""}


def _report(tally: _Tally, failure: ReconcilerError | None, *, as_json: bool) -> int:
    complete = failure is None and not tally.refused
    code = ExitCode.DONE if complete else ExitCode.PARTLY if tally.accepted else ExitCode.FAILED
    message = failure.message if failure else f"{plural(tally.refused, 'event')} refused"
    if as_json:
        counted = {"accepted": tally.accepted, "duplicates": tally.duplicates, "events": tally.events}
        error = {"code": failure.code if failure else "events-refused", "exit": int(code), "message": message}
        print_json(counted if complete else {"error": error, "problems": tally.problems, **counted})
    else:
        _print_counts(tally)
    if not complete:
        _explain(tally, message)
    return code


def _print_counts(tally: _Tally) -> None:
    again = f", {plural(tally.duplicates, 'of them a duplicate', 'of them duplicates')}" if tally.duplicates else ""
    deliveries = plural(tally.deliveries, "delivery", "deliveries")
    print_text(f"{plural(tally.accepted, 'event')} accepted{again}, {deliveries}.")
    unmatched = sum("unmatched" in event for event in tally.events)
    if unmatched:
        note(f"{plural(unmatched, 'event')} named a bot or data source that is not configured")


def _explain(tally: _Tally, message: str) -> None:
    for problem in tally.problems[:_SHOWN_PROBLEMS]:
        where = " ".join(filter(None, (str(problem["event"]), str(problem.get("pointer", "")))))
        note(f"{one_line(where)}: {one_line(str(problem.get('message', '')))}")
    if len(tally.problems) > _SHOWN_PROBLEMS:
        note(f"… and {plural(len(tally.problems) - _SHOWN_PROBLEMS, 'more problem')}")
    note(f"error: {one_line(message)}; what was accepted stays accepted")
