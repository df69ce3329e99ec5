"""The file: making, checking, locking and opening it.

Nothing here, nor anywhere in the program, opens the database's file but SQLite. POSIX frees all locks that a process
has on a file when the process closes any descriptor of it: another process that came and went would then take itself
for the last user of the log, and remove it under the daemon.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import apsw

from reconciler.errors import StateUnreadable, StoreLocked, StoreUnavailable
from reconciler.store.sqlite import sql
from reconciler.store.sqlite.faults import translated

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType
    from typing import Self

__all__ = ["DaemonLock", "make_folder", "open_checkpointer", "open_reader", "open_writer"]

_BUSY_MS: Final = 5_000
_STATEMENTS_CACHED: Final = 200
_CACHE_KIB: Final = 32_768
_READER_CACHE_KIB: Final = 8_192
_WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
_SQLITE_NEEDED: Final = 3_051_003


class DaemonLock:
    """Held by the one daemon. The kernel frees it when the process ends, in whatever way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock; StoreLocked names the process that has it."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot open the lock file {self._path}: {error.strerror or error}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StoreLocked(
                f"another daemon{f' (pid {holder})' if holder else ''} holds this store ({self._path}); "
                "stop it first, or give this one a store of its own with --store"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Free it. The file stays: removing it could remove the lock of the next holder."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


def make_folder(path: Path) -> None:
    """The database's folder, for its owner only if it is made here."""
    try:
        path.parent.mkdir(parents=True, mode=0o700)
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"cannot make the folder {path.parent}: {error.strerror or error}") from error


def open_writer(path: Path) -> apsw.Connection:
    """A connection that may write; the database is made if it is missing or empty."""
    if apsw.SQLITE_VERSION_NUMBER < _SQLITE_NEEDED:
        raise StoreUnavailable(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a database when its log is reset; "
            "install an apsw wheel, which brings a newer one"
        )
    make_folder(path)
    _make_file(path)
    _require_readable(path)
    with translated(str(path)):
        connection = apsw.Connection(
            str(path), flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=_STATEMENTS_CACHED
        )
        try:
            connection.set_busy_timeout(_BUSY_MS)
            if not _is_blank(connection):
                require_ours(connection, path)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_KEPT}")
            connection.execute("PRAGMA trusted_schema = OFF")
            _make_schema(connection)
            require_ours(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def open_checkpointer(path: Path) -> apsw.Connection:
    """A second writing connection, for checkpoints only."""
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(_BUSY_MS)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _make_file(path: Path) -> None:
    """An empty file, readable by its owner only, where there is none."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreUnavailable(f"cannot make the store {path}: {error.strerror or error}") from error


def _require_readable(path: Path) -> None:
    """Say what SQLite would not: why a file cannot be opened."""
    error = errno.EISDIR if path.is_dir() else 0 if os.access(path, os.R_OK) else errno.EACCES
    if error:
        raise StateUnreadable(f"cannot read the store {path}: {os.strerror(error)}")


def _make_schema(connection: apsw.Connection) -> None:
    """Make the tables, once, whoever is first."""
    if not _is_blank(connection):
        return
    connection.execute(sql.BEGIN)
    try:
        if _is_blank(connection):
            connection.execute(sql.SCHEMA)
        connection.execute(sql.COMMIT)
    except BaseException:
        if connection.in_transaction:
            connection.execute(sql.ROLLBACK)
        raise


def _is_blank(connection: apsw.Connection) -> bool:
    return (
        connection.pragma("application_id") == 0
        and connection.pragma("user_version") == 0
        and not connection.execute("SELECT count(*) FROM sqlite_schema").get
    )


def require_ours(connection: apsw.Connection, path: Path) -> None:
    """Refuse another program's database, and one of a later version of this program."""
    if connection.pragma("application_id") != sql.APPLICATION_ID:
        raise StateUnreadable(f"{path} is another program's database; give another path with --store")
    version = connection.pragma("user_version")
    if version > sql.SCHEMA_VERSION:
        raise StateUnreadable(
            f"the store {path} was written by a later version of this program (format {version}, this one reads "
            f"{sql.SCHEMA_VERSION}); install that version"
        )


def open_reader(path: Path) -> apsw.Connection | None:
    """A connection that cannot write; None where there is nothing to read yet.

    SQLite reads a WAL database through two companion files. Where they are missing and cannot be made, in a folder
    that cannot be written, nobody can be writing either, and the file is read as it stands.
    """
    try:
        if path.stat().st_size == 0:
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateUnreadable(f"cannot read the store {path}: {error.strerror or error}") from error
    _require_readable(path)
    with translated(str(path)):
        try:
            connection = _connect_reading(path, immutable=False)
        except (apsw.CantOpenError, apsw.ReadOnlyError):
            log = path.with_name(path.name + "-wal")
            if log.exists() and log.stat().st_size > 0:
                raise StateUnreadable(
                    f"the store {path} has changes in {log.name} that cannot be read without write access to its "
                    "folder; copy the folder somewhere writable, or read a backup"
                ) from None
            connection = _connect_reading(path, immutable=True)
        try:
            if _is_blank(connection):
                connection.close()
                return None
            require_ours(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection


def _connect_reading(path: Path, *, immutable: bool) -> apsw.Connection:
    uri = f"file:{quote(str(path))}?mode=ro{'&immutable=1' if immutable else ''}"
    connection = apsw.Connection(uri, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
    try:
        connection.set_busy_timeout(_BUSY_MS)
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT count(*) FROM sqlite_schema").get  # noqa: B018 - opens the file for real
    except BaseException:
        connection.close()
        raise
    return connection
