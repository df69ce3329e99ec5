# ruff: noqa: ASYNC240 - a test may look at a file while nothing else runs
"""From a URL to a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler.errors import StoreUnavailable, UsageError
from reconciler.model.resource import EMPTY_STATE
from reconciler.store.connect import companions, open_store
from reconciler.store.memory import MemoryStore
from reconciler.store.port import Access

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path


async def test_memory_is_a_store_of_its_own_each_time(runner: asyncio.Runner) -> None:
    """Nothing is shared between two openings."""
    one = await open_store("memory:", Access.DAEMON)
    two = await open_store("memory:", Access.DAEMON)
    await one.write_note("a", "b")
    assert isinstance(one, MemoryStore)
    assert await two.read_note("a") is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "sqlite:PATH"),
        ("state/reconciler.db", "sqlite:PATH"),
        ("sqlite:", "named by its path"),
        ("sqlite:///var/x.db", "named by its path"),
        ("memory:x", "memory:"),
        ("mysql://h/d", "sqlite:PATH"),
        ("postgresql://user:hunter2@host/db", "not in this version"),
        ("postgres://user:hunter2@host/db", "not in this version"),
    ],
)
async def test_a_url_that_names_no_store_is_refused(url: str, says: str, runner: asyncio.Runner) -> None:
    """The message says how a store is named and repeats no password."""
    with pytest.raises(UsageError, match=says) as caught:
        await open_store(url, Access.READ)
    assert "hunter2" not in caught.value.message
    with pytest.raises(UsageError):
        companions(url)


def test_the_companions_of_a_database_are_beside_it(tmp_path: Path) -> None:
    """Key, token and lock; finding them makes nothing. Memory has none."""
    found = companions(f"sqlite:{tmp_path}/state/x.db")
    assert found is not None
    assert found.database == tmp_path / "state" / "x.db"
    assert (found.key, found.token) == (tmp_path / "state" / "key", tmp_path / "state" / "token")
    assert found.lock == tmp_path / "state" / "x.db.lock"
    assert list(tmp_path.iterdir()) == []
    assert companions("memory:") is None


async def test_a_relative_path_counts_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runner: asyncio.Runner
) -> None:
    """And stays what it was when the process moves on."""
    monkeypatch.chdir(tmp_path)
    async with await open_store("sqlite:here/x.db", Access.WRITE) as store:
        monkeypatch.chdir("/")
        await store.write_note("a", "b")
    assert (tmp_path / "here" / "x.db").exists()


@pytest.mark.parametrize("url", ["memory:", "sqlite:{}/none/x.db"])
async def test_a_store_that_is_not_there_reads_as_empty(url: str, tmp_path: Path, runner: asyncio.Runner) -> None:
    """Reading makes nothing, and writing is refused."""
    async with await open_store(url.format(tmp_path), Access.READ) as store:
        assert await store.read_state() == EMPTY_STATE
        assert (await store.stats()).events == 0
        refused: list[Any] = [store.write_note("a", "b"), store.accept([], serial=0), store.free_leases()]
        for verb in refused:
            with pytest.raises(StoreUnavailable, match="reading only"):
                await verb
    assert list(tmp_path.iterdir()) == []
