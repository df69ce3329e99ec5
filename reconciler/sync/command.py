"""A sync that is a program: an argv, never a shell, which cannot outlive the daemon.

The trigger's body is on its stdin. `RECONCILER_BOT` and `RECONCILER_DATA_SOURCE` hold handles, as in the YAML, and
`RECONCILER_SYNC_ID` the sync's id; the rest of its environment is the daemon's, without any other `RECONCILER_…`
variable: keys, tokens and the store are no business of a sync's. It runs in the daemon's working directory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from reconciler.sync.result import Failed, of_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.hook import CommandSync, DataSource
    from reconciler.model.sync import SyncClaim
    from reconciler.sync.result import Result

__all__ = ["environment_of", "run_command"]

OUTPUT_BYTES_MAX = 64 * 1024
"""How much of the end of stdout and of stderr is kept; the rest is read and forgotten."""
SILENCE_S = 5.0
"""How long output is waited for that a process which fled the command's group still holds open."""

_OWN = "RECONCILER_"
_SUPERVISOR = str(Path(__file__).with_name("supervise.py"))
_SIGNALLED = 128


async def run_command(
    sync: CommandSync, source: DataSource, claim: SyncClaim, *, environ: Mapping[str, str]
) -> Result:
    """Run the command to its end or its time-out. Cancelled, it kills the command before it passes that on.

    The supervisor is never killed, not even by the way asyncio cancels a start: its command would outlive it. It is
    told to end through the lifeline only, which it always obeys.
    """
    reading, writing = os.pipe()
    with _Lifeline(writing) as lifeline:
        environment = environment_of(source, claim, environ)
        timeout_s = source.timeout_ms / 1000
        running = asyncio.ensure_future(_run(sync.argv, environment, claim.body, timeout_s, (reading, lifeline)))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            lifeline.cut()
            await asyncio.wait([running])
            raise


def environment_of(source: DataSource, claim: SyncClaim, environ: Mapping[str, str]) -> dict[str, str]:
    """What the command sees of the daemon's environment, and what it is told."""
    told = {name: value for name, value in environ.items() if not name.startswith(_OWN)}
    told["RECONCILER_BOT"] = source.bot
    told["RECONCILER_DATA_SOURCE"] = source.address.partition("/")[2]
    told["RECONCILER_SYNC_ID"] = claim.sync_id
    return told


class _Lifeline:
    """The writing end of the supervisor's pipe; cutting it kills the command's group. May be cut twice."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class _Process(asyncio.SubprocessProtocol):
    """The supervisor as seen from here: the end of what it and the command say, and when that and they end."""

    def __init__(self) -> None:
        self.kept = {1: bytearray(), 2: bytearray()}
        self.exited = asyncio.Event()
        self.silent = asyncio.Event()
        self._speaking = {1, 2}

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.kept[fd] += data
        del self.kept[fd][:-OUTPUT_BYTES_MAX]

    def pipe_connection_lost(self, fd: int, _exc: Exception | None) -> None:
        self._speaking.discard(fd)
        if not self._speaking:
            self.silent.set()

    def process_exited(self) -> None:
        self.exited.set()


async def _run(
    argv: tuple[str, ...], environment: dict[str, str], body: bytes, timeout_s: float, pipe: tuple[int, _Lifeline]
) -> Result:
    """Start the command, feed it, and wait until it has ended or has been ended and what it said is here."""
    reading, lifeline = pipe
    try:
        transport, process = await asyncio.get_running_loop().subprocess_exec(
            _Process,
            *(sys.executable, "-I", "-S", _SUPERVISOR, str(reading), *argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=(reading,),
            start_new_session=True,
        )
    except OSError as error:  # no processes or descriptors left
        return Failed(reason=f"the command could not be started: {error.strerror}")
    finally:
        os.close(reading)
    stdin = cast("asyncio.WriteTransport", transport.get_pipe_transport(0))
    stdin.write(body)
    stdin.write_eof()
    in_time = await _comes(process.exited, timeout_s)
    lifeline.cut()
    await process.exited.wait()
    await _comes(process.silent, SILENCE_S)
    code = transport.get_returncode()
    transport.close()
    if not in_time:
        return Failed(reason=f"the command did not end within {timeout_s:g} s and was killed")
    assert code is not None
    return of_command(
        _SIGNALLED - code if code > _SIGNALLED else code, bytes(process.kept[1]), bytes(process.kept[2])
    )


async def _comes(event: asyncio.Event, timeout_s: float) -> bool:
    """Whether what is waited for comes in time."""
    try:
        async with asyncio.timeout(timeout_s):
            return await event.wait()
    except TimeoutError:
        return False
