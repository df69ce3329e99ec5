"""What the HTTP doors need from the process behind them; the daemon implements it, a test builds its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.metrics import Metrics
    from reconciler.mint import Mint
    from reconciler.model.breaker import Tripped
    from reconciler.model.delivery import Claim, Taking
    from reconciler.model.snapshot import Snapshot
    from reconciler.model.trial import Trial
    from reconciler.plan.plan import Plan
    from reconciler.problem import Problem
    from reconciler.store.port import Store

__all__ = ["Files", "Reloaded", "Rotated", "Services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A posted configuration: file names as they shall be cited, and their bytes.

    `base_dir` is the folder that relative `${file:…}` references are resolved against, on the daemon's machine.
    """

    texts: Mapping[str, bytes] = field(repr=False)
    base_dir: str = ""
    commit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """A regenerated secret, by what may be told of it. `previous_until_ms` is set within an overlap."""

    address: str
    fingerprint: str
    serial: int
    previous_until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """How a reload ended. `outcome` is a word of the daemon's; `is_good` decides between 200 and 422.

    `plan` is what waits for approval, if anything.
    """

    is_good: bool
    outcome: str
    message: str
    generation: int
    serial: int
    problems: tuple[Problem, ...] = ()
    plan: Plan | None = None


class Services(Protocol):
    """The process as its HTTP doors see it. Methods raise errors of `reconciler.errors`; the doors translate."""

    @property
    def snapshot(self) -> Snapshot:
        """The view in force. A request reads it once and keeps it."""
        ...

    @property
    def store(self) -> Store:
        """The durable store."""
        ...

    @property
    def clock(self) -> Clock:
        """Time."""
        ...

    @property
    def mint(self) -> Mint:
        """Chance."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Where the doors count."""
        ...

    @property
    def tokens(self) -> Mapping[str, str]:
        """Bearer tokens by scope: `admin`, `ingest`, `read`. Read once, when the application is built."""
        ...

    @property
    def gone(self) -> Collection[str]:
        """Ids of webhooks whose receiver has answered 410: nothing new is queued for them."""
        ...

    @property
    def breakers(self) -> Mapping[str, Tripped]:
        """The breakers that are not closed, by webhook id: what keeps deliveries back here and now."""
        ...

    @property
    def pauses(self) -> Mapping[str, int]:
        """Until when receivers asked to be left alone (`Retry-After`), by webhook id: what keeps back, too."""
        ...

    async def refresh(self) -> None:
        """Catch up with the store's state, because it turned out to have moved."""
        ...

    def measure(self) -> None:
        """Bring those metrics up to date that only the whole process knows: they are about to be read."""
        ...

    def reserve_deliveries(self, hook_ids: Iterable[str]) -> Taking | None:
        """Room at the dispatcher for deliveries to these hooks that are about to be stored, if it has any."""
        ...

    def take_deliveries(self, taking: Taking, claims: Sequence[Claim]) -> None:
        """What the store made of a reservation; nothing, if it stored nothing. Due once for each. Never blocks."""
        ...

    def deliveries_waiting(self, hook_ids: Collection[str], *, retries: bool = False) -> None:
        """Deliveries to these hooks are on disk and due, new ones or `retries`: wake the dispatcher. Never blocks."""
        ...

    def syncs_waiting(self) -> None:
        """A sync is queued: wake the runner. Never blocks."""
        ...

    async def test(self, address: str, payload: Mapping[str, Any] | None) -> Trial:
        """Send one marked request to an outgoing webhook, disabled or not; None uses the catalog's example.

        Raises UnknownAddress, UsageError for a trigger or a payload that is none of the hook's type.
        """
        ...

    async def rotate(self, address: str) -> Rotated:
        """Regenerate a secret now. Raises UnknownAddress, UsageError for one given by reference."""
        ...

    async def plan(self, files: Files) -> Plan:
        """What applying `files` would do now. Raises ConfigurationInvalid."""
        ...

    async def apply(self, files: Files, *, allow_delete: frozenset[str], allow_delete_all: bool) -> tuple[Plan, int]:
        """Apply `files` and serve them; the plan carried out and the new serial.

        Raises ConfigurationInvalid, GuardRefused, PlanStale.
        """
        ...

    async def reload(self) -> Reloaded:
        """Look at store and files now; returns when what they say is in force, or refused."""
        ...

    async def status(self) -> Mapping[str, Any]:
        """What `reconcile status` shows, as JSON values: generation, serial, queue, workers, approvals."""
        ...

    async def readiness(self) -> tuple[str, ...]:
        """What keeps this process from serving, in words fit for anybody; nothing when it is ready."""
        ...

    async def store_trouble(self) -> str | None:
        """What keeps the store from being read and written now, in words fit for anybody; None while nothing does."""
        ...
