"""What no schema can say: names that must be known, times within bounds, secrets that cannot turn."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from reconciler.config.declare import effective, former_addresses, former_handles
from reconciler.config.request import (
    Finding,
    content_type_of,
    judge_body,
    judge_header,
    judge_header_names,
    judge_text,
    judge_url,
)
from reconciler.config.suggest import did_you_mean
from reconciler.model.duration import parse_duration
from reconciler.model.hook import EventType
from reconciler.problem import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from reconciler.config.gather import Entry, GatheredBot
    from reconciler.problem import Problem

__all__ = ["check"]

_DURATION_MAX = {"timeout": "30s", "retry.schedule": "7d", "rotation.overlap": "30d", "sync.timeout": "24h"}
_DURATION_MAX_MS = {path: parse_duration(most) for path, most in _DURATION_MAX.items()}
_OF_ONE_SEVERITY_MAX = 1_000
_SUGGESTIONS_MAX = 100  # each is a search among all names
_NEVER_ZERO = frozenset({"timeout", "sync.timeout"})
_REFERENCE = re.compile(r"\$\{(?:env|file):")


def check(bots: Mapping[str, GatheredBot], problems: list[Problem], *, notify: Entry | None, whole: bool) -> None:
    """Add what is wrong with bots and the target of notices. What the schema has refused is not judged again.

    `whole` says that every file could be read: otherwise what seems unknown may stand in one that could not.
    """
    checker = _Checker(problems, whole=whole)
    with suppress(_EnoughErrors):
        _check_all(bots, checker)
        if notify is not None and not notify.broken:
            checker.notify(notify)


def _check_all(bots: Mapping[str, GatheredBot], checker: _Checker) -> None:
    checker.identities("bot", {handle: bot.saying("id") for handle, bot in bots.items()}, "id")
    checker.identities("bot", {handle: bot.saying("name") for handle, bot in bots.items()}, "name")
    claims: dict[str, Entry] = {}
    for handle, bot in bots.items():
        checker.bot(bot)
        checker.identities("data source", bot.data_sources, "id", below=f"{handle}/")
        checker.identities("data source", bot.data_sources, "name", below=f"{handle}/")
        for entry in bot.data_sources.values():
            if not entry.broken:
                checker.data_source(entry)
        for entry in bot.webhooks.values():
            if not entry.broken:
                checker.webhook(entry, bot)
        checker.claims(bot, claims)


class _EnoughErrors(Exception):
    """So many errors are found that more would not be read."""


class _Checker:
    """The checks of one configuration, adding to one list of problems."""

    def __init__(self, problems: list[Problem], *, whole: bool) -> None:
        self.problems = problems
        self.whole = whole
        self.counts = {Severity.ERROR: 0, Severity.WARNING: 0}

    # -- bots and data sources -----------------------------------------------------------------------------------

    def bot(self, bot: GatheredBot) -> None:
        """A bot's own fields."""
        for block in bot.blocks:
            if not block.broken:
                self._no_references(block, ("id", "name"))

    def identities(self, what: str, entries: Mapping[str, Entry], key: str, *, below: str = "") -> None:
        """What events name things by must name one thing: ids and handles strictly, names where they are used."""
        owners: dict[str, str] = {}
        for handle, entry in entries.items():
            value = entry.raw.get(key, handle)
            if not isinstance(value, str):
                continue
            other = owners.setdefault(value, handle)
            if key == "id" and value != handle and value in entries:
                other = value  # another's handle
            elif key == "id" and value == handle:
                continue  # its own handle: whoever else has that as an id is told so
            if other == handle:
                continue
            first = entries[other].place(key)
            shown = f"the {what} `{below}{handle}`"
            if key == "id":
                message = f"{shown} has the id `{value[:80]}`, by which events also mean `{below}{other}`"
                self._add(entry, key, Finding("", "ambiguous-id", message), also=first)
            else:
                message = f"{shown} has the name of `{below}{other}`: an event that gives only it is refused"
                self._add(entry, key, Finding("", "ambiguous-name", message, Severity.WARNING), also=first)

    def data_source(self, entry: Entry) -> None:
        """A data source that the schema accepts."""
        self._no_references(entry, ("id", "name"))
        sync = entry.raw.get("sync")
        if sync is None:
            return
        if "timeout" in sync:
            self._duration(entry, "sync.timeout", sync["timeout"])
        if "command" in sync:
            for position, argument in enumerate(sync["command"]):
                self._report(entry, f"sync.command.{position}", judge_text(argument))
            return
        self._report(entry, "sync.http.url", judge_url(sync["http"]["url"], None))
        self._headers(entry, "sync.http.headers", sync["http"].get("headers", {}), None)

    def notify(self, entry: Entry) -> None:
        """The target of notices, as the schema accepts it."""
        self._report(entry, "url", judge_url(entry.raw["url"], None))
        if "secret" in entry.raw:
            self._referenced_secret(entry, entry.raw)

    # -- webhooks ------------------------------------------------------------------------------------------------

    def webhook(self, entry: Entry, bot: GatheredBot) -> None:
        """A webhook that the schema accepts, with its defaults."""
        raw = effective(entry)
        event = EventType(raw["type"])
        if "data_source" in raw:
            self._data_source_of(entry, raw["data_source"], event, bot)
        if "rotation" in raw and "overlap" in raw["rotation"]:
            self._duration(entry, "rotation.overlap", raw["rotation"]["overlap"])
        if event.is_incoming:
            return
        if "timeout" in raw:
            self._duration(entry, "timeout", raw["timeout"])
        if "retry" in raw:
            for position, wait in enumerate(raw["retry"].get("schedule", ())):
                self._duration(entry, "retry.schedule", wait, item=f".{position}")
        if "secret" in raw:
            self._referenced_secret(entry, raw)
        self._report(entry, "url", judge_url(raw["url"], event))
        if "custom_payload" in raw:
            self._custom_payload(entry, raw["custom_payload"], event)

    def claims(self, bot: GatheredBot, claimed: dict[str, Entry]) -> None:
        """A former address can live on in one place only."""
        handles = former_handles(bot) if not any(block.broken for block in bot.blocks) else ()
        for former in handles:
            self._claim(bot.saying("moved_from"), former, bot.handle, claimed)
        for name, entry in bot.webhooks.items():
            if not entry.broken:
                for former in former_addresses(entry, (bot.handle, *handles)):
                    self._claim(entry, former, f"{bot.handle}/{name}", claimed)

    def _claim(self, entry: Entry, former: str, address: str, claimed: dict[str, Entry]) -> None:
        if former == address:
            message = f"`{address}` is said to have moved from itself"
            self._add(
                entry, "moved_from", Finding("", "moved-from-itself", message, Severity.WARNING, "remove the line")
            )
            return
        first = claimed.setdefault(former, entry)
        if first is not entry:
            place = first.place("moved_from")
            message = f"`{former}` can move to one place only, and {place.file}:{place.line} claims it too"
            self._add(entry, "moved_from", Finding("", "claimed-twice", message), also=place)

    def _data_source_of(self, entry: Entry, handle: str, event: EventType, bot: GatheredBot) -> None:
        source = bot.data_sources.get(handle)
        if source is None:
            if self.whole:
                known = list(bot.data_sources)
                message = f"the bot `{bot.handle}` has no data source `{handle}`"
                near = did_you_mean(handle, known) if len(self.problems) < _SUGGESTIONS_MAX else None
                suggestion = near or (f"it has {', '.join(known[:10])}" if known else None)
                self._add(entry, "data_source", Finding("", "unknown-data-source", message, suggestion=suggestion))
        elif event.is_incoming and not source.broken and "sync" not in source.raw:
            place = source.place("")
            message = f"the data source `{handle}` does not say how it is synced, so nothing could trigger it"
            suggestion = f"add `sync` to it at {place.file}:{place.line}"
            finding = Finding("", "data-source-without-sync", message, suggestion=suggestion)
            self._add(entry, "data_source", finding, also=place)

    def _referenced_secret(self, entry: Entry, raw: Mapping[str, Any]) -> None:
        for key in ("env", "file"):
            if _REFERENCE.search(raw["secret"].get(key, "")):
                message = f"`{key}` is itself a reference to the secret: write the name or path alone"
                self._add(entry, f"secret.{key}", Finding("", "reference-not-allowed", message))
        if "secret_version" in raw:
            message = "`secret_version` rotates generated secrets; this one is changed where it comes from"
            self._add(entry, "secret_version", Finding("", "rotate-reference", message, suggestion="remove the line"))

    def _custom_payload(self, entry: Entry, payload: Mapping[str, Any], event: EventType) -> None:
        headers = payload.get("headers", {})
        self._headers(entry, "custom_payload.headers", headers, event)
        if "body" in payload:
            findings = judge_body(payload["body"], content_type_of(headers), event)
            self._report(entry, "custom_payload.body", findings)

    # -- shared --------------------------------------------------------------------------------------------------

    def _headers(self, entry: Entry, path: str, headers: Mapping[str, str], event: EventType | None) -> None:
        for finding in judge_header_names(headers, delivery=event is not None):
            self._add(entry, f"{path}.{finding.piece}", finding._replace(piece=""), at_key=True)
        for name, value in headers.items():
            self._report(entry, f"{path}.{name}", judge_header(value, event))

    def _duration(self, entry: Entry, path: str, text: str, *, item: str = "") -> None:
        most = _DURATION_MAX[path]
        duration = parse_duration(text)
        if duration > _DURATION_MAX_MS[path] or (duration == 0 and path in _NEVER_ZERO):
            above_zero = "more than 0 and " if path in _NEVER_ZERO else ""
            message = f"`{path.rpartition('.')[2]}` must be {above_zero}at most {most}"
            self._add(entry, f"{path}{item}", Finding("", "out-of-range", message))

    def _no_references(self, entry: Entry, keys: Iterable[str]) -> None:
        for key in keys:
            value = entry.raw.get(key)
            if isinstance(value, str) and _REFERENCE.search(value):
                message = f"a reference may not stand in `{key}`: plans are made without resolving any"
                self._add(entry, key, Finding("${", "reference-not-allowed", message))

    def _report(self, entry: Entry, path: str, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._add(entry, path, finding)

    def _add(self, entry: Entry, path: str, finding: Finding, *, also: Any = None, at_key: bool = False) -> None:
        """A problem at the piece of the value that the finding names, as near as the file shows it."""
        self.counts[finding.severity] += 1
        if self.counts[finding.severity] > _OF_ONE_SEVERITY_MAX:
            if finding.severity is Severity.ERROR:
                raise _EnoughErrors
            return
        document = entry.document
        index = entry.index(path, value=not at_key)
        length = None
        if finding.piece:
            found = document.text.find(finding.piece, index)
            # Escapes may hide the piece: then the caret stays at the value instead of running off to another.
            shown = 0 <= found < document.value_end(index)
            index, length = (found, len(finding.piece)) if shown else (index, None)
        problem = document.problem(
            index,
            finding.code,
            finding.message,
            severity=finding.severity,
            suggestion=finding.suggestion,
            also=also,
            length=length,
        )
        self.problems.append(problem)
