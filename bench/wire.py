"""What the processes of a measurement agree on: the event, its size, and how they report."""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["EVENT_BYTES", "MARK", "TICKS_PER_S", "cpu_seconds", "event", "hooks_yaml", "start", "tell"]

EVENT_BYTES = 1000
"""About the size of a chat message with what surrounds it."""
MARK = b'"id":"cnv-'
"""What stands before the eight digits that number an event, in what is posted and in what is delivered."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

HERE = Path(__file__).resolve().parent


def event(bot: int) -> tuple[bytes, bytes]:
    """The event's body before and after its eight digits: `conversation.started`, compact, EVENT_BYTES long."""
    head = b'{"event":"conversation.started","timestamp":"2026-03-10T12:00:00.000Z","conversation":{' + MARK
    tail = (
        f'","botId":"bot-{bot}","botName":"Harbour Lights","channelType":"web","initialMessage":"%s",'
        '"createdAt":"2026-03-10T12:00:00.000Z"}}'
    ).encode()
    words = b"When does the front door close tonight? " * EVENT_BYTES
    return head, tail.replace(b"%s", words[: EVENT_BYTES - len(head) - len(tail) - 8 + 2])


def hooks_yaml(*, hooks: int, sink_port: int) -> str:
    """A configuration of `hooks` bots with one webhook each, all of which go to the sink."""
    lines = ["version: 1", "bots:"]
    for number in range(hooks):
        lines += [
            f"  bot-{number}:",
            "    name: Harbour Lights",
            "    webhooks:",
            "      started:",
            "        type: conversation.started",
            f"        url: http://127.0.0.1:{sink_port}/hooks/{number}",
            "        enabled: true",
        ]
    return "\n".join(lines) + "\n"


def start(script: str, *arguments: str, env: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], Any]:
    """Start a part of the measurement and wait for the line of JSON that says it is ready."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | (env or {}),
    )
    atexit.register(process.kill)  # whatever happens, nothing outlives the measurement
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"{script} ended with {process.wait()} before it was ready")
    return process, json.loads(line)


def tell(report: Any) -> None:
    """Report to the process that started this one."""
    print(json.dumps(report), flush=True)


def cpu_seconds(pid: int, *, children: bool = False) -> float:
    """CPU time of a process so far, all threads, user and system; with that of `children` that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11 : 15 if children else 13])) / TICKS_PER_S
