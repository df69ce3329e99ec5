"""The embedded store: one SQLite file, one thread that writes and commits in groups, readers beside it."""

from reconciler.store.sqlite.store import SqliteStore, open_sqlite

__all__ = ["SqliteStore", "open_sqlite"]
