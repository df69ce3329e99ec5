"""The document behind `reconcile status`: how the daemon is, and what wants somebody's attention."""

from __future__ import annotations

from collections import Counter
from shlex import join
from typing import TYPE_CHECKING, Any, Final

import reconciler
from reconciler.daemon.live import Outcome
from reconciler.plan.guards import flags_of
from reconciler.plan.render_json import plan_value
from reconciler.web.times import iso, maybe_iso
from reconciler.web.views import health_of, webhooks
from reconciler.web.waiting import oldest_due_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reconciler.clock import Clock
    from reconciler.daemon.live import Following, Live
    from reconciler.daemon.usable import StoreCheck
    from reconciler.delivery.dispatcher import Dispatcher
    from reconciler.store.port import Store

__all__ = ["StatusDocument"]

_CHANGES_MAX: Final = 100
_ATTENTION_MAX: Final = 100
"""Changes that wait and webhooks that are not well, listed in the document; the counts are of all."""
_UNWELL: Final = ("gone", "breaker-open", "failing")
"""What wants attention, the worst first; after it the webhooks that do well, but whose receivers want a pause."""
_RANK: Final = {word: rank for rank, word in enumerate(_UNWELL)}


class StatusDocument:
    """Asks everybody. A document is put together anew each time."""

    def __init__(
        self, *, live: Live, store: Store, store_check: StoreCheck, dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self._live = live
        self._store = store
        self._store_check = store_check
        self._dispatcher = dispatcher
        self._clock = clock
        self._started_ms = clock.now_ms()

    async def read(self) -> dict[str, Any]:
        """The document, JSON values all through."""
        live, snapshot, now_ms = self._live, self._live.snapshot, self._clock.now_ms()
        stats = await self._store.stats()
        due_ms = oldest_due_ms(await self._store.ready(), snapshot, live.gone)
        problem = live.store_problem
        return {
            "version": reconciler.__version__,
            "uptime_ms": now_ms - self._started_ms,
            "generation": snapshot.generation,
            "lineage": snapshot.lineage,
            "serial": snapshot.serial,
            "queue": {
                **{status.value: count for status, count in sorted(stats.by_status.items())},
                "oldest_waiting_ms": 0 if due_ms is None else max(0, now_ms - due_ms),
            },
            "workers": self._dispatcher.status(),
            "syncs": {"waiting": stats.syncs_waiting, "running": stats.syncs_running},
            "hooks": {
                "outgoing": len(snapshot.outgoing),
                "triggers": len(snapshot.triggers),
                "gone": stats.gone,
                **await self._health(now_ms),
            },
            "files": _following(live.following),
            "waiting_for_approval": _waiting(live.following, live.files),
            "problem": None if problem is None else problem.message,
            "store": {**stats.engine, "trouble": await self._store_check.trouble()},
        }

    async def _health(self, now_ms: int) -> dict[str, Any]:
        """How many webhooks are well and not, and which are not."""
        state, observed = await self._store.read_state(), await self._store.observed(now_ms=now_ms)
        tripped, pauses = self._dispatcher.breakers(), self._dispatcher.pauses()
        health: Counter[str] = Counter()
        unwell = []
        for resource in webhooks(state):
            hook_id = resource.id or ""
            seen, breaker, paused_until_ms = observed.get(hook_id), tripped.get(hook_id), pauses.get(hook_id)
            word = health_of(resource, seen, breaker)
            health[word] += 1
            if (word in _UNWELL or paused_until_ms is not None) and seen is not None:
                since_ms = seen.gone_since_ms if word == "gone" else seen.failing_since_ms
                since = maybe_iso(since_ms if breaker is None else breaker.since_ms)
                one = {
                    "address": resource.key.address,
                    "health": word,
                    "since": since,
                    "waiting": seen.waiting,
                    "paused_until": maybe_iso(paused_until_ms),
                }
                unwell.append(one)
        unwell.sort(key=lambda one: _RANK.get(str(one["health"]), len(_RANK)))
        return {
            "health": dict(sorted(health.items())),
            "attention": unwell[:_ATTENTION_MAX],
            "attention_count": len(unwell),
        }


def _following(following: Following) -> dict[str, Any]:
    return {
        "outcome": following.outcome.value,
        "at": iso(following.at_ms),
        "message": following.message,
        "problems": [
            {
                "file": problem.place.file,
                "line": problem.place.line,
                "column": problem.place.column,
                "severity": problem.severity.value,
                "code": problem.code,
                "message": problem.message,
            }
            for problem in following.problems
        ],
    }


def _waiting(following: Following, files: Sequence[str]) -> Mapping[str, Any] | None:
    """What somebody must decide on before the files take effect, and the command that approves it."""
    if following.outcome is not Outcome.WAITING or following.plan is None:
        return None
    plan = plan_value(following.plan)
    named = [word for path in files for word in ("-f", path)]
    return {
        **{key: plan[key] for key in ("summary", "guards", "config_digest")},
        "changes": [
            {"action": change.action.value, "kind": change.kind.value, "address": change.address}
            for change in following.plan.changes[:_CHANGES_MAX]
        ],
        "command": " ".join((join(["reconcile", *named]), *flags_of(following.plan.guards))),
    }
