"""The statements that run for every delivery, or over a long log, find their rows by index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import apsw
import pytest

from reconciler.model.delivery import DeliveryFilter, DeliveryStatus
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.search import matching

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def database() -> Iterator[apsw.Connection]:
    """The tables, empty."""
    connection = apsw.Connection(":memory:")
    connection.execute(sql.SCHEMA)
    yield connection
    connection.close()


def plan(database: apsw.Connection, statement: str) -> list[str]:
    """SQLite's steps for a statement; what is bound does not matter to them."""
    bindings = _Anything() if ":" in statement else (None,) * statement.count("?")
    return [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", bindings)]


class _Anything(dict[str, Any]):
    """Binds null to every name."""

    def __missing__(self, name: str) -> None:
        return None


def many(statement: str, width: int) -> str:
    """A statement for four rows, with names in place of question marks."""
    return sql.multiplied(statement, width, 4)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        (sql.CLAIMABLE, "SEARCH delivery USING COVERING INDEX live (hook=? AND lane=? AND due<?)"),
        (sql.CLAIMABLE_ROWS, "SEARCH d USING INTEGER PRIMARY KEY (rowid=?)"),
        (sql.CLAIM, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        (sql.SENDING, "SEARCH d USING INDEX sqlite_autoindex_delivery_1 (id=?)"),
        (many(sql.MOVE, sql.MOVE_WIDTH), "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        (many(sql.TALLY, sql.TALLY_WIDTH), "SEARCH hook USING INTEGER PRIMARY KEY (rowid=?)"),
        (sql.READY, "SEARCH delivery USING COVERING INDEX live (hook=? AND lane=? AND due>?)"),
        (sql.OLDEST_DUE, "SEARCH delivery USING COVERING INDEX live (hook=? AND lane=? AND due>?)"),
        (sql.ALL_SENDING, "SCAN d USING INDEX live"),
        (sql.DRAW_NEARER, "SEARCH d USING INDEX live (hook=? AND lane=? AND due>?)"),
        (sql.CANCEL_WAITING, "SEARCH delivery USING INDEX live (hook=?)"),
        (sql.KNOWN_EVENTS, "SEARCH event USING INDEX sqlite_autoindex_event_1 (id=?)"),
        (sql.DELIVERY, "SEARCH d USING INDEX sqlite_autoindex_delivery_1 (id=?)"),
        (sql.ATTEMPTS, "SEARCH attempt USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (sql.DELETE_ENDED, "SEARCH delivery USING INTEGER PRIMARY KEY (rowid=?)"),
        (sql.DELETE_ATTEMPTS, "SEARCH a USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (sql.CHILDLESS_BEFORE, "SEARCH event USING COVERING INDEX event_childless (received<?)"),
        (sql.READ_GONE, "SEARCH hook USING INDEX hook_gone (gone>?)"),
        (sql.REQUEST_SYNC, None),
    ],
)
def test_statements_use_their_index(database: apsw.Connection, statement: str, expected: str | None) -> None:
    """The step that finds the rows is the one intended, and no table of deliveries or events is gone through."""
    steps = plan(database, statement)
    assert expected is None or expected in steps, steps
    long = ("SCAN d", "SCAN e", "SCAN delivery", "SCAN event", "SCAN attempt", "SCAN sync")
    assert not [step for step in steps if step.startswith(long) and "INDEX" not in step], steps


HOOK = frozenset({"h"})
EXHAUSTED = frozenset({DeliveryStatus.EXHAUSTED})


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (DeliveryFilter(hook_ids=HOOK), "SEARCH p USING PRIMARY KEY (hook=?)"),
        (DeliveryFilter(hook_ids=HOOK), "SEARCH d USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (DeliveryFilter(statuses=EXHAUSTED), "SEARCH d USING INDEX undelivered (status=?)"),
        (DeliveryFilter(statuses=EXHAUSTED, hook_ids=HOOK), "SEARCH d USING INDEX undelivered (status=?)"),
        (DeliveryFilter(ids=("a",)), "SEARCH d USING INDEX sqlite_autoindex_delivery_1 (id=?)"),
    ],
)
def test_the_log_is_searched_by_index(database: apsw.Connection, which: DeliveryFilter, expected: str) -> None:
    """One hook's deliveries are found by block, undelivered ones by status, given ones by id."""
    for statement in (sql.DELIVERIES, sql.COUNT, sql.REDELIVERABLE):
        assert expected in plan(database, matching(statement, which)[0])


@pytest.mark.parametrize(
    "which", [DeliveryFilter(), DeliveryFilter(hook_ids=HOOK), DeliveryFilter(event="sync.failure")]
)
def test_a_page_of_the_log_is_read_in_order_not_sorted(database: apsw.Connection, which: DeliveryFilter) -> None:
    """The newest page of a log of a million rows costs as much as that of a short one."""
    for statement in (sql.DELIVERIES, sql.REDELIVERABLE):
        assert not [step for step in plan(database, matching(statement, which)[0]) if "TEMP B-TREE" in step]


def test_rows_are_written_in_few_sizes() -> None:
    """Every number of rows is covered, with at most a few spare ones and a bounded number of texts."""
    for count in range(1, 700):
        sizes = list(sql.sizes(count))
        assert sum(sizes) >= count
        assert sum(sizes) - count < max(count / 2, 32)
    assert len({size for count in range(1, 700) for size in sql.sizes(count)}) <= 16
