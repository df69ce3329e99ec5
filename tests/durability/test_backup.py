"""A backup that is taken under load, lost everything else, and put back."""

from __future__ import annotations

import shutil
import signal
from typing import Any


def test_a_backup_under_load_is_a_store_of_one_moment(lab: Any) -> None:
    """Put back with its key, it has the same hooks and secrets, is consistent, and delivers what waited then."""
    lab.configure()
    daemon = lab.start()
    secret = lab.reconcile("secret", "support-bot/crm").stdout
    load = lab.load(daemon)
    lab.until(lambda: len(load.acknowledged) > 100)
    before = set(load.acknowledged)
    backup = lab.folder / "backup.db"

    taken = lab.reconcile("state", "backup", str(backup))

    assert taken.returncode == 0, taken.stderr
    assert backup.stat().st_mode & 0o777 == 0o600
    after = len(load.acknowledged)
    lab.until(lambda: len(load.acknowledged) > after + 50)
    load.stop()
    lab.settle(load, daemon, in_flight=0)
    assert lab.reconcile("state", "backup", str(backup)).returncode == 64, "a backup overwrites nothing"
    daemon.stop(signal.SIGKILL)

    key = (lab.folder / "state" / "key").read_bytes()
    shutil.rmtree(lab.folder / "state")
    (lab.folder / "state").mkdir(mode=0o700)
    shutil.copy(backup, lab.database)
    lab.database.with_name("key").write_bytes(key)
    lab.receiver.requests.clear()
    daemon = lab.start()

    assert lab.reconcile("secret", "support-bot/crm").stdout == secret
    account = lab.idle_account(daemon)
    assert before <= account.deliveries.keys(), "what was acknowledged before the backup is in it"
    assert {len(found) for found in account.deliveries.values()} == {1}
    assert account.over_limit == ()
    assert account.live == 0
    assert daemon.post_event({"event": "conversation.started", "conversation": CONVERSATION}).status_code == 202
    assert lab.reconcile("--plan").stdout.startswith("No changes.")
    assert daemon.stop() == 0


def test_a_backup_without_its_key_opens_nothing(lab: Any) -> None:
    """The secrets in it need the key that the store had: without it the daemon exits 66 and makes no new one."""
    lab.configure()
    assert lab.start().stop() == 0
    backup = lab.folder / "backup.db"
    assert lab.reconcile("state", "backup", str(backup)).returncode == 0
    shutil.rmtree(lab.folder / "state")
    (lab.folder / "state").mkdir(mode=0o700)
    shutil.copy(backup, lab.database)

    code, said = lab.failing_start()

    assert code == 66
    assert "key" in said
    assert not lab.database.with_name("key").exists()


CONVERSATION = {
    "id": "c-1",
    "botId": "def-456",
    "channelType": "web",
    "initialMessage": "Hello",
    "createdAt": "2026-03-10T12:00:00.000Z",
}
