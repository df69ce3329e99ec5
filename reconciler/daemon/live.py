"""What the daemon serves now, and how it changes: one immutable snapshot, swapped whole or not at all.

Two things can move it: the store's serial (another process applied, or this one did) and the followed files. Both
go through one lock, and both leave the last good snapshot in place when anything about the new one is wrong.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import structlog

from reconciler import config
from reconciler.control.reconcile import Allowance, apply, plan_against
from reconciler.control.references import check_references
from reconciler.control.snapshot import build_snapshot
from reconciler.errors import ConfigurationInvalid, GuardRefused, PlanStale, ReconcilerError, StoreUnavailable
from reconciler.model.snapshot import Snapshot
from reconciler.problem import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.daemon.options import OnChange
    from reconciler.mint import Mint
    from reconciler.model.resource import Desired, State
    from reconciler.plan.plan import Plan
    from reconciler.problem import Problem
    from reconciler.store.port import Store
    from reconciler.store.seal import Keyring

__all__ = ["Following", "Live", "Outcome"]

FILES_DIGEST = "followed-files"
"""The note that holds the digest of the files last acted on: a daemon with an old checkout reverts nothing."""

_READ_TRIES = 3
"""How often files that change while they are read are read again before the next wake-up does."""

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """How the last look at the followed files ended."""

    NOT_FOLLOWING = "not-following"
    CURRENT = "current"
    APPLIED = "applied"
    WAITING = "waiting"
    INVALID = "invalid"
    FAILED = "failed"


_SETTLED = frozenset({Outcome.CURRENT, Outcome.APPLIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """The last look at the files: what came of it, and what stands in the way.

    `plan` is what waits for approval (a guard refused it, or `--on-change plan`). `digest` and `serial` are what
    the verdict was passed on; it stays until one of them moves.
    """

    outcome: Outcome
    at_ms: int
    message: str = ""
    digest: str = ""
    serial: int = 0
    problems: tuple[Problem, ...] = ()
    plan: Plan | None = None

    @property
    def is_good(self) -> bool:
        """Whether nothing is wrong with the files."""
        return self.outcome not in (Outcome.INVALID, Outcome.FAILED)


class Live:
    """The snapshot in force and the two ways it changes. `swapped` is called after every swap."""

    def __init__(
        self,
        *,
        store: Store,
        keyring: Keyring,
        clock: Clock,
        mint: Mint,
        environ: Mapping[str, str],
        files: Sequence[str] | None,
        on_change: OnChange,
        swapped: Callable[[Snapshot], None],
        reported: Callable[[Following], None],
        guarded: Callable[[Sequence[str]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._mint = mint
        self._environ = environ
        self._files = files
        self._on_change = on_change
        self._swapped = swapped
        self._reported = reported
        self._guarded = guarded
        self._lock = asyncio.Lock()
        self._snapshot = Snapshot(generation=0, lineage=None, serial=-1)
        self._store_problem: ReconcilerError | None = None
        self._desired: Desired | None = None
        self._gone: frozenset[str] = frozenset()
        self._secrets_made: Mapping[str, int] = {}
        self.following = Following(outcome=Outcome.NOT_FOLLOWING, at_ms=clock.now_ms())

    @property
    def snapshot(self) -> Snapshot:
        """The view in force. Read it once per request and keep it for that request."""
        return self._snapshot

    @property
    def files(self) -> tuple[str, ...]:
        """The files and folders that are followed, as they were named."""
        return tuple(self._files or ())

    @property
    def gone(self) -> frozenset[str]:
        """Ids of webhooks whose receivers answered 410: they get nothing new until they are given another chance."""
        return self._gone

    @property
    def secrets_made_ms(self) -> Mapping[str, int]:
        """When the oldest generated secret of each type of webhook was made."""
        return self._secrets_made

    @property
    def store_problem(self) -> ReconcilerError | None:
        """Why the store's current state is not the one being served, if so."""
        return self._store_problem

    async def start(self) -> None:
        """Load the store's state, then the files. Raises what makes a cold start impossible."""
        async with self._lock:
            await self._load_state()
            if self._store_problem is not None:
                raise self._store_problem
            if self._files is not None:
                following = await self._look(act=self._on_change == "apply")
                if self._snapshot.serial == 0 and following.outcome is Outcome.INVALID:
                    raise ConfigurationInvalid(following.problems)

    async def follow_store(self) -> None:
        """Take over what another process applied, if anything."""
        self._gone = frozenset(await self._store.gone())
        lineage, serial = await self._store.read_serial()
        if (lineage, serial) != (self._snapshot.lineage, self._snapshot.serial):
            async with self._lock:
                await self._load_state()

    async def follow_files(self) -> None:
        """Act on the files if they changed since they were last acted on, as `--on-change` says."""
        if self._files is not None and self._on_change != "ignore":
            async with self._lock:
                await self._look(act=self._on_change == "apply")

    async def reload(self) -> Following:
        """Look at store and files now, because somebody asked: acts even under `--on-change ignore`.

        What references name is read again, too: a secret that was changed at its source is taken over here. Files
        may mend a state that cannot be served, so they are looked at before that is a problem.
        """
        async with self._lock:
            await self._load_state(again=True)
            if self._files is not None:
                await self._look(act=self._on_change != "plan", again=True)
            if self._store_problem is not None:
                raise self._store_problem
            return self.following

    async def apply(self, desired: Desired, allow: Allowance) -> tuple[Plan, int]:
        """Apply a posted configuration and serve it; the plan that was applied and the new serial."""
        async with self._lock:
            self._require_references(desired)
            try:
                applied = await apply(
                    self._store,
                    desired,
                    keyring=self._keyring,
                    mint=self._mint,
                    now_ms=self._clock.now_ms(),
                    allow=allow,
                )
            except GuardRefused as error:
                self._guarded(error.guards)
                raise
            await self._load_state()
            return applied.plan, applied.serial

    # -- the store's state -----------------------------------------------------------------------------------

    async def _load_state(self, *, again: bool = False) -> None:
        """Serve the store's state; `again` also when only what its references name may have changed."""
        self._gone = frozenset(await self._store.gone())
        state = await self._store.read_state()
        current = (self._snapshot.lineage, self._snapshot.serial)
        if (state.lineage, state.serial) == current and self._store_problem is None and not again:
            return
        try:
            snapshot = await asyncio.to_thread(self._build, state)
        except ReconcilerError as error:
            self._refuse_state(state, error)
            return
        self._store_problem = None
        if replace(snapshot, generation=self._snapshot.generation) == self._snapshot:
            return
        self._snapshot = snapshot
        self._secrets_made = _oldest_secrets(state)
        self._swapped(snapshot)
        log.info("snapshot.swapped", generation=snapshot.generation, serial=snapshot.serial)

    def _build(self, state: State) -> Snapshot:
        declared = {} if self._desired is None else self._desired.resources
        return build_snapshot(
            state,
            keyring=self._keyring,
            environ=self._environ,
            generation=self._snapshot.generation + 1,
            locate=lambda key, path: declared[key].locate(path) if key in declared else None,
            base_dirs={key: resource.base_dir for key, resource in declared.items()},
        )

    def _refuse_state(self, state: State, error: ReconcilerError) -> None:
        """Keep the last good view, but know the serial: what it decides must still be accepted by the store."""
        self._store_problem = error
        if self._snapshot.serial >= 0:
            self._snapshot = replace(self._snapshot, lineage=state.lineage, serial=state.serial)
            log.error("snapshot.refused", serial=state.serial, reason=error.message)

    # -- the followed files ----------------------------------------------------------------------------------

    async def _look(self, *, act: bool, again: bool = False) -> Following:
        assert self._files is not None
        digest = await asyncio.to_thread(config.digest_files, self._files)
        if digest == await self._store.read_note(FILES_DIGEST):
            if again or digest != self.following.digest or self.following.outcome not in _SETTLED:
                self._report(Following(outcome=Outcome.CURRENT, at_ms=self._clock.now_ms(), digest=digest))
        elif again or (digest, self._snapshot.serial) != (self.following.digest, self.following.serial):
            before, self.following = self.following, await self._judge(act=act)
            if again or self.following.digest or self.following.message != before.message:
                self._report(self.following)
        return self.following

    async def _read_files(self) -> tuple[str, Desired | ConfigurationInvalid]:
        """The files' digest and what they say, read while nobody was writing them."""
        assert self._files is not None
        digest = await asyncio.to_thread(config.digest_files, self._files)
        for _ in range(_READ_TRIES):
            read: Desired | ConfigurationInvalid
            try:
                read = await asyncio.to_thread(config.load, self._files)
            except ConfigurationInvalid as error:
                read = error
            before, digest = digest, await asyncio.to_thread(config.digest_files, self._files)
            if digest == before:
                return digest, read
        raise PlanStale("the files kept changing while they were being read; they will be looked at again")

    def _report(self, following: Following) -> None:
        self.following = following
        self._reported(following)
        detail = {"outcome": following.outcome.value, "serial": following.serial, "digest": following.digest}
        if following.is_good:
            log.info("files.looked-at", **detail, message=following.message)
            return
        log.error("files.refused", **detail, message=following.message)
        for problem in following.problems:
            log.log(
                logging.ERROR if problem.severity is Severity.ERROR else logging.WARNING,
                "files.problem",
                file=problem.place.file,
                line=problem.place.line,
                column=problem.place.column,
                code=problem.code,
                message=problem.message,
            )

    async def _judge(self, *, act: bool) -> Following:
        """Validate, plan and (if `act`) apply what the files say; every way this can end is a `Following`."""
        verdict = Following(outcome=Outcome.FAILED, at_ms=self._clock.now_ms(), serial=self._snapshot.serial)
        try:
            digest, read = await self._read_files()
            verdict = replace(verdict, digest=digest)
            if isinstance(read, ConfigurationInvalid):
                raise read
            self._desired = read
            return await (self._apply_files(verdict, read) if act else self._plan_files(verdict, read))
        except ConfigurationInvalid as error:
            return replace(verdict, outcome=Outcome.INVALID, message=error.message, problems=error.problems)
        except StoreUnavailable as error:
            # Without a digest nothing has been decided about these files: every poll tries again, in silence.
            return replace(verdict, digest="", message=error.message)
        except ReconcilerError as error:
            return replace(verdict, message=error.message)

    async def _plan_files(self, verdict: Following, desired: Desired) -> Following:
        plan = await plan_against(self._store, desired, now_ms=verdict.at_ms)
        if not plan.changes:
            return replace(verdict, outcome=Outcome.CURRENT)
        return replace(verdict, outcome=Outcome.WAITING, message="changes wait for `reconcile`", plan=plan)

    async def _apply_files(self, verdict: Following, desired: Desired) -> Following:
        self._require_references(desired)
        try:
            await apply(
                self._store,
                desired,
                keyring=self._keyring,
                mint=self._mint,
                now_ms=verdict.at_ms,
                allow=Allowance(),
                notes={FILES_DIGEST: verdict.digest},
            )
        except GuardRefused as error:
            self._guarded(error.guards)
            plan = await plan_against(self._store, desired, now_ms=verdict.at_ms)
            return replace(verdict, outcome=Outcome.WAITING, message=error.message, plan=plan)
        await self._store.write_note(FILES_DIGEST, verdict.digest)
        await self._load_state()
        return replace(verdict, outcome=Outcome.APPLIED, serial=self._snapshot.serial)

    def _require_references(self, desired: Desired) -> None:
        problems = check_references(desired, self._environ)
        if problems:
            raise ConfigurationInvalid(problems)


def _oldest_secrets(state: State) -> dict[str, int]:
    oldest: dict[str, int] = {}
    for resource in state.resources.values():
        if resource.secret is not None:
            kind = str(resource.spec["type"])
            oldest[kind] = min(oldest.get(kind, resource.secret.created_ms), resource.secret.created_ms)
    return oldest
