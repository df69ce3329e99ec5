"""`reconcile status`: what a running daemon is doing, and what it wants of somebody."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

from reconciler.cli.command import command
from reconciler.cli.options import DEFAULT_STORE, format_options, server_option, store_option
from reconciler.cli.output import note, print_fields, print_json, print_text
from reconciler.cli.text import one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["status"]

_LISTED_MAX = 20
"""Changes that wait for approval, problems, and webhooks that are not well, listed one by one."""
_KIB = 1024
_REMEDIES = {
    "gone": "change its url, or try it again: reconcile test {}",
    "breaker-open": "it is probed by itself; once it is mended: reconcile test {}",
    "failing": "see: reconcile deliveries --hook {}",
}
_PAUSED = "asked to be left alone until {1}; clears by itself, or by a good reconcile test {0}"


@command("status", examples=("reconcile status", "reconcile status --json | jq .queue"))
@format_options("text", "json")
@server_option
@store_option
def status(format_: str, server: str, store: str) -> None:
    """Show the daemon's generation, serial, queue and workers, and what waits for approval."""
    from reconciler.cli.client import Client

    with Client(server, store=store) as client:
        found = client.get("api/v1/status")
    if format_ == "json":
        print_json(found)
        return
    print_fields(dict(_lines(found, client.address)))
    hooks, files = found.get("hooks", {}), found.get("files", {})
    _print_part(_attention(hooks.get("attention", ()), hooks.get("attention_count", 0)))
    _print_part(_problems(files.get("problems", ())))
    if found.get("waiting_for_approval"):
        _print_part(_waiting(found["waiting_for_approval"], store))
    if found.get("store", {}).get("trouble"):
        note(
            f"warning: {found['store']['trouble']}: events and triggers are answered 503, "
            "and no attempts are started; the log says why"
        )
    if found.get("problem"):
        note(f"warning: the store's state is not what is served: {found['problem']}")


def _print_part(lines: Iterator[str]) -> None:
    shown = [one_line(line) for line in lines]
    if shown:
        print_text("\n".join(["", *shown]))


# -- the daemon at a glance ------------------------------------------------------------------------------------


def _lines(found: Mapping[str, Any], address: str) -> Iterator[tuple[str, str]]:
    """Each line's name and what stands on it; a daemon that does not tell something has no line for it."""
    yield "daemon", _joined(address, _part("version {}", found.get("version")), _up(found.get("uptime_ms")))
    yield "serving", _joined(f"generation {found.get('generation')}", f"serial {found.get('serial')}")
    files = found.get("files")
    if files:
        yield "files", _joined(files.get("outcome", ""), files.get("message", ""))
    queue = dict(found.get("queue", {}))
    oldest_ms = queue.pop("oldest_waiting_ms", 0)
    live = [f"{queue.pop(word, 0):,} {word}" for word in ("pending", "sending")]
    yield "queue", _joined(*live, _part("the oldest overdue by {}", oldest_ms and _span(oldest_ms)))
    if queue:
        yield "kept", _counts(queue) or "nothing"
    for name in ("workers", "syncs"):
        if name in found:
            yield name, _counts(found[name]) or "idle"
    hooks = found.get("hooks")
    if hooks:
        triggers = plural(hooks.get("triggers", 0), "trigger")
        yield (
            "webhooks",
            _joined(f"{hooks.get('outgoing', 0):,} outgoing", triggers, _counts(hooks.get("health", {}))),
        )
    store = found.get("store")
    if store:
        yield "store", _joined(*_store(store))


def _store(store: Mapping[str, Any]) -> Iterator[str]:
    yield str(store.get("backend", ""))
    if "file_bytes" in store:
        yield _size(store["file_bytes"])
    if store.get("wal_bytes"):
        yield f"{_size(store['wal_bytes'])} of log not yet in it"


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _part(template: str, value: Any) -> str:
    return template.format(value) if value else ""


def _counts(counts: Mapping[str, Any]) -> str:
    """Counts in words, those of nothing left out."""
    return _joined(*(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count))


def _up(ms: int | None) -> str:
    return "" if ms is None else f"up {_span(ms)}"


def _span(ms: int) -> str:
    """A span of time in its two largest units: `2d 3h`."""
    left_s, words = max(ms // 1000, 1), []
    for unit, size_s in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        count, left_s = divmod(left_s, size_s)
        if count:
            words.append(f"{count}{unit}")
    return " ".join(words[:2])


def _size(size: int) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size < _KIB:
            return f"{size:,.0f} {unit}"
        size = round(size / _KIB)
    return f"{size:,} GiB"


# -- what wants attention --------------------------------------------------------------------------------------


def _attention(unwell: Any, count: int) -> Iterator[str]:
    """Webhooks that are gone, held back or failing, and what helps; `count` is how many there are."""
    if not unwell:
        return
    yield "not well:"
    width = max(len(one["address"]) for one in unwell[:_LISTED_MAX])
    for one in unwell[:_LISTED_MAX]:
        since = f" since {one['since']}" if one.get("since") else ""
        waiting = f", {one['waiting']:,} waiting" if one.get("waiting") else ""
        until = one.get("paused_until")  # why nothing goes out, whatever the health
        remedy = (_PAUSED if until else _REMEDIES.get(one["health"], "")).format(one["address"], until)
        yield f"  {one['address'].ljust(width)}  {one['health']}{since}{waiting}; {remedy}"
    more = count - min(len(unwell), _LISTED_MAX)
    if more > 0:
        yield f"  and {more:,} more: reconcile hooks"


def _problems(problems: Any) -> Iterator[str]:
    """What is wrong with the followed files."""
    if not any(problem.get("severity") == "error" for problem in problems):
        return
    yield "problems of the files, which change nothing until they are mended:"
    for problem in problems[:_LISTED_MAX]:
        place = f"{problem['file']}:{problem['line']}:{problem['column']}"
        yield f"  {place}: {problem['severity']}[{problem['code']}]: {problem['message']}"
    if len(problems) > _LISTED_MAX:
        yield f"  and {len(problems) - _LISTED_MAX:,} more: reconcile validate"


def _waiting(waiting: Mapping[str, Any], store: str) -> Iterator[str]:
    """What waits for approval: the changes, what stands against them, and the command that carries them out."""
    counts = {action: count for action, count in waiting["summary"].items() if action != "unchanged"}
    yield f"waiting for approval: {', '.join(f'{count} to {action}' for action, count in counts.items() if count)}"
    changes = waiting.get("changes", [])
    for change in changes[:_LISTED_MAX]:
        yield f"  {change['action']} {change['kind'].replace('_', ' ')} {change['address']}"
    if (more := sum(counts.values()) - _LISTED_MAX) > 0 and changes:
        yield f"  and {more} more"
    for guard in waiting["guards"]:
        yield f"  guard {guard['address'] or 'the whole plan'}: {guard['message']}"
    elsewhere = [] if store in (DEFAULT_STORE, os.environ.get("RECONCILER_STORE")) else ["--store", store]
    yield f"  approve with: {shlex.join([*shlex.split(waiting.get('command', 'reconcile')), *elsewhere])}"
