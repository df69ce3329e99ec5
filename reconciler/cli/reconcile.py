"""`reconcile` itself: plan, show, ask, apply."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.checkout import current_commit
from reconciler.cli.opening import load_keyring, opened, write_whole
from reconciler.cli.output import ask, has_color, is_interactive, note, print_bytes, print_json, print_text, width
from reconciler.errors import ExitCode, ReconcilerError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.resource import Desired
    from reconciler.plan import Allowance, Plan
    from reconciler.store.port import Store

__all__ = ["ReconcileOptions", "carry_out", "load_files", "reconcile", "show_plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileOptions:
    """What `reconcile` was told."""

    plan: bool
    files: tuple[str, ...]
    yes: bool
    allow_delete: tuple[str, ...]
    allow_delete_all: bool
    format_: str
    out: str | None
    detailed_exitcode: bool
    base_ref: str | None
    state_file: str | None
    server: str | None
    store: str
    key_file: str | None


def reconcile(options: ReconcileOptions) -> int:
    """Plan, and apply unless only the plan was wanted; the exit code."""
    _refuse_contradictions(options)
    plan = asyncio.run(_plan_only(options) if options.plan else _plan_and_apply(options))
    return ExitCode.CHANGES if options.detailed_exitcode and plan.changes else ExitCode.DONE


def _refuse_contradictions(options: ReconcileOptions) -> None:
    planning_only = {
        "--out": options.out,
        "--base-ref": options.base_ref,
        "--state": options.state_file,
        "--server": options.server,
    }
    applying_only = {
        "--yes": options.yes,
        "--allow-delete": options.allow_delete,
        "--allow-delete-all": options.allow_delete_all,
    }
    wrong = applying_only if options.plan else planning_only
    for name, value in wrong.items():
        if value:
            raise UsageError(f"{name} goes {'without' if options.plan else 'with'} --plan; see `reconcile -h`")
    if options.state_file and options.server:
        raise UsageError("--state and --server name two things to plan against; give one of them")


# -- planning ------------------------------------------------------------------------------------------------


async def _plan_only(options: ReconcileOptions) -> Plan:
    plan = _plan_on_server(options) if options.server else await _plan_here(options)
    if options.out is not None:
        from reconciler.plan import to_json

        write_whole(options.out, to_json(plan))
    show_plan(plan, options.format_, options.base_ref)
    if options.out is not None:
        note(f"saved; apply it with: reconcile apply {options.out}")
    return plan


async def _plan_here(options: ReconcileOptions) -> Plan:
    desired, commit = load_files(options.files)
    if options.state_file is not None:
        from reconciler.control.export import read_export
        from reconciler.plan import make

        return make(desired, read_export(_read(options.state_file)), commit=commit)
    from reconciler.store.port import Access

    async with opened(options.store, Access.READ) as store:
        return await _plan_against(store, desired, commit)


def _read(path: str) -> bytes:
    return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()


def _plan_on_server(options: ReconcileOptions) -> Plan:
    import orjson

    from reconciler import config
    from reconciler.cli.client import Client
    from reconciler.config.files import read_file
    from reconciler.plan import from_json

    assert options.server is not None
    paths = _paths(options.files)
    contents = {str(path): read_file(path) for path in config.find_files(paths)}
    try:
        files = {name: content.decode("utf-8") for name, content in contents.items()}
    except UnicodeDecodeError:
        config.load(paths)  # says where
        raise
    with Client(options.server, store=options.store) as client:
        answer = client.post("api/v1/plan", {"files": files, "commit": current_commit(paths, os.environ)})
    return from_json(orjson.dumps(answer))


async def _plan_against(store: Store, desired: Desired, commit: str | None) -> Plan:
    from reconciler.clock import SystemClock
    from reconciler.control.reconcile import plan_against

    return await plan_against(store, desired, now_ms=SystemClock().now_ms(), commit=commit)


def _paths(files: Sequence[str]) -> Sequence[str | Path]:
    from reconciler import config

    return files or config.default_paths(Path.cwd())


def load_files(files: Sequence[str]) -> tuple[Desired, str | None]:
    """The configuration and the commit it stands at; warnings go to stderr."""
    from reconciler import config

    paths = _paths(files)
    desired = config.load(paths)
    if desired.warnings:
        from reconciler.config import report

        note(report.render(desired.warnings, "text", color=has_color(sys.stderr), width=width()))
    return desired, current_commit(paths, os.environ)


def show_plan(plan: Plan, format_: str, base_ref: str | None = None) -> None:
    """The plan on stdout."""
    match format_:
        case "json":
            from reconciler.plan import to_json

            print_bytes(to_json(plan))
        case "markdown":
            from reconciler.plan.render_markdown import render_markdown

            print_text(render_markdown(plan))
        case _:
            from reconciler.plan import render_text

            print_text(render_text(plan, color=has_color(sys.stdout), width=width()))


# -- applying ------------------------------------------------------------------------------------------------


async def _plan_and_apply(options: ReconcileOptions) -> Plan:
    from reconciler.plan import Allowance
    from reconciler.store.port import Access

    desired, commit = load_files(options.files)
    async with opened(options.store, Access.READ) as store:
        plan = await _plan_against(store, desired, commit)
    if options.format_ != "json":
        show_plan(plan, options.format_)
    allow = Allowance(addresses=frozenset(options.allow_delete), all=options.allow_delete_all)
    serial = plan.base.serial
    if plan.changes:
        if not options.yes:
            _require_consent(plan, allow)
        serial = await carry_out(plan, desired, allow, store_url=options.store, key_file=options.key_file)
    if options.format_ == "json":
        print_applied(plan, serial)
    elif plan.changes:
        print_text(f"Applied; the state's serial is {serial}.")
    return plan


def _require_consent(plan: Plan, allow: Allowance) -> None:
    if plan.guards and not allow.all and not allow.addresses:
        return  # applying will refuse, and say why: a question would be for nothing
    if not is_interactive():
        raise UsageError("nobody can be asked here: there is no terminal; give --yes to apply without asking")
    if not ask("Apply this plan?"):
        raise ReconcilerError("nothing was applied: the answer was not yes")


async def carry_out(plan: Plan, desired: Desired, allow: Allowance, *, store_url: str, key_file: str | None) -> int:
    """Apply exactly `plan` and return the state's new serial."""
    from reconciler.clock import SystemClock
    from reconciler.control.reconcile import apply
    from reconciler.mint import SystemMint
    from reconciler.store.port import Access

    async with opened(store_url, Access.WRITE) as store:
        state = await store.read_state()
        has_secrets = any(resource.secret for resource in state.resources.values())
        keyring = load_keyring(store_url, key_file, create=not has_secrets)
        applied = await apply(
            store,
            desired,
            keyring=keyring,
            mint=SystemMint(),
            now_ms=SystemClock().now_ms(),
            allow=allow,
            reviewed=plan,
            commit=plan.commit,
        )
    if keyring.made is not None:
        note(
            f"made the key {keyring.made}: it opens every secret in this store;"
            " keep a copy of it elsewhere, and out of git"
        )
    return applied.serial


def print_applied(plan: Plan, serial: int) -> None:
    """The plan that was applied, as JSON, with the serial that the state has now."""
    from reconciler.plan.render_json import plan_value

    print_json({**plan_value(plan), "applied": {"serial": serial}})
