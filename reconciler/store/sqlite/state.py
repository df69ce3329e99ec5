"""The applied state: reading it, and changing it in one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw
import orjson

from reconciler.errors import StateUnreadable
from reconciler.model.delivery import DeliveryStatus
from reconciler.model.resource import Key, Kind, PreviousSecret, Resource, Secret, State
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.session import fetch
from reconciler.store.wording import stale

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.store.port import Commit
    from reconciler.store.sqlite.session import Session

__all__ = ["clear_gone", "commit", "read_state", "read_state_at_once", "write_note"]

_PENDING = sql.CODES[DeliveryStatus.PENDING]
_CANCELLED = sql.CODES[DeliveryStatus.CANCELLED]


def read_state(connection: apsw.Connection) -> State:
    """The whole state as its rows say. Raises StateUnreadable for rows of another version, or of nobody's."""
    try:
        lineage, serial, salt = fetch(connection, sql.READ_META)[0]
        resources = [_resource(row) for row in fetch(connection, sql.READ_RESOURCES)]
    except (ValueError, TypeError, LookupError) as error:
        raise StateUnreadable(
            f"the applied state cannot be understood ({type(error).__name__}): it was written by another version of"
            " this program, or changed by hand; install that version, or restore a backup"
        ) from error
    return State(
        lineage=lineage, serial=serial, salt=salt, resources={resource.key: resource for resource in resources}
    )


def read_state_at_once(connection: apsw.Connection) -> State:
    """The whole state as of one moment, outside a transaction."""
    connection.execute("BEGIN")
    try:
        return read_state(connection)
    finally:
        connection.execute("COMMIT")


def _resource(row: tuple[Any, ...]) -> Resource:
    kind, address, hook_id, spec, base_dir, sources, print_, sealed, created, old_print, old_sealed, until = row
    previous = None
    if old_print is not None:
        previous = PreviousSecret(fingerprint=old_print, sealed=old_sealed, until_ms=until)
    secret = None
    if print_ is not None:
        secret = Secret(fingerprint=print_, sealed=sealed, created_ms=created, previous=previous)
    key = Key(Kind(kind), address)
    return Resource(
        key=key,
        spec=orjson.loads(spec),
        base_dir=base_dir,
        id=hook_id,
        secret=secret,
        moved_from=tuple(orjson.loads(sources)),
    )


def _row(resource: Resource) -> tuple[Any, ...]:
    secret = resource.secret
    previous = secret.previous if secret else None
    return (
        resource.key.kind.value,
        resource.key.address,
        resource.id,
        sql.json_list(resource.spec),
        resource.base_dir,
        sql.json_list(resource.moved_from),
        secret.fingerprint if secret else None,
        secret.sealed if secret else None,
        secret.created_ms if secret else None,
        previous.fingerprint if previous else None,
        previous.sealed if previous else None,
        previous.until_ms if previous else None,
    )


def commit(session: Session, change: Commit, now_ms: int, verify: Callable[[State], None]) -> int:
    """Apply a change and have it verified before anything is committed."""
    if (session.lineage, session.serial) != (change.expected_lineage, change.expected_serial):
        raise stale(change, session.lineage, session.serial)
    before = {hook_id for (hook_id,) in session.fetch(sql.READ_HOOK_IDS)}
    _write_resources(session, change)
    serial = session.serial + 1
    lineage, salt = session.lineage or change.lineage, session.salt or change.salt
    session.execute(sql.WRITE_META, (lineage, serial, salt))
    for name, value in change.notes.items():
        session.execute(sql.WRITE_NOTE, (name, value))
    after = {hook_id for (hook_id,) in session.fetch(sql.READ_HOOK_IDS)}
    session.execute(sql.FOLLOW_PRESENT_HOOKS)
    session.execute(sql.FOLLOW_DELETED_HOOKS, (sql.json_list(sorted(before - after)),))
    for hook_id in change.clear_gone:
        session.execute(sql.CLEAR_GONE, (hook_id,))
    _cancel(session, change, now_ms)
    _move_syncs(session, change)
    session.refresh()
    verify(read_state(session.connection))
    return serial


def _write_resources(session: Session, change: Commit) -> None:
    for key in change.deletes:
        session.execute(sql.DELETE_RESOURCE, (key.kind.value, key.address))
    moving = []
    for old, new in change.renames.items():
        for row in session.fetch(sql.READ_RESOURCE, (old.kind.value, old.address)):
            moving.append((new, row))
            session.execute(sql.DELETE_RESOURCE, (old.kind.value, old.address))
    for new, row in moving:
        try:
            session.execute(sql.INSERT_RESOURCE, (new.kind.value, new.address, *row[2:]))
        except apsw.ConstraintError as error:
            raise ValueError(f"{new.kind} {new.address} would be overwritten by a rename") from error
    for resource in change.upserts:
        session.execute(sql.UPSERT_RESOURCE, _row(resource))


def _cancel(session: Session, change: Commit, now_ms: int) -> None:
    """End what waits for hooks that are gone from the state."""
    for hook_id in sorted(change.cancel_hooks):
        hook = session.find_hook(hook_id)
        if hook is None:
            continue
        count = session.execute(sql.CANCEL_WAITING, (now_ms, hook))
        session.tally(hook).move(_PENDING, _CANCELLED, count)


def _move_syncs(session: Session, change: Commit) -> None:
    for key in change.deletes:
        if key.kind is Kind.DATA_SOURCE:
            session.execute(sql.DELETE_SYNCS_OF, (key.address,))
    moves = [
        (n, new.address)
        for old, new in change.renames.items()
        if old.kind is Kind.DATA_SOURCE
        for (n,) in session.fetch(sql.READ_SYNCS_OF, (old.address,))
    ]
    for n, _ in moves:
        # Out of the way first: two names may be swapped.
        session.execute(sql.MOVE_SYNC, (f"moving {n}", n))
    for n, address in moves:
        session.execute(sql.MOVE_SYNC, (address, n))


def write_note(session: Session, name: str, value: str) -> None:
    """Set a note."""
    session.execute(sql.WRITE_NOTE, (name, value))


def clear_gone(session: Session, hook_id: str) -> bool:
    """Remove a hook's gone mark."""
    session.execute(sql.CLEAR_GONE, (hook_id,))
    return session.gone.pop(hook_id, None) is not None
