"""The installed command on a pseudo-terminal, as a person meets it."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RECONCILE = str(Path(sys.executable).with_name("reconcile"))
PATIENCE_S = 20


class Terminal:
    """A command whose three streams are one terminal; `screen` is everything it has written so far."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
        self._main, side = pty.openpty()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
        for name in ("NO_COLOR", "CI"):
            kept.pop(name, None)
        self.process = subprocess.Popen(
            [RECONCILE, *arguments],
            cwd=folder,
            env={**kept, "TERM": "xterm-256color", "COLUMNS": "100", **environment},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)
        self.screen = ""

    def wait_for(self, text: str) -> None:
        """Read on until `text` is on the screen."""
        while text not in self.screen:
            assert self._read(), f"it ended without {text!r}:\n{self.screen}"

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._main, text.encode())

    def interrupt(self) -> None:
        """What Ctrl-C sends."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        return self.process.wait(timeout=PATIENCE_S)

    def close(self) -> None:
        """Leave nothing running."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._main)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._main], [], [], PATIENCE_S)
        assert ready, f"nothing more came:\n{self.screen}"
        try:
            data = os.read(self._main, 4096)
        except OSError:  # Linux says so when the other side is closed
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start the installed command on a terminal in the test's folder."""
    started: list[Terminal] = []

    def start(*arguments: str, **environment: str) -> Terminal:
        started.append(Terminal(arguments, tmp_path, environment))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def reconcile(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command in the test's folder, without a terminal."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")}
        return subprocess.run(
            [RECONCILE, *arguments],
            cwd=tmp_path,
            env={**kept, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return run
