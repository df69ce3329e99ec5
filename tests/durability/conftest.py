"""A daemon under load, what happens to it, and the account of every event that was acknowledged."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from reconciler.model.delivery import Delivery, DeliveryFilter, DeliveryStatus
from reconciler.store.connect import open_store
from reconciler.store.port import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from reconciler.store.port import Store

_PATH = Path(__file__).parents[1] / "daemon" / "conftest.py"
_SPEC = importlib.util.spec_from_file_location("daemon_and_receiver", _PATH)
assert _SPEC is not None
assert _SPEC.loader is not None
_shared = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = _shared
_SPEC.loader.exec_module(_shared)

receiver = _shared.receiver
reconcile = _shared.reconcile
start_daemon = _shared.start_daemon

POSTERS = 4
CONCURRENCY = 4
"""Of the hook: so many deliveries are in flight when something happens."""
ATTEMPTS = 5


def event(number: int) -> dict[str, Any]:
    """An event with an id of its own."""
    return {
        "id": f"e-{number}",
        "event": "conversation.started",
        "conversation": {
            "id": f"c-{number}",
            "botId": "def-456",
            "channelType": "web",
            "initialMessage": "Hello " * 20,
            "createdAt": "2026-03-10T12:00:00.000Z",
        },
    }


def hooks_yaml(url: str, **extra: Any) -> str:
    """One hook that is patient and quick."""
    hook = {
        "type": "conversation.started",
        "url": url,
        "enabled": True,
        "timeout": "2s",
        "concurrency": CONCURRENCY,
        "retry": {"attempts": ATTEMPTS, "schedule": ["100ms"]},
        **extra,
    }
    return json.dumps({"version": 1, "bots": {"support-bot": {"id": "def-456", "webhooks": {"crm": hook}}}})


class Load:
    """Posts numbered events, each once, until it is stopped; remembers what was answered to each."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._next = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.acknowledged: set[str] = set()
        self.refused: Counter[int] = Counter()
        self.without_advice = 0
        self.unanswered = 0

    def start(self) -> None:
        """Begin to post, several at a time."""
        self._threads = [threading.Thread(target=self._post) for _ in range(POSTERS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, with every answer in."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _take(self) -> int:
        with self._lock:
            self._next += 1
            return self._next

    def _post(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        with httpx2.Client(base_url=self._url, headers=headers, timeout=60, trust_env=False) as client:
            while not self._stopping.is_set():
                number = self._take()
                try:
                    answer = client.post("/api/v1/events", json=event(number))
                except httpx2.TransportError:
                    self.unanswered += 1
                    self._stopping.wait(0.02)
                    continue
                self._note(number, answer)

    def _note(self, number: int, answer: httpx2.Response) -> None:
        with self._lock:
            if answer.status_code == 202:
                self.acknowledged.add(f"e-{number}")
                return
            self.refused[answer.status_code] += 1
            self.without_advice += "retry-after" not in answer.headers
        self._stopping.wait(0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a store says of its deliveries, by event id."""

    deliveries: dict[str, list[Delivery]] = field(default_factory=dict)
    counted: dict[DeliveryStatus, int] = field(default_factory=dict)
    over_limit: tuple[str, ...] = ()

    @property
    def live(self) -> int:
        """How many have not come to an end."""
        return self.counted[DeliveryStatus.PENDING] + self.counted[DeliveryStatus.SENDING]


async def _read(store: Store, attempts_max: int) -> Account:
    found: dict[str, list[Delivery]] = {}
    over_limit: list[str] = []
    cursor = None
    while True:
        page = await store.deliveries(DeliveryFilter(), cursor=cursor, limit=1_000)
        for delivery in page.items:
            found.setdefault(delivery.event_id, []).append(delivery)
            whole = await store.delivery(delivery.id)
            assert whole is not None
            rounds = Counter(attempt.round for attempt in whole[2])
            if len(whole[2]) != whole[0].attempts or max(rounds.values(), default=0) > attempts_max:
                over_limit.append(delivery.id)
        cursor = page.next
        if cursor is None:
            break
    stats = await store.stats()
    return Account(deliveries=found, counted=dict(stats.by_status), over_limit=tuple(over_limit))


def read_account(database: Path, *, attempts_max: int = ATTEMPTS) -> Account:
    """The account of a store, beside its daemon or without one."""

    async def read() -> Account:
        async with await open_store(f"sqlite:{database}", Access.READ) as store:
            return await _read(store, attempts_max)

    return asyncio.run(read())


def can_mount() -> bool:
    """Whether something can be mounted here, for one process alone."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@dataclass(kw_only=True)
class Lab:
    """What a test does to daemons, in one folder with one receiver."""

    folder: Path
    receiver: Any
    start_daemon: Callable[..., Any]
    reconcile: Callable[..., subprocess.CompletedProcess[str]]
    loads: list[Load] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The file, where nothing is mounted over it."""
        return self.folder / "state" / "reconciler.db"

    def configure(self, url: str | None = None, **extra: Any) -> None:
        """Write the configuration: one hook, of the receiver unless another URL is given."""
        (self.folder / "hooks.yaml").write_text(hooks_yaml(url or self.receiver.url, **extra), encoding="utf-8")

    def start(self, *arguments: str, **options: Any) -> Any:
        """A daemon that follows the configuration."""
        return self.start_daemon("-f", "hooks.yaml", *arguments, **options)

    def event(self, number: int) -> dict[str, Any]:
        """An event with an id of its own."""
        return event(number)

    def failing_start(self, *arguments: str, **options: Any) -> tuple[int, str]:
        """Start a daemon that must not come up; its exit code and last words."""
        daemon = self.start(*arguments, ready=False, **options)
        code = daemon.process.wait(timeout=30)
        daemon.stop()
        return code, daemon.raw_log[-1]

    def load(self, daemon: Any) -> Load:
        """Put load on a daemon; it is taken off at the end at the latest."""
        self.loads.append(Load(daemon.url, daemon.token))
        self.loads[-1].start()
        return self.loads[-1]

    def until(self, condition: Callable[[], Any], patience_s: float = 30) -> Any:
        """Wait for something to come true in another process."""
        return _shared.wait_until(condition, patience_s)

    def within(self, line: str) -> Sequence[str]:
        """A command that runs another one with something mounted for it alone, by its shell line."""
        if not can_mount():
            pytest.skip("this machine lets nobody mount anything, not even in a namespace of its own")
        return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-ec", f'{line}; exec "$@"', "sh")

    def copy(self, daemon: Any) -> Path:
        """The store as a crash would leave it now; the daemon does not notice."""
        copy = self.folder / "copy" / "reconciler.db"
        copy.parent.mkdir(exist_ok=True)
        daemon.process.send_signal(signal.SIGSTOP)
        for suffix in ("", "-wal"):
            shutil.copy(daemon.state / f"reconciler.db{suffix}", f"{copy}{suffix}")
        daemon.process.send_signal(signal.SIGCONT)
        return copy

    def idle_account(self, daemon: Any) -> Account:
        """The account of the store, once everything has come to its end."""

        def is_idle() -> bool:
            queue = daemon.get("/api/v1/status").json()["queue"]
            return not queue["pending"] + queue["sending"]

        self.until(is_idle, patience_s=60)
        return read_account(self.copy(daemon))

    def settle(self, load: Load, daemon: Any, *, in_flight: int = CONCURRENCY) -> Account:
        """Wait until everything has come to its end, then hold the daemon to its promises.

        Every acknowledged event has exactly one delivery, which is in exactly one state, an end; what the store
        counts is what it holds; no round has more attempts than its limit; and what arrived twice, always under the
        same delivery id, is at most what was in flight when something happened.
        """
        assert load.acknowledged, "nothing was acknowledged: there is nothing to account for"
        account = self.idle_account(daemon)
        lost = load.acknowledged - account.deliveries.keys()
        assert not lost, f"{len(lost)} acknowledged events are not there"
        assert {len(found) for found in account.deliveries.values()} == {1}
        everything = [delivery for found in account.deliveries.values() for delivery in found]
        held = Counter(delivery.status for delivery in everything)
        assert held == {status: count for status, count in account.counted.items() if count}
        assert held.keys() == {DeliveryStatus.DELIVERED}
        assert account.over_limit == ()
        arrived = Counter(request.headers["webhook-id"] for request in self.receiver.requests)
        assert arrived.keys() == {delivery.id for delivery in everything}
        assert arrived.total() - len(arrived) <= in_flight, "more came twice than can have been in flight"
        return account


@pytest.fixture
def lab(
    tmp_path: Path,
    receiver: Any,
    start_daemon: Callable[..., Any],
    reconcile: Callable[..., subprocess.CompletedProcess[str]],
) -> Iterator[Lab]:
    """A folder, a receiver, and what a test needs to make trouble."""
    lab = Lab(folder=tmp_path, receiver=receiver, start_daemon=start_daemon, reconcile=reconcile)
    yield lab
    for load in lab.loads:
        load.stop()
