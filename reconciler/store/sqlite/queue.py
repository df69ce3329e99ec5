"""Claiming, settling, giving back: whole batches, each in a few statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from reconciler.model.delivery import Claim, DeliveryStatus, Fence
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.ingest import first_claim
from reconciler.store.sqlite.session import Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reconciler.model.delivery import Settlement
    from reconciler.store.port import Demand, Latest
    from reconciler.store.sqlite.session import Session
    from reconciler.store.sqlite.writer import Operation

__all__ = ["claim", "free_deliveries", "release", "settle"]

_PENDING = sql.CODES[DeliveryStatus.PENDING]
_SENDING = sql.CODES[DeliveryStatus.SENDING]
_CANCELLED = sql.CODES[DeliveryStatus.CANCELLED]
_DELIVERED = DeliveryStatus.DELIVERED


class _Writes:
    """Rows to be written together: deliveries that move on, and attempts; each a flat list of parameters."""

    __slots__ = ("attempts", "moves")

    def __init__(self) -> None:
        self.moves: list[Any] = []
        self.attempts: list[Any] = []

    def write(self, session: Session) -> None:
        """Write them, if there are any."""
        if self.moves:
            session.write_rows(sql.MOVE, sql.MOVE_WIDTH, self.moves)
        if self.attempts:
            session.write_rows(sql.INSERT_ATTEMPTS, sql.ATTEMPT_WIDTH, self.attempts)


def claim(session: Session, operations: Sequence[Operation]) -> None:
    """Answer every operation's `(demands, limit, owner, now_ms, lease_ms)` in turn."""
    for operation in operations:
        operation.result = _claim(session, *operation.arguments)


def _claim(  # noqa: PLR0917 - called with an operation's arguments
    session: Session, demands: Sequence[Demand], limit: int, owner: str, now_ms: int, lease_ms: int
) -> list[Claim]:
    lanes = [
        (hook, lane, room)
        for hook_id, *rooms in demands
        if max(rooms) > 0 and (hook := session.find_hook(hook_id)) is not None
        for lane, room in enumerate(rooms)
        if room > 0
    ]
    if not lanes or limit <= 0:
        return []
    numbers = _due(session, lanes, limit, now_ms)
    if not numbers:
        return []
    cold = [n for n in numbers if n not in session.fresh]
    known = _read_claimed(session, cold, owner) if cold else {}
    session.execute(sql.CLAIM, (owner, now_ms + lease_ms, sql.json_list(numbers)))
    return [known[n] if n in known else _claim_fresh(session, n, owner) for n in numbers]


def _due(session: Session, lanes: Sequence[tuple[int, int, int]], limit: int, now_ms: int) -> list[int]:
    """The numbers of what can be claimed, lane by lane, at most as many as each has room for."""
    most = min(limit, max(room for _, _, room in lanes))
    rows = session.fetch(
        sql.CLAIMABLE,
        {"lanes": sql.json_list([2 * hook + lane for hook, lane, _ in lanes]), "now": now_ms, "most": most},
    )
    numbers: list[int] = []
    for (due,), (_, _, room) in zip(rows, lanes, strict=True):
        numbers += orjson.loads(due)[:room]
    return numbers[:limit]


def _read_claimed(session: Session, numbers: Sequence[int], owner: str) -> dict[int, Claim]:
    """The claims to be of deliveries that are not at hand."""
    claims = {}
    for row in session.fetch(sql.CLAIMABLE_ROWS, (sql.json_list(numbers),)):
        n, id_, hook_id, event_id, type_, payload, round_, created, status, hook, count, tries, *rest = row
        if status == _PENDING:
            session.tally(hook).move(_PENDING, _SENDING)
        session.claimed(Held(id_, n, hook, session.is_deleted(hook), count + 1, owner, tries, *rest))
        claims[n] = Claim(
            delivery_id=id_,
            hook_id=hook_id,
            event_id=event_id,
            event_type=type_,
            payload=payload,
            attempt=tries + 1,
            round=round_,
            created_ms=created,
            fence=Fence(count + 1, owner),
        )
    return claims


def _claim_fresh(session: Session, n: int, owner: str) -> Claim:
    """The claim to be of a delivery at hand: its first."""
    fresh = session.take_fresh(n)
    assert fresh is not None, "numbers are claimed once"
    session.tally(fresh.hook).move(_PENDING, _SENDING)
    session.claimed_first(fresh.id, n, fresh.hook, owner)
    return first_claim(fresh.event, fresh.id, fresh.hook_id, owner)


def settle(session: Session, operations: Sequence[Operation]) -> None:
    """Record every operation's `(settlements, now_ms)`."""
    held = _held(session, [one.delivery_id for operation in operations for one in operation.arguments[0]])
    writes = _Writes()
    for operation in operations:
        settlements, now_ms = operation.arguments
        operation.result = results = []
        for settlement in settlements:
            row = held.get(settlement.delivery_id)
            if row is None or (row.claims, row.owner) != settlement.fence:
                results.append(False)
                continue
            del held[settlement.delivery_id]
            _settle(session, row, settlement, now_ms, writes)
            results.append(True)
    writes.write(session)


def _held(session: Session, delivery_ids: Sequence[str]) -> dict[str, Held]:
    """What is being sent among the deliveries, by id; it leaves the hand."""
    held = {}
    unknown = []
    for delivery_id in delivery_ids:
        row = session.held.pop(delivery_id, None)
        if row is not None:
            held[delivery_id] = row
        elif delivery_id not in held:
            unknown.append(delivery_id)
    if unknown:
        for found in session.fetch(sql.SENDING, (sql.json_list(unknown),)):
            held[found[0]] = Held(*found)
    return held


def _settle(session: Session, row: Held, settlement: Settlement, now_ms: int, writes: _Writes) -> None:
    tally = session.tally(row.hook)
    tries, count, last_status = row.tries, row.attempts, row.last_status
    attempt = settlement.attempt
    if attempt is not None:
        tries += 1
        count += 1
        last_status = attempt.status
        tally.attempted(attempt.started_ms, delivered=settlement.status is _DELIVERED)
        writes.attempts += (
            (row.n << sql.ATTEMPTS_BITS) + min(count, sql.ATTEMPTS_MAX),
            attempt.number,
            attempt.round,
            attempt.started_ms,
            attempt.duration_ms,
            attempt.status,
            attempt.error,
            attempt.message,
            attempt.headers,
            attempt.body,
        )
    if settlement.status is _DELIVERED:
        tally.delivered(now_ms)
    if settlement.gone and not row.hook_deleted:
        session.mark_gone(row.hook, now_ms)
    code = sql.CODES[settlement.status]
    due = (now_ms if settlement.due_ms is None else settlement.due_ms) if code == _PENDING else None
    writes.moves += _move(row, code, due, now_ms, tries=tries, attempts=count)
    writes.moves += (last_status, settlement.error)
    tally.move(_SENDING, _CANCELLED if code == _PENDING and row.hook_deleted else code)


def _move(row: Held, code: int, due: int | None, now_ms: int, *, tries: int, attempts: int) -> tuple[int | None, ...]:
    """The first parameters of MOVE. Nothing waits for a hook that was deleted."""
    lane = 1 if tries > 0 else row.lane
    if code == _PENDING and not row.hook_deleted:
        return (row.n, _PENDING, due, None, lane, tries, attempts)
    code = _CANCELLED if code == _PENDING else code
    return (row.n, code, None, now_ms, lane, tries, attempts)


def release(session: Session, operations: Sequence[Operation]) -> None:
    """Give back every operation's `(claims, owner, due_ms)`."""
    for operation in operations:
        claims, owner, due_ms = operation.arguments
        _give_back(session, ((delivery_id, Fence(count, owner), due_ms) for delivery_id, _, count in claims))


def free_deliveries(session: Session, latest: Sequence[Latest]) -> int:
    """Give back everything that is being sent, due since it was made; then nothing is due later than it may be."""
    rows = session.fetch(sql.ALL_SENDING)
    _give_back(session, ((delivery_id, Fence(count, owner), created) for delivery_id, owner, count, created in rows))
    bounds = sql.json_list([tuple(each) for each in latest])
    for lane, place in ((0, 1), (1, 2)):
        session.execute(sql.DRAW_NEARER, {"latest": bounds, "lane": lane, "place": place})
    return len(rows)


def _give_back(session: Session, claims: Iterable[tuple[str, Fence, int]]) -> None:
    wanted = list(claims)
    held = _held(session, [delivery_id for delivery_id, _, _ in wanted])
    writes = _Writes()
    for delivery_id, fence, due_ms in wanted:
        row = held.get(delivery_id)
        if row is None or (row.claims, row.owner) != fence:
            continue
        del held[delivery_id]
        writes.moves += _move(row, _PENDING, due_ms, due_ms, tries=row.tries, attempts=row.attempts)
        writes.moves += (row.last_status, row.last_error)
        session.tally(row.hook).move(_SENDING, _CANCELLED if row.hook_deleted else _PENDING)
    writes.write(session)
