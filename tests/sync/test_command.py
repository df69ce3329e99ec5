"""Syncs as commands, with real processes: what they see, what is kept, and that nothing of them stays behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from reconciler.model.delivery import Fence
from reconciler.model.hook import CommandSync, DataSource
from reconciler.model.sync import SyncClaim
from reconciler.sync.command import OUTPUT_BYTES_MAX, environment_of, run_command
from reconciler.sync.result import Failed, Succeeded

if TYPE_CHECKING:
    from collections.abc import Callable

RESULTS = {
    "totalTokens": 1,
    "modifiedRows": 2,
    "totalDocuments": 3,
    "unmodifiedRows": 4,
    "totalDataSourceRows": 5,
}
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=sorted(LOOPS))
def run(request: pytest.FixtureRequest, source: Callable[..., Any], claim: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a Python script (or an argv) as a sync, on either loop."""

    def call(
        script: str | list[str],
        *,
        body: bytes = b"",
        timeout_ms: int = 20_000,
        environ: dict[str, str] | None = None,
    ) -> Any:
        argv = (sys.executable, "-c", textwrap.dedent(script)) if isinstance(script, str) else tuple(script)
        sync = CommandSync(argv=argv)
        environment = dict(os.environ) if environ is None else environ
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(
                run_command(sync, source(sync, timeout_ms=timeout_ms), claim(body), environ=environment)
            )

    return call


def test_a_command_reads_the_body_and_prints_its_results(run: Callable[..., Any]) -> None:
    """The trigger's body is on stdin, to its end; the last line of stdout is the result."""
    result = run(
        """
        import json, sys
        body = sys.stdin.buffer.read()
        print("working")
        print(json.dumps({"results": {**json.loads(body), "read": len(body)}}))
        """,
        body=json.dumps(RESULTS).encode(),
    )
    assert isinstance(result, Succeeded)
    assert result.results == {**RESULTS, "read": len(json.dumps(RESULTS))}


def test_a_command_sees_handles_but_no_secret_of_the_daemon(run: Callable[..., Any]) -> None:
    """Three variables tell it what to sync; keys, tokens and the store are gone, the rest stays."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/home/x",
        "RECONCILER_KEY": "k",
        "RECONCILER_ADMIN_TOKEN": "t",
        "RECONCILER_STORE": "postgresql://user:password@host/db",
        "RECONCILER_BOT": "spoofed",
    }
    result = run(
        """
        import json, os
        print(json.dumps({"success": False, "reason": json.dumps(dict(os.environ))}))
        """,
        environ=environ,
    )
    assert isinstance(result, Failed)
    seen = json.loads(result.reason)
    assert {name: value for name, value in seen.items() if name.startswith("RECONCILER")} == {
        "RECONCILER_BOT": "support",
        "RECONCILER_DATA_SOURCE": "docs",
        "RECONCILER_SYNC_ID": "01890000-0000-7000-8000-000000000001",
    }
    assert seen["HOME"] == "/home/x"


def test_arguments_are_passed_as_they_are(run: Callable[..., Any]) -> None:
    """No shell looks at them."""
    argv = [sys.executable, "-c", "import sys; sys.exit(sys.argv[1])", "$(id) `id` ; rm * 'x' \"y\" \\"]
    result = run(argv)
    assert isinstance(result, Failed)
    assert result.reason == argv[3]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("import sys; sys.stderr.write('first\\nlast\\n'); sys.exit(3)", "last"),
        ("import sys; sys.exit(3)", "exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "signal 15"),
        (["/does/not/exist"], "cannot run /does/not/exist: No such file or directory"),
        (["/etc/passwd"], "cannot run /etc/passwd: Permission denied"),
        ("print('done')", "results"),
    ],
)
def test_a_command_that_fails_says_why(run: Callable[..., Any], script: Any, expected: str) -> None:
    """The last line of stderr, else how it ended."""
    result = run(script)
    assert isinstance(result, Failed)
    assert expected in result.reason


def test_only_the_end_of_the_output_is_kept(run: Callable[..., Any]) -> None:
    """Megabytes on both streams neither block the command nor stay in memory; its last line still counts."""
    result = run(
        f"""
        import json, sys
        for _ in range(200):
            sys.stderr.write("e" * {OUTPUT_BYTES_MAX})
            sys.stdout.write("o" * {OUTPUT_BYTES_MAX})
        print()
        print(json.dumps({{"results": {RESULTS}}}))
        """
    )
    assert isinstance(result, Succeeded)


def test_a_body_that_is_not_read_blocks_nothing(run: Callable[..., Any]) -> None:
    """A command may ignore or close its stdin."""
    for script in ("import os; os.close(0); raise SystemExit('closed')", "raise SystemExit('ignored')"):
        result = run(script, body=b"x" * 1024 * 1024)
        assert isinstance(result, Failed)
        assert result.reason in ("closed", "ignored")


def test_a_time_out_kills_the_whole_group(
    run: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], is_alive: Callable[[int], bool]
) -> None:
    """The command is gone when the failure is reported, what it started at once after, SIGTERM ignored or not."""
    pids = tmp_path / "pids"
    result = run(
        f"""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open({str(pids)!r}, "w") as file:
            file.write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(600)
        """,
        timeout_ms=1_500,
    )
    assert isinstance(result, Failed)
    assert "1.5 s" in result.reason
    command, child = map(int, pids.read_text().split())
    assert not is_alive(command)
    wait_until(lambda: not is_alive(child))


def test_what_a_command_leaves_running_ends_with_it(
    run: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any], is_alive: Callable[[int], bool]
) -> None:
    """A child in its group that holds its output does not hold up the sync, and is killed."""
    pid = tmp_path / "pid"
    result = run(
        f"""
        import json, subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open({str(pid)!r}, "w").write(str(child.pid))
        print(json.dumps({{"results": {RESULTS}}}))
        """
    )
    assert isinstance(result, Succeeded)
    wait_until(lambda: not is_alive(int(pid.read_text())))


def test_a_child_that_fled_its_group_does_not_hold_up_the_sync(
    run: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output held open from another session is waited for a moment only."""
    monkeypatch.setattr("reconciler.sync.command.SILENCE_S", 0.3)
    pid = tmp_path / "pid"
    started_s = time.monotonic()
    result = run(
        f"""
        import json, subprocess, sys
        sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleep, start_new_session=True)
        open({str(pid)!r}, "w").write(str(child.pid))
        print(json.dumps({{"results": {RESULTS}}}), flush=True)
        """
    )
    os.kill(int(pid.read_text()), signal.SIGKILL)
    assert isinstance(result, Succeeded)
    assert time.monotonic() - started_s < 20


def test_cancelling_kills_the_command(
    source: Callable[..., Any],
    claim: Callable[..., Any],
    tmp_path: Path,
    wait_for: Callable[..., Any],
    is_alive: Callable[[int], bool],
) -> None:
    """It is gone before the cancellation is passed on."""
    pid = tmp_path / "pid"
    script = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid()) + '\\n'); time.sleep(600)"
    sync = CommandSync(argv=(sys.executable, "-c", script))

    async def main() -> None:
        task = asyncio.create_task(run_command(sync, source(sync), claim(), environ=dict(os.environ)))
        await wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_alive(int(pid.read_text()))

    asyncio.run(main())


@pytest.mark.parametrize("loop", sorted(LOOPS))
def test_cancelling_at_any_moment_leaves_nothing_behind(
    loop: str, source: Callable[..., Any], claim: Callable[..., Any], tmp_path: Path
) -> None:
    """While it starts, while it runs, while it ends: every process that ever had the mark is gone."""
    mark = str(tmp_path / "mark")
    sync = CommandSync(argv=(sys.executable, "-c", "import time; time.sleep(0.05)", mark))

    async def main() -> None:
        for steps in range(40):
            task = asyncio.create_task(run_command(sync, source(sync), claim(b"x"), environ=dict(os.environ)))
            for _ in range(steps):
                await asyncio.to_thread(time.sleep, 0.003)
            task.cancel()
            await asyncio.wait([task])
            assert marked(mark) == []

    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def marked(mark: str) -> list[int]:
    """Living processes with this argument."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if mark.encode() in arguments and state not in "ZX":
                found.append(int(folder.name))
    return found


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_open(run: Callable[..., Any]) -> None:
    """Running a command costs the daemon nothing for good."""
    run("pass")
    before = descriptors()
    for _ in range(3):
        run("pass")
    assert descriptors() == before


def test_a_command_gets_no_descriptor_of_the_daemon(run: Callable[..., Any]) -> None:
    """Nothing but its three streams is open in it, the supervisor's pipe included."""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    try:
        result = run("import os; raise SystemExit(' '.join(sorted(os.listdir('/proc/self/fd'))))")
    finally:
        os.close(reading)
        os.close(writing)
    assert isinstance(result, Failed)
    assert result.reason.split()[:3] == ["0", "1", "2"]
    assert len(result.reason.split()) == 4  # the fourth is the listing's own


DAEMON = """
import asyncio, os, sys
from reconciler.model.delivery import Fence
from reconciler.model.hook import CommandSync, DataSource
from reconciler.model.sync import SyncClaim
from reconciler.sync.command import run_command

sync = CommandSync(argv=tuple(sys.argv[1:]))
source = DataSource(address="b/d", bot="b", id="d", name="d", sync=sync, timeout_ms=600_000)
claim = SyncClaim(sync_id="s", data_source="b/d", requested_ms=0, body=b"", fence=Fence(1, "w"))
asyncio.run(run_command(sync, source, claim, environ=dict(os.environ)))
"""

STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as file:
    file.write(f"{os.getppid()} {os.getpid()} {child.pid}\\n")
time.sleep(600)
"""


def test_a_command_dies_with_a_daemon_that_is_killed(
    tmp_path: Path, wait_until: Callable[..., Any], is_alive: Callable[[int], bool]
) -> None:
    """SIGKILL on the daemon leaves neither supervisor, command nor grandchild."""
    pids = tmp_path / "pids"
    argv = [sys.executable, "-c", DAEMON, sys.executable, "-c", STUBBORN, str(pids)]
    daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: pids.exists() and pids.read_text().endswith("\n"))
        family = [int(pid) for pid in pids.read_text().split()]
        assert all(map(is_alive, family))
    finally:
        daemon.kill()
        daemon.wait()
    wait_until(lambda: not any(map(is_alive, family)))


def test_the_environment_is_made_of_the_daemons() -> None:
    """A pure function of what is given."""
    source = DataSource(address="b/d", bot="b", id="1", name="D", sync=None, timeout_ms=1)
    claim = SyncClaim(sync_id="s", data_source="b/d", requested_ms=0, body=b"", fence=Fence(1, "w"))
    assert environment_of(source, claim, {"A": "1", "RECONCILER_READ_TOKEN": "x"}) == {
        "A": "1",
        "RECONCILER_BOT": "b",
        "RECONCILER_DATA_SOURCE": "d",
        "RECONCILER_SYNC_ID": "s",
    }
