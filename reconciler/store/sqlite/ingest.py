"""Accepting events: all that wait in one transaction, in two statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import apsw

from reconciler.model.delivery import Accepted, Claim, DeliveryStatus, Fence
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.session import HOUR_MS, Fresh
from reconciler.store.wording import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.delivery import NewEvent, Taking
    from reconciler.store.sqlite.session import Session
    from reconciler.store.sqlite.writer import Operation

__all__ = ["Offer", "accept", "first_claim", "store_events"]

_PENDING, _SENDING = sql.CODES[DeliveryStatus.PENDING], sql.CODES[DeliveryStatus.SENDING]


class Offer(NamedTuple):
    """An event, and the worker that takes what it has room for. `rooms` is what is left of the worker's."""

    event: NewEvent
    taking: Taking | None
    rooms: dict[str, int]


def accept(session: Session, operations: Sequence[Operation]) -> None:
    """Accept every operation's `(events, serial, taking)`; those decided on another serial are refused."""
    current: list[Operation] = []
    offers: list[Offer] = []
    for operation in operations:
        events, serial, taking = operation.arguments
        if serial == session.serial:
            current.append(operation)
            rooms = {} if taking is None else dict(taking.rooms)
            offers += [Offer(event, taking, rooms) for event in events]
        else:
            operation.error = moved(serial, session.serial)
    answers = iter(store_events(session, offers))
    for operation in current:
        operation.result = [next(answers) for _ in operation.arguments[0]]


def store_events(session: Session, offers: Sequence[Offer]) -> list[Accepted]:
    """Store the events that are new, with their deliveries; an answer for each, in order."""
    fresh: dict[str, int] = {}
    rows: list[Any] = []
    n = session.next_event
    for event, _, _ in offers:
        if event.id in fresh:
            continue
        fanout = _fanout(session, event)
        rows += (n, event.id, event.type, event.payload, event.received_ms, fanout, fanout, event.unmatched)
        fresh[event.id] = n
        n += 1
    if not rows:
        return []
    known: dict[str, Accepted] = {}
    if session.write_rows(sql.INSERT_EVENTS, sql.EVENT_WIDTH, rows) < len(fresh):
        known = _known(session, fresh)
    session.next_event = n
    return _store_deliveries(session, offers, fresh, known)


def _fanout(session: Session, event: NewEvent) -> int:
    """How many deliveries an event gets."""
    gone = session.gone
    if not gone:
        return len(event.deliveries)
    return sum(delivery.hook_id not in gone for delivery in event.deliveries)


def _known(session: Session, fresh: dict[str, int]) -> dict[str, Accepted]:
    """The events that were stored before, with their first answers."""
    found = session.fetch(sql.KNOWN_EVENTS, (sql.json_list(list(fresh)),))
    return {
        event_id: Accepted(event_id, duplicate=True, deliveries=fanout, unmatched=unmatched)
        for event_id, n, fanout, unmatched in found
        if n != fresh[event_id]
    }


def _store_deliveries(
    session: Session, offers: Sequence[Offer], numbers: dict[str, int], known: dict[str, Accepted]
) -> list[Accepted]:
    """Store the deliveries of the events that are not `known`; an answer for each event, in order."""
    answers: list[Accepted] = []
    rows: list[Any] = []
    for offer in offers:
        event = offer.event
        answer = known.get(event.id)
        if answer is None:
            claims = _add_deliveries(session, offer, numbers[event.id], rows)
            known[event.id] = answer = Accepted(event.id, False, _fanout(session, event), event.unmatched, claims)
        elif not answer.duplicate:  # it came earlier among these
            answer = answer._replace(duplicate=True, claims=())
        answers.append(answer)
    if rows:
        try:
            session.write_rows(sql.INSERT_DELIVERIES, sql.DELIVERY_WIDTH, rows)
        except apsw.ConstraintError as error:
            raise ValueError("a delivery id is known already; nothing was accepted") from error
    return answers


def _add_deliveries(session: Session, offer: Offer, event_n: int, rows: list[Any]) -> tuple[Claim, ...]:
    """Add the rows of an event's deliveries; the claims to those that are taken at once."""
    event, taking, rooms = offer
    claims: list[Claim] = []
    received_ms = event.received_ms
    hour = received_ms // HOUR_MS
    n = session.next_delivery
    for delivery_id, hook_id in event.deliveries:
        if hook_id in session.gone:
            continue
        hook = session.hook(hook_id)
        session.note_presence(hook, n)
        tally = session.tally(hook)
        tally.hours[hour] += 1
        if taking is not None and rooms.get(hook_id, 0) > 0:
            rooms[hook_id] -= 1
            rows += (n, delivery_id, event_n, hook, received_ms, taking.lease_until_ms, taking.owner)
            tally.statuses[_SENDING] += 1
            session.claimed_first(delivery_id, n, hook, taking.owner)
            claims.append(first_claim(event, delivery_id, hook_id, taking.owner))
        else:
            rows += (n, delivery_id, event_n, hook, received_ms, received_ms, None)
            tally.statuses[_PENDING] += 1
            session.accepted(n, Fresh(hook, delivery_id, hook_id, event))
        n += 1
    session.next_delivery = n
    return tuple(claims)


def first_claim(event: NewEvent, delivery_id: str, hook_id: str, owner: str) -> Claim:
    """The first claim on one of an event's deliveries."""
    attempt = round_ = 1
    fence = Fence(1, owner)
    return Claim(delivery_id, hook_id, event.id, event.type, event.payload, attempt, round_, event.received_ms, fence)
