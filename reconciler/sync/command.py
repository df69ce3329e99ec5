"""A sync that is a program: an argv, never a shell, which cannot outlive the daemon.

The trigger's body is on its stdin. `RECONCILER_BOT` and `RECONCILER_DATA_SOURCE` hold handles, as in the YAML, and
`RECONCILER_SYNC_ID` the sync's id; the rest of its environment is the daemon's, without any other `RECONCILER_…`
variable: keys, tokens and the store are no business of a sync's. It runs in the daemon's working directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.sync.result import Failed, of_command

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping

    from reconciler.model.hook import CommandSync, DataSource
    from reconciler.model.sync import SyncClaim
    from reconciler.sync.result import Result

__all__ = ["environment_of", "run_command"]

OUTPUT_BYTES_MAX = 64 * 1024
"""How much of the end of stdout and of stderr is kept; the rest is read and forgotten."""
ENDING_S = 5.0
"""How long a killed command may take to be gone, and output held open by a process that fled its group to end."""

_CHUNK_BYTES = 64 * 1024
_OWN = "RECONCILER_"
_SUPERVISOR = str(Path(__file__).with_name("supervise.py"))
_SIGNALLED = 128


async def run_command(
    sync: CommandSync, source: DataSource, claim: SyncClaim, *, environ: Mapping[str, str]
) -> Result:
    """Run the command to its end or its time-out. Cancelled, it kills the command before it passes that on."""
    reading, writing = os.pipe()
    lifeline = _Lifeline(writing)
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", _SUPERVISOR, str(reading), *sync.argv),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment_of(source, claim, environ),
                pass_fds=(reading,),
                start_new_session=True,
            )
        except OSError as error:  # no processes or descriptors left
            return Failed(reason=f"the command could not be started: {error.strerror}")
        finally:
            os.close(reading)
        return await _see_through(process, source, claim, lifeline)
    finally:
        lifeline.cut()


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

    def cut(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


async def _see_through(process: Process, source: DataSource, claim: SyncClaim, lifeline: _Lifeline) -> Result:
    """Feed, drain and wait, all at once, until the command has ended or has been ended."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    stdout, stderr = bytearray(), bytearray()
    streams = [
        asyncio.create_task(_feed(process.stdin, claim.body)),
        asyncio.create_task(_keep_end(process.stdout, stdout)),
        asyncio.create_task(_keep_end(process.stderr, stderr)),
    ]
    timed_out = False
    try:
        try:
            async with asyncio.timeout(source.timeout_ms / 1000):
                await process.wait()
        except TimeoutError:
            timed_out = True
        finally:
            lifeline.cut()
            await _bury(process)
        await asyncio.wait(streams, timeout=ENDING_S)
    finally:
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
    if timed_out:
        return Failed(reason=f"the command did not end within {source.timeout_ms / 1000:g} s and was killed")
    code = process.returncode
    assert code is not None
    return of_command(_SIGNALLED - code if code > _SIGNALLED else code, bytes(stdout), bytes(stderr))


async def _bury(process: Process) -> None:
    """Wait until the supervisor, and with it the command, is gone."""
    try:
        async with asyncio.timeout(ENDING_S):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _feed(stdin: asyncio.StreamWriter, body: bytes) -> None:
    """Write the body; a command that does not read it is free not to."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        stdin.write(body)
        await stdin.drain()
    stdin.close()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await stdin.wait_closed()


async def _keep_end(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Read to the end and keep the last of it."""
    while chunk := await stream.read(_CHUNK_BYTES):
        kept += chunk
        del kept[:-OUTPUT_BYTES_MAX]
