"""Other programs that do the same work: Fastify with BullMQ and undici on Redis, and adnanh/webhook."""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import urllib.request
from socket import create_connection, socket
from typing import TYPE_CHECKING, Any

from end_to_end import DIRECT, HOOKS, READY_S, TOKEN, wait_until
from provide import ROOT, found, packages_of_node
from wire import cpu_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from end_to_end import Sink

__all__ = ["BullMq", "Webhook"]


class BullMq:
    """Takes events with Fastify, queues them with BullMQ in a Redis that syncs each append, posts with undici.

    `split` gives the worker a process of its own beside the one that takes events.
    """

    def __init__(self, folder: Path, sink: Sink, *, concurrency: int, split: bool) -> None:
        folder.mkdir()
        log = folder / "log"
        redis_port = free_port()
        redis = f"--port {redis_port} --bind 127.0.0.1 --appendonly yes --appendfsync always --loglevel warning"
        command = [found("redis-server"), *redis.split(), "--save", "", "--dir", str(folder)]
        self.processes = [run(command, log, stdout=subprocess.DEVNULL)]
        wait_until(lambda: is_listening(redis_port), READY_S, f"Redis does not answer; see {log}")
        environ = os.environ | {
            "NODE_ENV": "production",
            "PEER_REDIS_PORT": str(redis_port),
            "PEER_SINK_PORT": str(sink.port),
            "PEER_TOKEN": TOKEN,
            "PEER_HOOKS": str(HOOKS),
            "PEER_CONCURRENCY": str(concurrency),
        }
        self.port = 0
        for role in ("ingest", "worker") if split else ("both",):
            command = [found("node"), str(packages_of_node() / "peer.mjs"), role]
            process = run(command, log, env=environ, stdout=subprocess.PIPE)
            self.processes.append(process)
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"the peer has ended before it was ready; see {log}")
            self.port = json.loads(line)["port"] or self.port

    def cpu_s(self) -> float:
        """CPU time so far of Node and Redis."""
        return sum(cpu_seconds(process.pid) for process in self.processes)

    def is_idle(self) -> bool:
        """Whether every job's completion is in Redis."""
        url = f"http://127.0.0.1:{self.port}/waiting"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {TOKEN}"})
        with DIRECT.open(request, timeout=10) as answer:
            return not any(json.loads(answer.read()).values())

    def stop(self) -> None:
        """Stop Node, then Redis."""
        stop(*reversed(self.processes))


class Webhook:
    """Runs `/bin/true` for every GET."""

    path = "/hooks/sync"

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port = free_port()
        command = [found("webhook"), "-hooks", str(ROOT / "bench/peers/webhook/hooks.json")]
        command += ["-ip", "127.0.0.1", "-port", str(self.port)]
        self.process = run(command, folder / "log", stdout=subprocess.DEVNULL)
        wait_until(lambda: is_listening(self.port), READY_S, f"webhook does not answer; see {folder}/log")

    def cpu_s(self) -> float:
        """CPU time so far, that of the commands that have ended included."""
        return cpu_seconds(self.process.pid, children=True)

    def stop(self) -> None:
        """Stop it."""
        stop(self.process)


def run(command: list[str], log: Path, **more: Any) -> subprocess.Popen[str]:
    """Start a process that ends with this one."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=log.open("ab"), text=True, **more)
    atexit.register(process.kill)
    return process


def stop(*processes: subprocess.Popen[str]) -> None:
    """Stop processes one after the other."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether somebody listens on a port."""
    try:
        create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
