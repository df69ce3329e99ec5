"""`reconcile listen`: a receiver on this machine that shows each request and checks who signed it."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.command import command
from reconciler.cli.options import PathType, format_options
from reconciler.cli.output import has_color, print_json_line, print_text
from reconciler.cli.text import many_lines, one_line
from reconciler.cli.times import DURATION
from reconciler.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.cli.verify import Received, Verdict
    from reconciler.clock import Clock

__all__ = ["listen"]

_SHOWN_BODY_CHARACTERS = 4096
_REMEMBERED_DELIVERIES = 10_000


@command(
    "listen",
    examples=(
        "reconcile listen --port 9000",
        'OPS_SECRET="$(reconcile secret support-bot/sync-alerts)" reconcile listen --secret-env OPS_SECRET',
        "reconcile listen --status 503 --fail-first 2     two failures, then 200",
        "reconcile listen --json --count 3                three requests as JSON lines, then the end",
    ),
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to bind.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="The port; 0 takes any free one."
)
@click.option(
    "--secret-env", metavar="NAME", multiple=True, help="A variable that holds a secret to verify with; repeatable."
)
@click.option(
    "--secret-file",
    metavar="PATH",
    multiple=True,
    type=PathType(dir_okay=False),
    help="A file that holds one; repeatable.",
)
@click.option("--status", type=click.IntRange(200, 599), help="The status to answer. [default: 200]")
@click.option("--fail-first", metavar="N", type=click.IntRange(0), default=0, help="Answer 503 (or --status) to the"
              " first N requests, then 200.")  # fmt: skip
@click.option("--delay", metavar="DURATION", type=DURATION, default=0, help="Wait this long before answering.")
@click.option("--count", metavar="N", type=click.IntRange(1), help="End after N requests; exit 1 if one failed to"
              " verify.")  # fmt: skip
@format_options("text", "json")
def listen(format_: str, **options: Any) -> int:
    """Print every request that arrives on this machine, and verify its signatures.

    Needs no daemon and no store. Point a webhook at the URL of the first line printed (and start the daemon with
    --allow-target 127.0.0.0/8). With --json each request is one line of JSON. Ends with Ctrl-C.
    """
    return asyncio.run(_listen(as_json=format_ == "json", **options))


async def _listen(
    *,
    as_json: bool,
    host: str,
    port: int,
    secret_env: Sequence[str],
    secret_file: Sequence[str],
    status: int | None,
    fail_first: int,
    delay: int,
    count: int | None,
) -> int:
    from reconciler.cli.receiver import Behaviour, Receiver
    from reconciler.clock import SystemClock

    stop = asyncio.Event()
    clock = SystemClock()
    journal = _Journal(secrets=_read_secrets(secret_env, secret_file), clock=clock, as_json=as_json)
    behaviour = Behaviour(
        status=200 if fail_first else status or 200,
        first_status=status or 503,
        fail_first=fail_first,
        delay_ms=delay,
    )
    receiver = Receiver(behaviour=behaviour, clock=clock, stop=stop, received=journal.write, enough=count)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await receiver.run(host, port, journal.write_ready)
    return ExitCode.FAILED if count is not None and journal.failures else ExitCode.DONE


def _read_secrets(names: Sequence[str], paths: Sequence[str]) -> tuple[str, ...]:
    secrets = []
    for name in names:
        if not os.environ.get(name):
            raise UsageError(f"the variable {name} is not set or empty; --secret-env names one that holds a secret")
        secrets.append(os.environ[name])
    for path in paths:
        text = Path(path).read_text(encoding="utf-8")
        if not text.strip():
            raise UsageError(f"{path} is empty; --secret-file names a file that holds a secret")
        secrets.append(text.removesuffix("\n").removesuffix("\r"))
    return tuple(secrets)


@dataclass(slots=True, kw_only=True)
class _Journal:
    """What has arrived, and how it is shown. `failures` counts requests that did not verify."""

    secrets: tuple[str, ...] = field(repr=False)
    clock: Clock
    as_json: bool
    failures: int = 0
    _seen: dict[str, int] = field(default_factory=dict)

    def write_ready(self, url: str) -> None:
        if self.as_json:
            print_json_line({"ready": True, "url": url})
        else:
            print_text(f"listening on {url}")
        sys.stdout.flush()

    def write(self, number: int, request: Received, status: int) -> None:
        from reconciler.cli.verify import verify

        verdict = verify(request, self.secrets, now_s=self.clock.wall_s())
        self.failures += verdict is not None and not verdict.is_verified
        attempt = self._count_attempt(request.header("x-chatthing-delivery-id"))
        show = self._write_line if self.as_json else self._write_block
        show(number, request, status, verdict, attempt)
        sys.stdout.flush()

    def _count_attempt(self, delivery_id: str | None) -> int:
        if delivery_id is None:
            return 1
        attempt = self._seen.pop(delivery_id, 0) + 1
        self._seen[delivery_id] = attempt
        if len(self._seen) > _REMEMBERED_DELIVERIES:
            del self._seen[next(iter(self._seen))]
        return attempt

    def _write_line(self, number: int, request: Received, status: int, verdict: Verdict | None, attempt: int) -> None:
        from reconciler.cli.verify import mask_headers, mask_text
        from reconciler.web.times import iso

        line: dict[str, Any] = {
            "number": number,
            "at": iso(self.clock.now_ms()),
            "method": request.method,
            "path": mask_text(request.target, self.secrets),
            "headers": _joined(mask_headers(request.headers, self.secrets)),
            "body": mask_text(request.body.decode("utf-8", "replace"), self.secrets),
            "status": status,
            "delivery_id": request.header("x-chatthing-delivery-id"),
            "attempt": attempt,
            "event": request.header("x-chatthing-event"),
            "test": request.header("x-chatthing-test") == "true",
            "verified": None if verdict is None else verdict.is_verified,
            "signatures": None if verdict is None else {"legacy": verdict.legacy, "standard": verdict.standard},
        }
        if not _is_utf8(request.body):
            line["body_base64"] = base64.b64encode(request.body).decode("ascii")
        print_json_line(line)

    def _write_block(
        self, number: int, request: Received, status: int, verdict: Verdict | None, attempt: int
    ) -> None:
        from reconciler.cli.verify import mask_headers, mask_text

        again = f", attempt {attempt} of this delivery" if attempt > 1 else ""
        head = f"{request.method} {one_line(mask_text(request.target, self.secrets))}"
        print_text(f"#{number}  {head}  → {status}{again}")
        for name, value in mask_headers(request.headers, self.secrets):
            print_text(f"    {one_line(name)}: {one_line(value)}")
        body = many_lines(mask_text(request.body.decode("utf-8", "replace"), self.secrets))
        for line in body[:_SHOWN_BODY_CHARACTERS].splitlines():
            print_text(f"    | {line}")
        if len(body) > _SHOWN_BODY_CHARACTERS:
            print_text(f"    | … {len(body) - _SHOWN_BODY_CHARACTERS:,} more characters")
        print_text(f"    {_describe(verdict)}\n")


def _describe(verdict: Verdict | None) -> str:
    if verdict is None:
        return "not verified: no secret given (--secret-env NAME)"
    words = {True: "good", False: "BAD", None: "absent"}
    detail = f"X-ChatThing-Signature {words[verdict.legacy]}, webhook-signature {words[verdict.standard]}"
    text = f"{'verified' if verdict.is_verified else 'NOT VERIFIED'}: {detail}"
    return click.style(text, fg="green" if verdict.is_verified else "red") if has_color(sys.stdout) else text


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
