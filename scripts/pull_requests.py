"""Pull requests on a repository with webhooks, and the comments they get: what docs/reviewing-plans.md shows.

`pull_requests.py FOLDER` makes a git repository in FOLDER from the example configuration, applies it, lets some
deliveries happen, makes a branch for each pull request, plans each as CI does, and prints their diffs and comments.
Nothing of it is made up but the traffic.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.clock import SystemClock
from reconciler.mint import SystemMint
from reconciler.model.delivery import Attempt, DeliveryStatus, NewDelivery, NewEvent, Settlement
from reconciler.model.resource import Key, Kind
from reconciler.store.connect import open_store
from reconciler.store.port import Access, Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parents[1]
RECONCILE = str(Path(sys.executable).parent / "reconcile")
FILE = "hooks.yaml"
STORE = "sqlite:../state/reconciler.db"
MORE = {
    "crm-claimed": ("conversation.claimed", "https://crm.example.com/claimed"),
    "crm-released": ("conversation.released", "https://crm.example.com/released"),
    "audit-started": ("conversation.started", "https://audit.example.com/events"),
    "audit-escalated": ("conversation.escalated", "https://audit.example.com/events"),
    "wallboard-started": ("conversation.started", "https://wallboard.example.com/started"),
    "wallboard-claimed": ("conversation.claimed", "https://wallboard.example.com/claimed"),
}
"""What the example has grown by: enough webhooks that deleting many at once is noticed."""
TRAFFIC = {"crm-new-chat": (212, 4), "pager-escalated": (3, 0), "audit-started": (212, 0)}
"""Deliveries of the last hours by webhook: those that went out, and those that still wait."""
HOUR_MS = 3_600_000
SWALLOWING = "handbook-broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequest:
    """A branch, what it does to the file, and how its diff is shown."""

    branch: str
    edit: Callable[[str], str]
    shown: tuple[str, ...] = ("--unified=1",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """What a reviewer of a pull request gets to see."""

    diff: str
    comment: str


def slower_pager(text: str) -> str:
    """The pager gets a little longer to answer, and a new webhook is prepared."""
    edited = text.replace("        timeout: 5s\n", "        timeout: 8s\n")
    return edited + webhook("wallboard-released", "conversation.released", "https://wallboard.example.com/released")


def renamed(text: str) -> str:
    """A webhook gets a better name."""
    return text.replace("      crm-new-chat:\n", "      crm-chats:\n")


def renamed_with_source(text: str) -> str:
    """The same, saying what it was called."""
    return text.replace("      crm-new-chat:\n", "      crm-chats:\n        moved_from: crm-new-chat\n")


def shifted(text: str) -> str:
    """A text gets better, and the editor moves everything below it to the right."""
    begin, swallowing, rest = text.partition(f"      {SWALLOWING}:\n")
    last = '"delivery": "{{deliveryId}}"}\n'
    body, _, below = rest.partition(last)
    moved = "".join(f"      {line}" if line.strip() else line for line in below.splitlines(keepends=True))
    return f"{begin}{swallowing}{body.replace('did not sync', 'could not be read')}{last}{moved}"


PULL_REQUESTS = (
    PullRequest(branch="slower-pager", edit=slower_pager),
    PullRequest(branch="rename", edit=renamed),
    PullRequest(branch="rename-with-source", edit=renamed_with_source),
    PullRequest(branch="new-alert-text", edit=shifted, shown=("--stat",)),
)


def main() -> None:
    """Make everything in the folder that is named, and print it."""
    for branch, reviewed in build(Path(sys.argv[1])).items():
        print(f"\n{'=' * 20} {branch} {'=' * 20}\n\n{reviewed.diff}\n{reviewed.comment}")


def build(folder: Path) -> dict[str, Reviewed]:
    """What is seen of each branch; the repository and its state stay in `folder`."""
    repository = folder / "webhooks"
    repository.mkdir(parents=True)
    text = (ROOT / "examples" / FILE).read_text(encoding="utf-8").rstrip("\n") + "\n"
    text += "".join(webhook(name, kind, url) for name, (kind, url) in MORE.items())
    git = Git(repository)
    git("init", "--quiet", "--initial-branch=main")
    git.commit(text, "Webhooks of the support bot")
    reconcile(repository, "--yes")
    asyncio.run(deliver((repository / STORE.partition(":")[2]).resolve()))
    seen = {}
    for request in PULL_REQUESTS:
        git("checkout", "--quiet", "-b", request.branch, "main")
        edited = request.edit(text)
        assert edited != text
        git.commit(edited, request.branch.replace("-", " ").capitalize())
        comment = reconcile(
            repository, "--plan", "--format", "markdown", "--out", str(folder / "plan.json"), "--base-ref", "main"
        )
        diff = git("diff", "--no-color", *request.shown, "main", request.branch)
        hunks = diff[diff.index("@@") :] if "@@" in diff else diff
        seen[request.branch] = Reviewed(diff=hunks, comment=comment)
    git("checkout", "--quiet", "main")
    return seen


def webhook(name: str, kind: str, url: str) -> str:
    """A webhook as it stands at the end of the file."""
    return f"\n      {name}:\n        type: {kind}\n        url: {url}\n        enabled: true\n"


class Git:
    """A repository in which everything happens at the same moment, so that its commits have the same names always."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = environment(
            GIT_CONFIG_GLOBAL=os.devnull,
            GIT_CONFIG_NOSYSTEM="1",
            **{f"GIT_{who}_NAME": "Robin" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "robin@example.com" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_DATE": "2026-03-10T12:00:00Z" for who in ("AUTHOR", "COMMITTER")},
        )

    def __call__(self, *arguments: str) -> str:
        """Run git."""
        return output(["git", *arguments], self.folder, self.environment)

    def commit(self, text: str, message: str) -> None:
        """Write the file and commit it."""
        (self.folder / FILE).write_text(text, encoding="utf-8")
        self("add", FILE)
        self("commit", "--quiet", f"--message={message}")


def reconcile(repository: Path, *arguments: str) -> str:
    """Run the tool on the file, against the state beside the repository."""
    return output([RECONCILE, *arguments, "-f", FILE], repository, environment(RECONCILER_STORE=STORE))


def environment(**more: str) -> dict[str, str]:
    """This one, without what would reach into the scene, and with `more`."""
    kept = ("RECONCILER_", "GIT_", "GITHUB_", "CI_")
    return {name: value for name, value in os.environ.items() if not name.startswith(kept)} | more


def output(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    """What a command prints that must succeed."""
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


async def deliver(database: Path) -> None:
    """Put the traffic into the store: the one thing here that no receiver has seen."""
    now_ms, mint = SystemClock().now_ms(), SystemMint()
    async with await open_store(f"sqlite:{database}", Access.WRITE) as store:
        state = await store.read_state()
        for name, (delivered, waiting) in TRAFFIC.items():
            resource = state.resources[Key(Kind.WEBHOOK, f"support-bot/{name}")]
            assert resource.id is not None
            events = [
                NewEvent(
                    id=mint.new_id(now_ms),
                    type=resource.spec["type"],
                    payload=b"{}",
                    received_ms=now_ms - HOUR_MS,
                    deliveries=(NewDelivery(mint.new_id(now_ms), resource.id),),
                )
                for _ in range(delivered + waiting)
            ]
            await store.accept(events, serial=state.serial)
            claims = await store.claim(
                [Demand(resource.id, delivered, 0)], limit=delivered, owner="scene", now_ms=now_ms, lease_ms=HOUR_MS
            )
            attempt = Attempt(number=1, round=1, started_ms=now_ms - HOUR_MS, duration_ms=20, status=200)
            settled = DeliveryStatus.DELIVERED
            await store.settle(
                [
                    Settlement(delivery_id=claim.delivery_id, fence=claim.fence, status=settled, attempt=attempt)
                    for claim in claims
                ],
                now_ms=now_ms - HOUR_MS,
            )


if __name__ == "__main__":
    main()
