"""What SQLite's errors mean to a caller of the port."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import apsw

from reconciler.errors import ReconcilerError, StateUnreadable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["translated", "translation"]

_UNREADABLE = (apsw.CorruptError, apsw.FormatError, apsw.SQLError, apsw.MismatchError)
_HINTS: tuple[tuple[type[apsw.Error], str], ...] = (
    (apsw.FullError, "the disk is full; free some space"),
    (apsw.ReadOnlyError, "it is read-only; check the permissions of the file and its folder"),
    (apsw.CantOpenError, "it cannot be opened; check the path and the permissions of its folder"),
    (apsw.BusyError, "another process has been writing for too long; try again"),
    (apsw.LockedError, "another process has been writing for too long; try again"),
    (apsw.IOError, "the disk reports an error; look at the system's log"),
)


def translation(error: apsw.Error, path: str) -> ReconcilerError:
    """The error of the port that `error` means, saying what can be done."""
    if isinstance(error, apsw.NotADBError):
        return StateUnreadable(f"{path} is not a store of this program; give another path with --store")
    if isinstance(error, _UNREADABLE):
        return StateUnreadable(
            f"the store {path} is damaged or not one of this program's ({error}); restore it from a backup"
        )
    hint = next((text for kind, text in _HINTS if isinstance(error, kind)), "nothing was written")
    return StoreUnavailable(f"the store {path} cannot be used now: {hint} ({error})")


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Raise SQLite's errors as the port's."""
    try:
        yield
    except apsw.Error as error:
        raise translation(error, path) from error
