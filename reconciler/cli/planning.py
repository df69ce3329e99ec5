"""Planning from the command line: the files here against a store, a daemon or an exported state. Reads only."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.checkout import current_commit, files_at
from reconciler.cli.opening import finished, opened
from reconciler.cli.output import has_color, note, print_bytes, print_text, width
from reconciler.cli.text import one_line
from reconciler.errors import ConfigurationInvalid, StateUnreadable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.cli.client import Client
    from reconciler.model.resource import Desired, State
    from reconciler.plan import Observation, Plan

__all__ = ["Planned", "load_files", "plan_on_server", "plan_on_state", "plan_on_store", "show_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, and the configuration it was made from, unless a daemon made it.

    `knows_traffic` is false where it was made from an exported state, which holds none.
    """

    plan: Plan
    desired: Desired | None = None
    knows_traffic: bool = True


def plan_on_store(files: Sequence[str], store: str, *, base_ref: str | None = None) -> Planned:
    """The plan against the store at that URL."""
    desired, commit = load_files(files)
    state, observed = finished(_observe(store))
    return _plan(files, desired, state, observed=observed, commit=commit, base_ref=base_ref)


def plan_on_state(files: Sequence[str], state_file: str, *, base_ref: str | None = None) -> Planned:
    """The plan against an exported state; `-` reads it from standard input."""
    from reconciler.control.export import read_export

    desired, commit = load_files(files)
    try:
        content = sys.stdin.buffer.read() if state_file == "-" else Path(state_file).read_bytes()
    except OSError as error:
        raise StateUnreadable(f"the state {state_file!r} cannot be read: {error.strerror or error}") from error
    planned = _plan(files, desired, read_export(content), observed={}, commit=commit, base_ref=base_ref)
    return replace(planned, knows_traffic=False)


def plan_on_server(files: Sequence[str], server: str, *, store: str, base_ref: str | None = None) -> Planned:
    """The plan that the daemon at `server` makes of the files here."""
    from reconciler import config
    from reconciler.cli.client import Client
    from reconciler.config.files import read_file
    from reconciler.plan.compare import unexplained

    paths = _paths(files)
    contents = {str(path): read_file(path) for path in config.find_files(paths)}
    before = _base_files(base_ref, paths)
    with Client(server, store=store) as client:
        plan = _ask(client, contents, current_commit(paths, os.environ))
        try:
            return Planned(plan=unexplained(plan, _ask(client, before, None)) if before else plan)
        except ConfigurationInvalid:
            _note_invalid_base(base_ref)
            return Planned(plan=plan)


def load_files(files: Sequence[str]) -> tuple[Desired, str | None]:
    """The configuration and the commit it stands at; warnings go to stderr."""
    from reconciler import config

    paths = _paths(files)
    desired = config.load(paths)
    if desired.warnings:
        from reconciler.config import report

        note(report.render(desired.warnings, "text", color=has_color(sys.stderr), width=width()))
    return desired, current_commit(paths, os.environ)


def show_plan(planned: Planned, format_: str, command: str) -> None:
    """The plan on stdout; `command` applies it."""
    plan = planned.plan
    match format_:
        case "json":
            from reconciler.plan import to_json

            print_bytes(to_json(plan))
        case "markdown":
            from reconciler.plan.render_markdown import render_markdown

            print_bytes(render_markdown(plan, command=command, knows_traffic=planned.knows_traffic).encode())
        case _:
            from reconciler.plan import render_text
            from reconciler.plan.words import traffic_matters

            if not planned.knows_traffic and any(map(traffic_matters, plan.changes)):
                note("note: an exported state knows no traffic; guards on it show only when applying")
            print_text(render_text(plan, color=has_color(sys.stdout), width=width() if sys.stdout.isatty() else None))


def _paths(files: Sequence[str]) -> Sequence[str | Path]:
    from reconciler import config

    return files or config.default_paths(Path.cwd())


async def _observe(url: str) -> tuple[State, Mapping[str, Observation]]:
    from reconciler.clock import SystemClock
    from reconciler.control.observe import observations
    from reconciler.store.port import Access

    async with opened(url, Access.READ) as store:
        return await store.read_state(), await observations(store, now_ms=SystemClock().now_ms())


def _plan(
    files: Sequence[str],
    desired: Desired,
    state: State,
    *,
    observed: Mapping[str, Observation],
    commit: str | None,
    base_ref: str | None,
) -> Planned:
    from reconciler.plan import make

    plan = make(desired, state, commit=commit, observed=observed)
    before = _base_files(base_ref, _paths(files))
    if before:
        from reconciler import config
        from reconciler.plan.compare import unexplained

        try:
            plan = unexplained(plan, make(config.load_texts(before, str(Path.cwd())), state))
        except ConfigurationInvalid:
            _note_invalid_base(base_ref)
    return Planned(plan=plan, desired=desired)


def _base_files(base_ref: str | None, paths: Sequence[str | Path]) -> Mapping[str, bytes]:
    """The files at `--base-ref`; nothing without one, or where they were not there, which is said."""
    if base_ref is None:
        return {}
    before = files_at(base_ref, paths)
    if not before:
        note(f"warning: none of these files is there at {one_line(base_ref)}, so nothing can be told apart from it")
    return before


def _ask(client: Client, contents: Mapping[str, bytes], commit: str | None) -> Plan:
    import orjson

    from reconciler import config
    from reconciler.config.files import shown
    from reconciler.plan import from_json

    try:
        files = {shown(name): content.decode("utf-8") for name, content in contents.items()}
    except UnicodeDecodeError:
        config.load_texts(contents, str(Path.cwd()))  # says where
        raise
    return from_json(orjson.dumps(client.post("api/v1/plan", {"files": files, "commit": commit})))


def _note_invalid_base(base_ref: str | None) -> None:
    note(f"warning: the configuration at {one_line(base_ref or '')} is invalid, so nothing can be told apart from it")
