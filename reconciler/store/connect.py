"""From a store's URL to the store, and to the files that belong beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from reconciler.errors import UsageError
from reconciler.store.port import Access

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.store.port import Store

__all__ = ["DEFAULT_STORE", "Companions", "companions", "open_store"]

DEFAULT_STORE = "sqlite:state/reconciler.db"


class Companions(NamedTuple):
    """The files of the embedded default: the database, its key, the daemon's token and the daemon's lock."""

    database: Path
    key: Path
    token: Path
    lock: Path


def companions(url: str) -> Companions | None:
    """Where a store's files are; None for a store without any. Makes nothing."""
    scheme, path = _split(url)
    if scheme == "memory":
        return None
    database = Path(path).resolve()
    folder = database.parent
    return Companions(database, folder / "key", folder / "token", database.with_name(database.name + ".lock"))


async def open_store(url: str, access: Access, *, observer: Callable[[int, float], None] | None = None) -> Store:
    """Open the store at `url`; close it, or use it as `async with`.

    Raises UsageError for a URL that names no store, StoreLocked for a second daemon, StateUnreadable for a file
    that is not a store of this program, StoreUnavailable where it cannot be opened now. `observer` is told of every
    commit (operations in it, seconds it took), on the event loop that asked for part of it.
    """
    files = companions(url)
    if files is None:
        return _memory(writable=access is not Access.READ)
    from reconciler.store.sqlite import open_sqlite  # noqa: PLC0415 - only what the URL asks for

    store = await open_sqlite(files.database, access, observer=observer)
    return _memory(writable=False) if store is None else store


def _memory(*, writable: bool) -> Store:
    from reconciler.store.memory import MemoryStore  # noqa: PLC0415 - only what the URL asks for

    return MemoryStore(writable=writable)


def _split(url: str) -> tuple[str, str]:
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon and not rest:
        return scheme, rest
    if scheme == "sqlite" and rest and not rest.startswith("//"):
        return scheme, rest
    if scheme == "sqlite":
        raise UsageError(f"a SQLite store is named by its path: {DEFAULT_STORE}, or sqlite:/var/lib/reconciler.db")
    if scheme in ("postgres", "postgresql"):
        # Never the URL itself: it may hold a password.
        raise UsageError("PostgreSQL stores are not in this version; use sqlite:PATH")
    raise UsageError(f"a store is named sqlite:PATH or memory:, for example {DEFAULT_STORE}")
