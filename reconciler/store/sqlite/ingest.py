"""Accepting events: all that wait in one transaction, in two statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw

from reconciler.model.delivery import Accepted
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.session import HOUR_MS, Fresh
from reconciler.store.wording import moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reconciler.model.delivery import NewEvent
    from reconciler.store.sqlite.session import Session
    from reconciler.store.sqlite.writer import Operation

__all__ = ["accept", "store_events"]


def accept(session: Session, operations: Sequence[Operation]) -> None:
    """Accept every operation's `(events, serial)`; those decided on another serial are refused."""
    current: list[Operation] = []
    events: list[NewEvent] = []
    for operation in operations:
        batch, serial = operation.arguments
        if serial == session.serial:
            current.append(operation)
            events += batch
        else:
            operation.error = moved(serial, session.serial)
    answers = iter(store_events(session, events))
    for operation in current:
        operation.result = [next(answers) for _ in operation.arguments[0]]


def store_events(session: Session, events: Sequence[NewEvent]) -> list[Accepted]:
    """Store the events that are new, with their deliveries; an answer for each, in order."""
    fresh: dict[str, int] = {}
    rows: list[Any] = []
    gone = session.gone
    n = session.next_event
    for event in events:
        if event.id in fresh:
            continue
        fanout = len(event.deliveries)
        if gone:
            fanout -= sum(delivery.hook_id in gone for delivery in event.deliveries)
        rows += (n, event.id, event.type, event.payload, event.received_ms, fanout, fanout, event.unmatched)
        fresh[event.id] = n
        n += 1
    if not rows:
        return []
    known: dict[str, Accepted] = {}
    if session.write_rows(sql.INSERT_EVENTS, sql.EVENT_WIDTH, rows) < len(fresh):
        known = _known(session, fresh)
    session.next_event = n
    _store_deliveries(session, [event for event in events if event.id not in known], fresh)
    return _answers(session, events, known)


def _known(session: Session, fresh: dict[str, int]) -> dict[str, Accepted]:
    """The events that were stored before, with their first answers."""
    found = session.fetch(sql.KNOWN_EVENTS, (sql.json_list(list(fresh)),))
    return {
        event_id: Accepted(event_id, duplicate=True, deliveries=fanout, unmatched=unmatched)
        for event_id, n, fanout, unmatched in found
        if n != fresh[event_id]
    }


def _store_deliveries(session: Session, events: Sequence[NewEvent], numbers: dict[str, int]) -> None:
    rows: list[Any] = []
    gone = session.gone
    n = session.next_delivery
    done: set[str] = set()
    for event in events:
        if event.id in done:
            continue
        done.add(event.id)
        event_n, received_ms = numbers[event.id], event.received_ms
        hour = received_ms // HOUR_MS
        for delivery_id, hook_id in event.deliveries:
            if hook_id in gone:
                continue
            hook = session.hook(hook_id)
            rows += (n, delivery_id, event_n, hook, received_ms)
            session.accepted(n, Fresh(hook, delivery_id, hook_id, event))
            tally = session.tally(hook)
            tally.statuses[0] += 1
            tally.hours[hour] += 1
            n += 1
    if not rows:
        return
    try:
        session.write_rows(sql.INSERT_DELIVERIES, sql.DELIVERY_WIDTH, rows)
    except apsw.ConstraintError as error:
        raise ValueError("a delivery id is known already; nothing was accepted") from error
    session.next_delivery = n


def _answers(session: Session, events: Sequence[NewEvent], known: dict[str, Accepted]) -> list[Accepted]:
    answers = []
    for event in events:
        answer = known.get(event.id)
        if answer is None:
            count = len(event.deliveries)
            if session.gone:
                count -= sum(delivery.hook_id in session.gone for delivery in event.deliveries)
            answer = Accepted(event.id, duplicate=False, deliveries=count, unmatched=event.unmatched)
            known[event.id] = answer._replace(duplicate=True)
        answers.append(answer)
    return answers
