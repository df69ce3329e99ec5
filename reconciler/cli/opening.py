"""Opening what a command works on: the store, and the key that its secrets are sealed under."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from reconciler.errors import ReconcilerError, UsageError
from reconciler.model.resource import Kind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from reconciler.model.resource import State
    from reconciler.store.port import Access, Store
    from reconciler.store.seal import Keyring

__all__ = ["finished", "load_keyring", "opened", "read_addresses", "read_state", "write_whole"]

_T = TypeVar("_T")


def finished(work: Coroutine[Any, Any, _T]) -> _T:
    """What `work` ends with, on an event loop of its own.

    Python 3.11's `asyncio.run` writes its task out as text at the end, result and all: for a large state that takes
    longer than to read it. So the task has no result.
    """
    results: list[_T] = []

    async def keep() -> None:
        results.append(await work)

    asyncio.run(keep())
    return results[0]


@asynccontextmanager
async def opened(url: str, access: Access) -> AsyncIterator[Store]:
    """The store at `url`, closed at the end."""
    from reconciler.store.connect import open_store

    store = await open_store(url, access)
    try:
        yield store
    finally:
        await store.close()


def load_keyring(url: str, key_file: str | None, *, create: bool = False) -> Keyring:
    """The keyring as environment, `--key-file` and the default file beside the database give it.

    `create` makes the default file if it is missing: only for a state that holds no secret yet, since a new key
    would open none of them.
    """
    from reconciler.mint import SystemMint
    from reconciler.store.connect import companions
    from reconciler.store.seal import Keyring

    beside = companions(url)
    return Keyring.load(
        environ_value=os.environ.get("RECONCILER_KEY"),
        key_file=None if key_file is None else Path(key_file),
        beside=None if beside is None else beside.key,
        create=create,
        mint=SystemMint(),
    )


async def read_state(url: str) -> State:
    """The applied state, secrets sealed. Creates, locks and changes nothing."""
    from reconciler.store.port import Access

    async with opened(url, Access.READ) as store:
        return await store.read_state()


async def read_addresses(url: str) -> dict[str, str]:
    """The applied webhooks: address → type."""
    state = await read_state(url)
    return {key.address: str(item.spec["type"]) for key, item in state.resources.items() if key.kind is Kind.WEBHOOK}


def write_whole(path: str, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises ReconcilerError naming it.

    A device or a pipe is written to and never replaced, and neither is a link: /dev/stdout is one or the other.
    """
    target = Path(os.path.realpath(path))  # as Path.resolve, but for a link that leads to itself
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if Path(path).exists() and not Path(path).is_file():
            Path(path).write_bytes(data)
            return
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        is_misnamed = isinstance(error, FileNotFoundError | NotADirectoryError | PermissionError)
        kind = UsageError if is_misnamed else ReconcilerError
        raise kind(f"{path} cannot be written: {error.strerror or error}") from error
