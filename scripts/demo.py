"""The whole job on the example configuration, for real: nothing here is simulated but the outside world's addresses.

Plans and applies `examples/hooks.yaml`, runs the daemon and a receiver for each outgoing webhook, starts syncs over
the trigger's URL, posts `examples/events/*.json`, lets a receiver answer 503 first, kills the daemon with -9 while
deliveries wait, and checks everything that arrived. Exits 0 only if all of it happened; leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).resolve().parents[1]
RECONCILE = Path(sys.executable).parent / "reconcile"
CONFIGURATION = "examples/hooks.yaml"
BOT = "support-bot"
# Each outgoing webhook of the example: what it is called, and which variable says where its receiver is.
RECEIVERS = {
    "handbook-synced": "DASHBOARD_URL",
    "handbook-broken": "ALERTS_URL",
    "crm-new-chat": "CRM_URL",
    "pager-escalated": "PAGER_URL",
    "desk-claimed": "DESK_URL",
    "survey-released": "SURVEY_URL",
}
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback is no proxy's business
WAIT_S = 20
WAITING = 20
SLOW_S = 8


class DemoFailed(Exception):
    """Something that the demo promises did not happen."""


class Receiver:
    """A `reconcile listen` process and the requests that it has reported."""

    def __init__(self, hook: str) -> None:
        self.hook = hook
        self.url = ""
        self.secret = ""
        self.requests: list[dict[str, Any]] = []
        self.process: subprocess.Popen[str] | None = None
        self.reader = threading.Thread()

    def start(self, *arguments: str) -> None:
        """Listen, on the port of last time, verifying with the webhook's secret, which goes by the environment."""
        port = self.url.rpartition(":")[2] or "0"
        self.process = subprocess.Popen(
            [RECONCILE, "listen", "--json", "--secret-env", "SECRET", "--port", port, *arguments],
            env=os.environ | {"SECRET": self.secret},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready = self.process.stdout.readline()
        expect(ready, f"the receiver of {self.hook} starts")
        self.url = json.loads(ready)["url"]
        self.reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self.reader.start()

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.requests.append(json.loads(line))

    def stop(self) -> None:
        """Stop listening; unanswered requests stay unanswered."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.reader.join()
            self.process = None


class Demo:
    """The steps, in order, and what they need."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder = folder
        self.console = console
        self.daemon: subprocess.Popen[bytes] | None = None
        self.proofs: list[str] = []
        self.table = Table("webhook", "event", "deliveries", "requests", "signatures and id")
        shutil.copytree(ROOT / "examples", folder / "examples")  # so that documents can be edited
        self.content = folder / "examples/content"
        self.held, self.port = hold_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("RECONCILER_")} | {
            "RECONCILER_SERVER": self.url,
            "RECONCILER_PUBLIC_URL": self.url,
            "XDG_STATE_HOME": str(folder),
            # The example's sync is run by `python3`, which need not be on everybody's path.
            "PATH": f"{RECONCILE.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "NO_COLOR": "1",
        }
        self.receivers = {hook: Receiver(hook) for hook in RECEIVERS}

    # -- what the steps are made of --------------------------------------------------------------------------

    def step(self, title: str) -> None:
        """Say what comes next."""
        self.console.print(f"\n[bold cyan]▶ {title}[/]")

    def say(self, text: str) -> None:
        """Say what came of it."""
        self.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    def reconcile(self, *arguments: str, show: Callable[[str], str] | None = None, given: str | None = None) -> str:
        """Run a command, which must succeed; show its output, or the part of it that `show` picks."""
        self.console.print(f"  $ reconcile {' '.join(arguments)}", style="dim", markup=False, soft_wrap=True)
        done = subprocess.run(
            [RECONCILE, *arguments],
            cwd=self.folder,
            env=self.environ,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )
        if done.returncode != 0:
            raise DemoFailed(f"reconcile {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
        for line in (show(done.stdout) if show else "").rstrip().splitlines():
            self.say(line)
        return done.stdout

    def serve(self) -> None:
        """Start the daemon and wait until it is ready."""
        with (self.folder / "daemon.log").open("ab") as log:
            self.daemon = subprocess.Popen(
                [RECONCILE, "serve", "-f", CONFIGURATION, "--port", str(self.port), "--allow-target", "127.0.0.0/8"],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for("the daemon", self.is_ready)

    def is_ready(self) -> bool:
        """Whether the daemon says that it is."""
        if self.daemon is None or self.daemon.poll() is not None:
            raise DemoFailed("the daemon has ended: " + (self.folder / "daemon.log").read_text(encoding="utf-8"))
        return http("GET", f"{self.url}/readyz") == (200, {"status": "ready"})

    def prove(self, proof: str) -> None:
        """Add a line to what the demo ends with."""
        self.proofs.append(proof)

    # -- the steps -------------------------------------------------------------------------------------------

    def plan_and_apply(self) -> None:
        """Nine resources are planned and applied; a second plan is empty."""
        self.step("Plan: what would the example set up?")
        planned = self.reconcile("--plan", "-f", CONFIGURATION, show=heads)
        expect("Plan: 9 to add" in planned, "the plan says 9 to add")
        self.step("Apply it; the second plan is empty")
        self.reconcile("-f", CONFIGURATION, "--yes", show=last_line)
        again = self.reconcile("--plan", "-f", CONFIGURATION, "--detailed-exitcode", show=last_line)
        expect("No changes." in again, "the second plan is empty")
        self.prove("9 resources planned and applied; the second plan is empty")

    def start_everything(self) -> None:
        """One receiver for each outgoing webhook, each with that webhook's secret, and the daemon."""
        self.step("Start a receiver for each outgoing webhook, and the daemon")
        for hook, receiver in self.receivers.items():
            receiver.secret = self.reconcile("secret", f"{BOT}/{hook}").strip()
            receiver.start()
            self.environ[RECEIVERS[hook]] = receiver.url
        self.serve()
        self.say(f"the daemon serves at {self.url}")

    def trigger_syncs(self) -> None:
        """A GET syncs everything, a POST after an edit one row, and one without the folder fails."""
        self.step("Call the trigger URL: a real sync of a folder of documents")
        url = self.reconcile("url", f"{BOT}/cms-published").strip()
        synced, broken = self.receivers["handbook-synced"], self.receivers["handbook-broken"]

        def call(method: str) -> None:
            status, body = http(method, url, b'{"page": "arrival"}' if method == "POST" else None)
            answered = f"the trigger answers {method} with success (status {status}, {body})"
            expect((status, body) == (200, {"success": True}), answered)
            self.say(f"{method} {self.url}/api/public/hooks/… → 200 {json.dumps(body)}")

        call("GET")
        wait_for("the first sync.success", lambda: len(synced.requests) == 1)
        first = body_of(synced.requests[0])["results"]
        expect(first["modifiedRows"] == first["totalDataSourceRows"] > 0, "the first sync finds every row new")
        with (self.content / "arrival.md").open("a", encoding="utf-8") as page:
            page.write("\nDogs are welcome; tell us their names.\n")
        call("POST")
        wait_for("the second sync.success", lambda: len(synced.requests) == 2)
        second = body_of(synced.requests[1])["results"]
        expect((second["modifiedRows"], second["unmodifiedRows"]) == (1, first["modifiedRows"]), "one row changed")
        self.say(f"sync.success {json.dumps(second)}")
        self.content.rename(self.folder / "moved")
        call("GET")
        wait_for("the sync.failure", lambda: len(broken.requests) == 1)
        (self.folder / "moved").rename(self.content)
        expect("is not a folder" in body_of(broken.requests[0])["text"], "the failure says why")
        self.say(f"sync.failure {json.dumps(body_of(broken.requests[0]))}")
        self.prove("3 syncs by GET and POST: every row new; one row changed; failed, with the reason")

    def post_events(self) -> None:
        """Every example event arrives; the one whose receiver answers 503 first arrives under the same id."""
        self.step("Post an event of every type; the pager answers 503 first")
        pager = self.receivers["pager-escalated"]
        pager.stop()
        pager.start("--fail-first", "1")
        before = {hook: len(receiver.requests) for hook, receiver in self.receivers.items()}
        for path in sorted((self.folder / "examples/events").glob("*.json")):
            self.reconcile("emit", str(path.relative_to(self.folder)))
        for hook, receiver in self.receivers.items():
            wait_for(f"the event for {hook}", lambda r=receiver, n=before[hook]: len(r.requests) > n)
        wait_for("the retry", lambda: len(pager.requests) == 2)
        first, last = pager.requests
        expect((first["status"], last["status"]) == (503, 200), "the pager answers 503, then 200")
        expect(first["delivery_id"] == last["delivery_id"], "the retry carries the same delivery id")
        self.say(f"503, then 200, both delivery {last['delivery_id']}")
        self.prove("a receiver answered 503 first: the retry came under the same delivery id")

    def survive_kill(self) -> None:
        """What was answered 202 arrives although the daemon was killed before it could be delivered."""
        self.step(f"Post {WAITING} events to a slow receiver, and kill -9 the daemon while they wait")
        crm = self.receivers["crm-new-chat"]
        crm.stop()
        crm.start("--delay", f"{SLOW_S}s")
        event = json.loads((ROOT / "examples/events/conversation.started.json").read_text(encoding="utf-8"))
        chats = {f"cnv-kill-{number:02}" for number in range(WAITING)}
        events = [event | {"conversation": event["conversation"] | {"id": chat}} for chat in sorted(chats)]
        self.reconcile("emit", "-", given=json.dumps(events))
        waiting = self.waiting()
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()
        expect(waiting == WAITING, f"all {WAITING} deliveries waited when the daemon was killed, not {waiting}")
        self.say(f"killed: {waiting} deliveries acknowledged, none of them delivered")
        crm.stop()
        crm.requests, earlier = [], crm.requests
        crm.start()
        self.serve()
        wait_for("every delivery", lambda: chats <= {body_of(request)["chat"] for request in crm.requests}, 30)
        self.say(f"restarted: all {WAITING} delivered")
        crm.requests = [r for r in earlier if body_of(r)["chat"] not in chats] + crm.requests
        self.prove(f"kill -9 while {WAITING} deliveries waited: all {WAITING} arrived after the restart")

    def waiting(self) -> int:
        """How many deliveries are neither delivered nor given up."""
        pages = [
            json.loads(self.reconcile("deliveries", "--status", status, "--limit", "100", "--json"))["items"]
            for status in ("pending", "sending")
        ]
        return sum(map(len, pages))

    def verify(self) -> None:
        """Every request verifies, by the receiver and by two independent implementations; the log agrees."""
        self.step("Verify every request that arrived, and the log")
        for hook, receiver in self.receivers.items():
            for request in receiver.requests:
                verify(request, receiver.secret)
            deliveries = {request["delivery_id"] for request in receiver.requests}
            events = {request["event"] for request in receiver.requests}
            self.table.add_row(
                hook, ", ".join(sorted(events)), str(len(deliveries)), str(len(receiver.requests)), "all verified"
            )
        wait_for("the last outcome", lambda: self.waiting() == 0)
        log = json.loads(self.reconcile("deliveries", "--limit", "100", "--json"))["items"]
        expect(log and all(item["status"] == "delivered" for item in log), "the log says delivered for all")
        self.prove(f"the log has {len(log)} deliveries, all delivered")

    def stop_daemon(self) -> None:
        """The daemon stops by itself when it is asked to."""
        self.step("Stop")
        assert self.daemon is not None
        self.daemon.send_signal(signal.SIGTERM)
        code = self.daemon.wait(WAIT_S)
        expect(code == 0, f"the daemon drains and ends with 0, not {code}")
        self.say("the daemon drained and ended with 0")

    def clean_up(self) -> None:
        """Nothing that was started stays."""
        self.held.close()
        for receiver in self.receivers.values():
            receiver.stop()
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()

    def report(self) -> None:
        """What was delivered and verified, and what else was shown."""
        self.console.print("\n[bold]Delivered and verified[/]")
        self.console.print(self.table)
        for proof in self.proofs:
            self.console.print(f"[green]✓[/] {proof}", highlight=False)


def verify(request: dict[str, Any], secret: str) -> None:
    """Check a request as a receiver would: what `listen` says, and again with nothing of this project's."""
    expect(request["verified"], "the receiver has verified the request")
    headers = {name.lower(): value for name, value in request["headers"].items()}
    body = request["body"].encode()
    expected = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    expect(hmac.compare_digest(expected, headers["x-chatthing-signature"]), "the HMAC of the body holds")
    Webhook(secret).verify(body, headers)
    content = json.loads(body)
    in_body = content.get("deliveryId") or content.get("delivery")  # what the example's own bodies call it
    expect(headers["x-chatthing-delivery-id"] == in_body == headers["webhook-id"], "one delivery id everywhere")


def body_of(request: dict[str, Any]) -> Any:
    """A request's body, which is JSON."""
    return json.loads(request["body"])


def expect(holds: object, what: str) -> None:
    """Stop the demo where a promise is not kept."""
    if not holds:
        raise DemoFailed(f"this did not hold: {what}")


def wait_for(what: str, condition: Callable[[], bool], limit_s: float = WAIT_S) -> None:
    """Ask `condition` until it holds."""
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} did not come within {limit_s} s")
        time.sleep(0.05)


def http(method: str, url: str, body: bytes | None = None) -> tuple[int, Any]:
    """Status and JSON of one request; status 0 if nobody answers."""
    try:
        with DIRECT.open(urllib.request.Request(url, data=body, method=method), timeout=5) as answer:
            content = answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, json.loads(content) if is_json else content
    except urllib.error.HTTPError as error:
        return error.code, None
    except OSError:
        return 0, None


def hold_port() -> tuple[socket.socket, int]:
    """A port, and what keeps it: the daemon may listen on it, and nobody else is given it by chance."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    if sys.platform != "linux":  # elsewhere one socket keeps all others off
        held.close()
    return held, port


def heads(plan: str) -> str:
    """A plan without the fields of its changes."""
    return "\n".join(line for line in plan.splitlines() if line and not line.startswith(" "))


def last_line(text: str) -> str:
    """The last line that says something."""
    return text.rstrip().rpartition("\n")[2]


def main() -> int:
    """Run all steps."""
    console = Console(width=None if sys.stdout.isatty() else 110)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reconciler-demo-") as folder:
        demo = Demo(Path(folder), console)
        try:
            demo.plan_and_apply()
            demo.start_everything()
            demo.trigger_syncs()
            demo.post_events()
            demo.survive_kill()
            demo.verify()
            demo.stop_daemon()
        except DemoFailed as failure:
            console.print(f"\nThe demo failed: {failure}", style="bold red", markup=False)
            return 1
        finally:
            demo.clean_up()
    demo.report()
    console.print(f"All of it happened, in {time.monotonic() - started:.0f} s.", style="bold green")
    return 0


if __name__ == "__main__":
    sys.exit(main())
