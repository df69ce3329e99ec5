# ruff: noqa: S608 - put together from constants of this module; no value is ever part of a statement
"""Every SQL statement of this backend, by name. Values are always parameters.

Rows are known by small integers (`n`), in the order they came; the ids of the outside stand in unique indexes.
A delivery's `due` is its schedule and, while it is being sent, the end of its lease; ended deliveries have none,
which keeps them out of the index `live`. `lane` is 0 until the first attempt is recorded, then 1, and so it stays
when the delivery is redelivered.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

import orjson

from reconciler.model.delivery import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Iterable


__all__ = [
    "APPLICATION_ID",
    "CODES",
    "FIRST_UNDELIVERED",
    "SCHEMA",
    "SCHEMA_VERSION",
    "STATUSES",
    "json_list",
    "multiplied",
    "sizes",
]

APPLICATION_ID: Final = 0x77687265
SCHEMA_VERSION: Final = 1

STATUSES: Final = tuple(DeliveryStatus)
"""A status by its code in the database. New ones go at the end."""

CODES: Final = {status: code for code, status in enumerate(STATUSES)}
FIRST_UNDELIVERED: Final = CODES[DeliveryStatus.EXHAUSTED]

ATTEMPTS_BITS: Final = 16
"""An attempt's key is its delivery's `n` shifted by this, plus its place among the delivery's attempts."""

ATTEMPTS_MAX: Final = (1 << ATTEMPTS_BITS) - 1

BLOCK_BITS: Final = 12
"""A block is the deliveries whose `n` differ in these lowest bits only."""

SCHEMA: Final = f"""
CREATE TABLE meta (
  one INTEGER PRIMARY KEY CHECK (one = 1), lineage TEXT, serial INTEGER NOT NULL, salt BLOB
) STRICT;
INSERT INTO meta VALUES (1, NULL, 0, NULL);

CREATE TABLE note (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE resource (
  kind TEXT NOT NULL, address TEXT NOT NULL, id TEXT, spec TEXT NOT NULL, base_dir TEXT NOT NULL,
  moved_from TEXT NOT NULL, fingerprint TEXT, sealed BLOB, created INTEGER,
  previous_fingerprint TEXT, previous_sealed BLOB, previous_until INTEGER,
  PRIMARY KEY (kind, address)
) STRICT, WITHOUT ROWID;

-- Hooks that were ever applied, with what has happened there. Counts follow the deliveries' statuses.
CREATE TABLE hook (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, address TEXT NOT NULL DEFAULT '',
  deleted INTEGER NOT NULL DEFAULT 0, gone INTEGER,
  last_called INTEGER, last_delivered INTEGER, last_attempt INTEGER, failing_since INTEGER,
  hour INTEGER NOT NULL DEFAULT 0, hour_count INTEGER NOT NULL DEFAULT 0,
  {", ".join(f"{status} INTEGER NOT NULL DEFAULT 0" for status in DeliveryStatus)}
) STRICT;
CREATE INDEX hook_gone ON hook (gone) WHERE gone IS NOT NULL;

-- Traffic of the hours before the one that the hook's own row counts.
CREATE TABLE traffic (
  hook INTEGER NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (hook, hour)
) STRICT, WITHOUT ROWID;

-- `fanout` deliveries were made of an event, `remaining` of them are still here.
CREATE TABLE event (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, payload BLOB NOT NULL,
  received INTEGER NOT NULL, fanout INTEGER NOT NULL, remaining INTEGER NOT NULL, unmatched TEXT
) STRICT;
CREATE INDEX event_childless ON event (received) WHERE remaining = 0;

CREATE TABLE delivery (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, event INTEGER NOT NULL, hook INTEGER NOT NULL,
  status INTEGER NOT NULL, lane INTEGER NOT NULL, round INTEGER NOT NULL, tries INTEGER NOT NULL,
  attempts INTEGER NOT NULL, claims INTEGER NOT NULL, owner TEXT, due INTEGER, created INTEGER NOT NULL,
  finished INTEGER, last_status INTEGER, last_error TEXT
) STRICT;
CREATE INDEX live ON delivery (hook, lane, due, status) WHERE due IS NOT NULL;
CREATE INDEX undelivered ON delivery (status) WHERE status >= {FIRST_UNDELIVERED};

-- Which hooks have deliveries in which block of numbers: the log of one hook skips the other blocks. An index of
-- every delivery by hook would cost each of them a page written.
CREATE TABLE presence (hook INTEGER NOT NULL, block INTEGER NOT NULL, PRIMARY KEY (hook, block))
STRICT, WITHOUT ROWID;

CREATE TABLE attempt (
  key INTEGER PRIMARY KEY, number INTEGER NOT NULL, round INTEGER NOT NULL, started INTEGER NOT NULL,
  duration INTEGER NOT NULL, status INTEGER, error TEXT, message TEXT NOT NULL, headers TEXT NOT NULL,
  body BLOB NOT NULL
) STRICT;

-- A sync waits while it has no owner; `due` is the end of a running one's lease.
CREATE TABLE sync (
  n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, data_source TEXT NOT NULL, hook TEXT NOT NULL,
  requested INTEGER NOT NULL, body BLOB NOT NULL, claims INTEGER NOT NULL, owner TEXT, due INTEGER
) STRICT;
CREATE UNIQUE INDEX sync_waiting ON sync (data_source) WHERE owner IS NULL;
CREATE UNIQUE INDEX sync_running ON sync (data_source) WHERE owner IS NOT NULL;

PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

BEGIN: Final = "BEGIN IMMEDIATE"
COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"
SAVEPOINT: Final = "SAVEPOINT one"
ROLLBACK_TO: Final = "ROLLBACK TO one"
RELEASE: Final = "RELEASE one"

# -- state -----------------------------------------------------------------------------------------------------

READ_META: Final = "SELECT lineage, serial, salt FROM meta"
WRITE_META: Final = "UPDATE meta SET lineage = ?, serial = ?, salt = ?"
READ_RESOURCES: Final = "SELECT * FROM resource ORDER BY kind, address"
READ_RESOURCE: Final = "SELECT * FROM resource WHERE kind = ? AND address = ?"
DELETE_RESOURCE: Final = "DELETE FROM resource WHERE kind = ? AND address = ?"
INSERT_RESOURCE: Final = "INSERT INTO resource VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
UPSERT_RESOURCE: Final = "INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
READ_NOTE: Final = "SELECT value FROM note WHERE name = ?"
WRITE_NOTE: Final = "INSERT INTO note VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
FOLLOW_DELETED_HOOKS: Final = (
    "UPDATE hook SET deleted = 1, gone = NULL WHERE NOT deleted AND id IN (SELECT value FROM json_each(?))"
)
FOLLOW_PRESENT_HOOKS: Final = (
    "INSERT INTO hook (id, address) SELECT id, address FROM resource WHERE id IS NOT NULL "
    "ON CONFLICT (id) DO UPDATE SET address = excluded.address, deleted = 0 "
    "WHERE address <> excluded.address OR deleted"
)
READ_HOOK_IDS: Final = "SELECT id FROM resource WHERE id IS NOT NULL"
CANCEL_WAITING: Final = (
    f"UPDATE delivery SET status = {CODES[DeliveryStatus.CANCELLED]}, due = NULL, finished = ? "
    f"WHERE hook = ? AND due IS NOT NULL AND status = {CODES[DeliveryStatus.PENDING]}"
)
CLEAR_GONE: Final = "UPDATE hook SET gone = NULL WHERE id = ? AND gone IS NOT NULL"
READ_GONE: Final = "SELECT id, gone FROM hook WHERE gone IS NOT NULL"
DELETE_SYNCS_OF: Final = "DELETE FROM sync WHERE data_source = ?"
READ_SYNCS_OF: Final = "SELECT n FROM sync WHERE data_source = ?"
MOVE_SYNC: Final = "UPDATE sync SET data_source = ? WHERE n = ?"

# -- hooks' history --------------------------------------------------------------------------------------------

READ_HOOK: Final = "SELECT n, hour, deleted FROM hook WHERE id = ?"
READ_HOOK_ID: Final = "SELECT id FROM hook WHERE n = ?"
INSERT_HOOK: Final = "INSERT INTO hook (id) VALUES (?) RETURNING n, hour, deleted"
TALLY: Final = (
    "UPDATE hook SET "
    + ", ".join(f"{status} = {status} + v.column{place}" for place, status in enumerate(DeliveryStatus, start=2))
    + ", hour_count = iif(v.column9 > hour, 0, hour_count) + v.column10, hour = max(hour, v.column9)"
    ", last_called = coalesce(max(coalesce(last_called, 0), v.column11), last_called)"
    ", last_attempt = coalesce(max(coalesce(last_attempt, 0), v.column12), last_attempt)"
    ", last_delivered = coalesce(v.column13, last_delivered)"
    ", failing_since = CASE WHEN v.column14 THEN v.column15 ELSE coalesce(failing_since, v.column15) END"
    ", gone = CASE WHEN deleted THEN NULL ELSE coalesce(gone, v.column16) END "
    "FROM ({rows}) AS v WHERE hook.n = v.column1"
)
TALLY_WIDTH: Final = 16
ROLL_HOUR: Final = (
    "INSERT INTO traffic SELECT n, hour, hour_count FROM hook WHERE n = ? AND hour_count > 0 "
    "ON CONFLICT (hook, hour) DO UPDATE SET count = count + excluded.count"
)
ADD_TRAFFIC: Final = (
    "INSERT INTO traffic VALUES (?, ?, ?) ON CONFLICT (hook, hour) DO UPDATE SET count = count + excluded.count"
)
OBSERVED: Final = (
    "SELECT id, pending, last_called, last_delivered, last_attempt, gone, failing_since, "
    "iif(hour BETWEEN :first AND :last, hour_count, 0) + coalesce("
    "(SELECT sum(count) FROM traffic WHERE hook = hook.n AND hour BETWEEN :first AND :last), 0) "
    "FROM hook WHERE NOT deleted"
)

# -- ingest ----------------------------------------------------------------------------------------------------

READ_SEQUENCES: Final = "SELECT name, seq FROM sqlite_sequence"
INSERT_EVENTS: Final = (
    "INSERT INTO event (n, id, type, payload, received, fanout, remaining, unmatched) "
    "SELECT * FROM ({rows}) AS v WHERE v.column1 IS NOT NULL ON CONFLICT (id) DO NOTHING"
)
EVENT_WIDTH: Final = 8
KNOWN_EVENTS: Final = "SELECT id, n, fanout, unmatched FROM event WHERE id IN (SELECT value FROM json_each(?))"
INSERT_DELIVERIES: Final = (
    # With an owner it is claimed already.
    "INSERT INTO delivery (n, id, event, hook, created, due, owner, status, claims, lane, round, tries, attempts) "
    f"SELECT v.*, iif(column7 IS NULL, {CODES[DeliveryStatus.PENDING]}, {CODES[DeliveryStatus.SENDING]}), "
    "column7 IS NOT NULL, 0, 1, 0, 0 FROM ({rows}) AS v WHERE v.column1 IS NOT NULL"
)
DELIVERY_WIDTH: Final = 7
INSERT_PRESENCE: Final = "INSERT OR IGNORE INTO presence VALUES (?, ?)"

# -- queue -----------------------------------------------------------------------------------------------------

CLAIMABLE: Final = (
    # A row for each lane (a hook's number, doubled, plus the lane): a list of numbers, first due first, out of the
    # index alone and cut by it, so that a long queue costs no more than a short one.
    "SELECT (SELECT json_group_array(n) FROM (SELECT n FROM delivery WHERE hook = lane.value >> 1 "
    "AND lane = lane.value & 1 AND due <= :now ORDER BY due, n LIMIT :most)) FROM json_each(:lanes) AS lane"
)
CLAIMABLE_ROWS: Final = (
    "SELECT d.n, d.id, h.id, e.id, e.type, e.payload, d.round, d.created, d.status, "
    "d.hook, d.claims, d.tries, d.attempts, d.last_status, d.last_error, d.lane "
    "FROM json_each(?) AS j CROSS JOIN delivery AS d ON d.n = j.value "
    "CROSS JOIN event AS e ON e.n = d.event CROSS JOIN hook AS h ON h.n = d.hook"
)
CLAIM: Final = (
    f"UPDATE delivery SET status = {CODES[DeliveryStatus.SENDING]}, owner = ?, due = ?, claims = claims + 1 "
    "WHERE n IN (SELECT value FROM json_each(?))"
)
SENDING: Final = (
    "SELECT d.id, d.n, d.hook, h.deleted, d.claims, d.owner, d.tries, d.attempts, d.last_status, d.last_error, "
    "d.lane "
    "FROM json_each(?) AS j CROSS JOIN delivery AS d ON d.id = j.value CROSS JOIN hook AS h ON h.n = d.hook "
    f"WHERE d.status = {CODES[DeliveryStatus.SENDING]}"
)
MOVE: Final = (
    "UPDATE delivery SET owner = NULL, status = v.column2, due = v.column3, finished = v.column4, "
    "lane = v.column5, tries = v.column6, attempts = v.column7, last_status = v.column8, last_error = v.column9 "
    "FROM ({rows}) AS v WHERE delivery.n = v.column1"
)
MOVE_WIDTH: Final = 9
INSERT_ATTEMPTS: Final = (
    "INSERT OR REPLACE INTO attempt (key, number, round, started, duration, status, error, message, headers, body) "
    "SELECT * FROM ({rows}) AS v WHERE v.column1 IS NOT NULL"
)
ATTEMPT_WIDTH: Final = 10
DRAW_NEARER: Final = (
    # Of [[hook's id, first attempts, retries, retries after a 429 or 503], …]: times that none may be due later than.
    "WITH v AS MATERIALIZED ("
    "SELECT d.n, iif(d.lane AND d.last_status IN (429, 503), j.value ->> 3, j.value ->> :place) AS latest "
    "FROM json_each(:latest) AS j CROSS JOIN hook AS h ON h.id = j.value ->> 0 "
    "CROSS JOIN delivery AS d INDEXED BY live ON d.hook = h.n AND d.lane = :lane AND d.due > j.value ->> :place "
    "WHERE d.due IS NOT NULL AND d.status = 0) "
    "UPDATE delivery SET due = v.latest FROM v WHERE delivery.n = v.n AND delivery.due > v.latest"
)
ALL_SENDING: Final = (
    "SELECT d.id, d.owner, d.claims, d.created FROM delivery AS d "
    f"WHERE d.due IS NOT NULL AND d.status = {CODES[DeliveryStatus.SENDING]}"
)
READY: Final = (
    "SELECT id, (SELECT min(due) FROM delivery WHERE hook = hook.n AND lane = 0 AND due IS NOT NULL), "
    "(SELECT min(due) FROM delivery WHERE hook = hook.n AND lane = 1 AND due IS NOT NULL) "
    "FROM hook WHERE NOT deleted AND pending + sending > 0"
)

# -- syncs -----------------------------------------------------------------------------------------------------

REQUEST_SYNC: Final = (
    "INSERT INTO sync (id, data_source, hook, requested, body, claims) VALUES (?, ?, ?, ?, ?, 0) "
    "ON CONFLICT (data_source) WHERE owner IS NULL DO UPDATE SET body = excluded.body RETURNING id"
)
EXPIRED_SYNCS: Final = "SELECT n FROM sync WHERE owner IS NOT NULL AND due <= ? ORDER BY n"
FREE_SYNC: Final = (
    "UPDATE OR IGNORE sync SET owner = NULL, due = NULL WHERE n = ? AND NOT EXISTS "
    "(SELECT 1 FROM sync AS other WHERE other.data_source = sync.data_source AND other.owner IS NULL)"
)
DELETE_SYNC: Final = "DELETE FROM sync WHERE n = ?"
CLAIMABLE_SYNCS: Final = (
    "SELECT n, id, data_source, requested, body, claims FROM sync WHERE owner IS NULL AND NOT EXISTS "
    "(SELECT 1 FROM sync AS other WHERE other.data_source = sync.data_source AND other.owner IS NOT NULL) "
    "ORDER BY n LIMIT ?"
)
CLAIM_SYNC: Final = "UPDATE sync SET owner = ?, due = ?, claims = claims + 1 WHERE n = ?"
RUNNING_SYNC: Final = "SELECT n FROM sync WHERE id = ? AND claims = ? AND owner = ?"
RUNNING_SYNCS: Final = "SELECT n FROM sync WHERE owner IS NOT NULL"

# -- log and operations ----------------------------------------------------------------------------------------

_LOG: Final = "FROM {source} CROSS JOIN event AS e ON e.n = d.event CROSS JOIN hook AS h ON h.n = d.hook"
_SHOWN: Final = (
    "SELECT d.n, d.id, h.id, h.address, e.type, e.id, d.status, d.round, d.attempts, d.created, d.due, d.finished, "
    "d.last_status, d.last_error"
)
DELIVERIES: Final = f"{_SHOWN} {_LOG} WHERE {{where}} ORDER BY {{newest}} LIMIT :limit"
DELIVERY: Final = f"{_SHOWN}, e.payload {_LOG.format(source='delivery AS d')} WHERE d.id = ?"
ATTEMPTS: Final = (
    "SELECT number, round, started, duration, status, error, message, headers, body FROM attempt "
    "WHERE key BETWEEN ? AND ? ORDER BY key"
)
COUNT: Final = f"SELECT count(*) {_LOG} WHERE {{where}}"
REDELIVERABLE: Final = (
    f"SELECT d.n, d.id, h.id, d.hook, d.status {_LOG} "
    "WHERE NOT h.deleted AND {where} ORDER BY {oldest} LIMIT :limit"
)
REDELIVER: Final = (
    "UPDATE delivery SET status = 0, lane = 1, round = round + 1, tries = 0, owner = NULL, due = ?, finished = NULL "
    "WHERE n IN (SELECT value FROM json_each(?))"
)
COUNTS: Final = f"SELECT {', '.join(f'coalesce(sum({status}), 0)' for status in DeliveryStatus)} FROM hook"
OLDEST_DUE: Final = (
    "SELECT min(due) FROM (SELECT (SELECT due FROM delivery WHERE hook = hook.n AND lane = lanes.value "
    "AND due IS NOT NULL AND status = 0 ORDER BY due LIMIT 1) AS due "
    "FROM hook CROSS JOIN json_each('[0, 1]') AS lanes WHERE pending > 0)"
)
SYNC_COUNTS: Final = "SELECT count(*) FILTER (WHERE owner IS NULL), count(owner) FROM sync"
EVENT_COUNT: Final = "SELECT count(*) FROM event"

# -- retention -------------------------------------------------------------------------------------------------

PARKED: Final = (
    "SELECT d.n FROM delivery AS d WHERE d.due IS NOT NULL AND d.status = 0 AND d.hook IN "
    "(SELECT n FROM hook WHERE id IN (SELECT value FROM json_each(:parked))) AND d.created < :before "
    "ORDER BY d.n LIMIT :limit"
)
ENDED_BEFORE: Final = "SELECT n FROM delivery WHERE due IS NULL AND finished < ? ORDER BY n LIMIT ?"
ENDED_FIRST: Final = "SELECT n FROM delivery WHERE due IS NULL ORDER BY n LIMIT ?"
CHILDLESS_COUNT: Final = "SELECT count(*) FROM event INDEXED BY event_childless WHERE remaining = 0"
CHILDLESS_BEFORE: Final = (
    "SELECT n FROM event INDEXED BY event_childless WHERE remaining = 0 AND received < ? ORDER BY n LIMIT ?"
)
CHILDLESS_FIRST: Final = "SELECT n FROM event INDEXED BY event_childless WHERE remaining = 0 ORDER BY n LIMIT ?"
EXPIRE: Final = (
    f"UPDATE delivery SET status = {CODES[DeliveryStatus.EXPIRED]}, due = NULL, finished = ? "
    "WHERE n IN (SELECT value FROM json_each(?)) AND status = 0 RETURNING hook"
)
CANCEL_ABANDONED: Final = (
    f"UPDATE delivery SET status = {CODES[DeliveryStatus.CANCELLED]}, owner = NULL, due = NULL, finished = :now "
    "WHERE hook IN (SELECT n FROM hook WHERE deleted AND sending > 0) AND due <= :now "
    f"AND status = {CODES[DeliveryStatus.SENDING]} RETURNING hook"
)
DELETE_ENDED: Final = (
    "DELETE FROM delivery WHERE n IN (SELECT value FROM json_each(:numbers)) AND due IS NULL "
    "AND (finished < :before OR n <= :surplus) RETURNING n, event, hook, status"
)
DELETE_ATTEMPTS: Final = (
    "DELETE FROM attempt WHERE key IN (SELECT a.key FROM json_each(?) AS j CROSS JOIN attempt AS a "
    f"ON a.key BETWEEN j.value << {ATTEMPTS_BITS} AND (j.value << {ATTEMPTS_BITS}) + {ATTEMPTS_MAX})"
)
LET_GO: Final = "UPDATE event SET remaining = remaining - ? WHERE n = ?"
DELETE_CHILDLESS: Final = "DELETE FROM event WHERE n IN (SELECT value FROM json_each(?)) AND remaining = 0"
FORGET_PRESENCE: Final = f"DELETE FROM presence WHERE block < (SELECT min(n) FROM delivery) >> {BLOCK_BITS}"
FORGET_TRAFFIC: Final = "DELETE FROM traffic WHERE hour < ?"
FORGET_TRAFFIC_OF_NOBODY: Final = "DELETE FROM traffic WHERE hook NOT IN (SELECT n FROM hook)"
"""A forgotten hook's number may be given to a new one, which must not inherit what happened there."""
FORGET_HOOKS: Final = (
    f"DELETE FROM hook WHERE deleted AND {' AND '.join(f'{status} = 0' for status in DeliveryStatus)}"
)

_GRID: Final = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128)


def sizes(count: int) -> Iterable[int]:
    """How many rows each statement carries to write `count` of them; the last one may carry spare rows.

    A short list of sizes keeps the number of prepared statements small.
    """
    while count > _GRID[-1]:
        yield _GRID[-1]
        count -= _GRID[-1]
    yield next(size for size in _GRID if size >= count)


@cache
def multiplied(statement: str, width: int, size: int) -> str:
    """`statement` for `size` rows of `width` parameters. A spare row's parameters are all NULL: it does nothing."""
    row = f"({', '.join('?' * width)})"
    return statement.format(rows="VALUES " + ", ".join([row] * size))


def json_list(values: object) -> str:
    """A list as one parameter, for json_each."""
    return orjson.dumps(values).decode()
