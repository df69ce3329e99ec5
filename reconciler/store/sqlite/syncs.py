"""The queue of syncs: at most one of a data source waits and at most one runs, as unique indexes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.model.delivery import Accepted, Fence
from reconciler.model.sync import NewSync, SyncClaim, SyncTicket
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.ingest import Offer, store_events
from reconciler.store.sqlite.session import HOUR_MS
from reconciler.store.wording import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.delivery import NewEvent
    from reconciler.store.sqlite.session import Session
    from reconciler.store.sqlite.writer import Operation

__all__ = ["claim_syncs", "finish_sync", "free_syncs", "release_sync", "request_sync"]


def request_sync(session: Session, operations: Sequence[Operation]) -> None:
    """Queue every operation's `(sync, serial)`: one statement a data source, however many ask."""
    asked: dict[str, list[Operation]] = {}
    for operation in operations:
        sync, serial = operation.arguments
        if serial != session.serial:
            operation.error = moved(serial, session.serial)
            continue
        asked.setdefault(sync.data_source, []).append(operation)
        tally = session.tally(session.hook(sync.hook_id))
        tally.called_ms = max(tally.called_ms or 0, sync.requested_ms)
        tally.hours[sync.requested_ms // HOUR_MS] += sync.calls
    for data_source, together in asked.items():
        first: NewSync = together[0].arguments[0]
        last: NewSync = together[-1].arguments[0]
        values = (first.id, data_source, first.hook_id, first.requested_ms, last.body)
        ((sync_id,),) = session.fetch(sql.REQUEST_SYNC, values)
        for operation in together:
            operation.result = SyncTicket(sync_id, joined=operation.arguments[0].id != sync_id)


def claim_syncs(  # noqa: PLR0917 - called with an operation's arguments
    session: Session, limit: int, owner: str, now_ms: int, lease_ms: int, resting: frozenset[str]
) -> list[SyncClaim]:
    """Take what waits, after what has run out of time has gone back to waiting."""
    for (n,) in session.fetch(sql.EXPIRED_SYNCS, (now_ms,)):
        _free(session, n)
    claims = []
    limit = max(limit, 0)
    rows = session.fetch(sql.CLAIMABLE_SYNCS, (limit + len(resting),))  # a data source has one of them at most
    ready = [row for row in rows if row[2] not in resting]
    for n, sync_id, data_source, requested_ms, body, count in ready[:limit]:
        session.execute(sql.CLAIM_SYNC, (owner, now_ms + lease_ms, n))
        fence = Fence(count + 1, owner)
        claims.append(
            SyncClaim(sync_id=sync_id, data_source=data_source, requested_ms=requested_ms, body=body, fence=fence)
        )
    return claims


def _free(session: Session, n: int) -> None:
    if not session.execute(sql.FREE_SYNC, (n,)):
        session.execute(sql.DELETE_SYNC, (n,))


def _running(session: Session, claim: SyncClaim) -> int | None:
    rows = session.fetch(sql.RUNNING_SYNC, (claim.sync_id, claim.fence.claims, claim.fence.owner))
    return rows[0][0] if rows else None


def finish_sync(session: Session, claim: SyncClaim, event: NewEvent | None, serial: int) -> Accepted | None:
    """End a sync and store its event, if the fence holds."""
    n = _running(session, claim)
    if n is None:
        return None
    answer = Accepted(claim.sync_id, duplicate=False, deliveries=0, unmatched=None)
    if event is not None:
        if serial != session.serial:
            raise moved(serial, session.serial)
        (answer,) = store_events(session, [Offer(event, None, {})])
    session.execute(sql.DELETE_SYNC, (n,))
    return answer


def release_sync(session: Session, claim: SyncClaim) -> None:
    """Give one back, if the fence holds."""
    n = _running(session, claim)
    if n is not None:
        _free(session, n)


def free_syncs(session: Session) -> int:
    """Give back everything that runs."""
    rows = session.fetch(sql.RUNNING_SYNCS)
    for (n,) in rows:
        _free(session, n)
    return len(rows)
