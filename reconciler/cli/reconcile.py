"""`reconcile` itself: plan, show, ask, apply."""

from __future__ import annotations

import asyncio
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.cli.memory import uncollected
from reconciler.cli.opening import load_keyring, opened, write_whole
from reconciler.cli.options import DEFAULT_STORE
from reconciler.cli.output import ask, is_interactive, note, print_json, print_text
from reconciler.cli.planning import plan_on_server, plan_on_state, plan_on_store, show_plan
from reconciler.cli.text import one_line
from reconciler.errors import ExitCode, ReconcilerError, UsageError

if TYPE_CHECKING:
    from reconciler.model.resource import Desired
    from reconciler.plan import Allowance, Plan

__all__ = ["ReconcileOptions", "carry_out", "print_applied", "reconcile", "warn_of_vain"]


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


@uncollected()
def reconcile(options: ReconcileOptions) -> int:
    """Plan, and apply unless only the plan was wanted; the exit code."""
    _refuse_contradictions(options)
    plan = _plan_only(options) if options.plan else _plan_and_apply(options)
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


def _plan_only(options: ReconcileOptions) -> Plan:
    if options.server:
        planned = plan_on_server(options.files, options.server, store=options.store, base_ref=options.base_ref)
    elif options.state_file:
        planned = plan_on_state(options.files, options.state_file, base_ref=options.base_ref)
    else:
        planned = plan_on_store(options.files, options.store, base_ref=options.base_ref)
    if options.out is not None:
        from reconciler.plan import to_json

        write_whole(options.out, to_json(planned.plan))
    is_comment = options.format_ == "markdown"  # read where the plan is downloaded, not where it was made
    show_plan(planned, options.format_, _apply_command(options, in_folder=not is_comment))
    if options.out is not None:
        note(f"saved; apply it with: {one_line(_apply_command(options))}")
    return planned.plan


def _plan_and_apply(options: ReconcileOptions) -> Plan:
    from reconciler.plan import Allowance

    planned = plan_on_store(options.files, options.store)
    plan, desired = planned.plan, planned.desired
    assert desired is not None
    if options.format_ != "json":
        show_plan(planned, options.format_, _apply_command(options))
    allow = Allowance(addresses=frozenset(options.allow_delete), all=options.allow_delete_all)
    serial = plan.base.serial
    if plan.changes:
        if not options.yes:
            _require_consent(plan, allow)
        serial = asyncio.run(carry_out(plan, desired, allow, store_url=options.store, key_file=options.key_file))
    if options.format_ == "json":
        print_applied(plan, serial)
    elif plan.changes:
        print_text(f"Applied; the state's serial is {serial}.")
    warn_of_vain(plan, allow)
    return plan


def _apply_command(options: ReconcileOptions, *, in_folder: bool = True) -> str:
    """What applies the plan that is shown, as it can be pasted into a shell; with or without the plan's folder."""
    saved = options.out if options.out is None or in_folder else Path(options.out).name
    words = ["reconcile", *(["apply", saved] if saved else [])]
    words += [word for path in options.files for word in ("-f", path)]
    is_said = options.store in (DEFAULT_STORE, os.environ.get("RECONCILER_STORE"))
    if not is_said and options.store.startswith("sqlite:"):  # the URL of a server may hold a password
        words += ["--store", options.store]
    return shlex.join(words)


def _require_consent(plan: Plan, allow: Allowance) -> None:
    from reconciler.control.reconcile import refuse
    from reconciler.plan.guards import reaches, vain_allowances

    if not reaches(allow, plan.changes):
        refuse(plan.guards, vain_allowances(allow, plan.changes))  # a question would be for nothing
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


def warn_of_vain(plan: Plan, allow: Allowance) -> None:
    """Name the addresses that were allowed and that the plan has not deleted or replaced."""
    from reconciler.plan.guards import vain_allowances

    for said in vain_allowances(allow, plan.changes):
        note(f"warning: {one_line(said)}")


def print_applied(plan: Plan, serial: int) -> None:
    """The plan that was applied, as JSON, with the serial that the state has now."""
    from reconciler.plan.render_json import plan_value

    print_json({**plan_value(plan), "applied": {"serial": serial}})
