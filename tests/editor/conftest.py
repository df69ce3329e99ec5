"""The language server that editors run, spoken to as an editor speaks to it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "build/editor/node_modules/yaml-language-server/bin/yaml-language-server"
SCHEMA = ROOT / "schemas/hooks.schema.json"
PATIENCE_S = 30
SETTINGS = {
    "yaml": {
        "validate": True,
        "hover": True,
        "completion": True,
        "schemaStore": {"enable": False},  # it would ask the network
    }
}
CAPABILITIES = {
    "workspace": {"configuration": True},
    "textDocument": {
        "completion": {"completionItem": {"snippetSupport": True, "documentationFormat": ["markdown"]}},
        "hover": {"contentFormat": ["markdown"]},
    },
}


class Editor:
    """A running language server, and the files that are open in it."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            ["node", str(SERVER), "--stdio"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._folder = folder
        self._came: Queue[dict[str, Any] | None] = Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._asked = 0
        self._opened = 0
        self._diagnosed: dict[str, list[dict[str, Any]]] = {}
        uri = folder.as_uri()
        self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": uri,
                "capabilities": CAPABILITIES,
                "workspaceFolders": [{"uri": uri, "name": "hooks"}],
            },
        )
        self._tell("initialized", {})
        self._tell("workspace/didChangeConfiguration", {"settings": SETTINGS})

    def close(self) -> None:
        """Have it end as an editor does."""
        self._ask("shutdown", None)
        self._tell("exit", None)
        self._process.wait(PATIENCE_S)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.wait()

    def open(self, text: str) -> Page:
        """A new file beside the schema's modeline; `¦` in `text` is where the cursor stands, and no part of it."""
        before, _, after = text.partition("¦")
        content = f"# yaml-language-server: $schema={SCHEMA.as_uri()}\n{before}{after}"
        self._opened += 1
        uri = (self._folder / f"hooks-{self._opened}.yaml").as_uri()
        document = {"uri": uri, "languageId": "yaml", "version": 1, "text": content}
        self._tell("textDocument/didOpen", {"textDocument": document})
        line = 1 + before.count("\n")
        return Page(self, uri, line, len(before.rpartition("\n")[2]))

    def ask_at(self, method: str, uri: str, line: int, character: int) -> Any:
        """What a request about a place in a file is answered with."""
        position = {"line": line, "character": character}
        return self._ask(method, {"textDocument": {"uri": uri}, "position": position})

    def diagnostics(self, uri: str) -> list[dict[str, Any]]:
        """What is wrong with a file, as soon as the server has said so."""
        while uri not in self._diagnosed:
            self._handle(self._next())
        return self._diagnosed.pop(uri)

    def _ask(self, method: str, params: Any) -> Any:
        self._asked += 1
        asked = self._asked
        self._send({"id": asked, "method": method, "params": params})
        while True:
            message = self._next()
            if message.get("id") == asked and "method" not in message:
                assert "error" not in message, message
                return message["result"]
            self._handle(message)

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _handle(self, message: dict[str, Any]) -> None:
        """What the server says or asks of its own accord."""
        method, params = message.get("method"), message.get("params")
        if method == "textDocument/publishDiagnostics":
            self._diagnosed[params["uri"]] = params["diagnostics"]
        elif "id" in message:
            result: Any = None
            if method == "workspace/configuration":
                result = [SETTINGS.get(item.get("section", ""), {}) for item in params["items"]]
            self._send({"id": message["id"], "result": result})

    def _send(self, message: dict[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self._process.stdin.flush()

    def _next(self) -> dict[str, Any]:
        try:
            message = self._came.get(timeout=PATIENCE_S)
        except Empty:
            pytest.fail("the language server says nothing")
        assert message is not None, "the language server has ended"
        return message

    def _read(self) -> None:
        stream = self._process.stdout
        assert stream is not None
        while line := stream.readline():
            length = int(line.partition(b":")[2])
            while stream.readline().strip():
                pass  # other headers
            self._came.put(json.loads(stream.read(length)))
        self._came.put(None)


class Page:
    """An open file and the place of the cursor in it."""

    def __init__(self, editor: Editor, uri: str, line: int, character: int) -> None:
        self._editor = editor
        self._place = (uri, line, character)

    def hover(self) -> str:
        """What is shown when the mouse rests at the cursor."""
        found = self._editor.ask_at("textDocument/hover", *self._place)
        return "" if found is None else str(found["contents"]["value"])

    def completions(self) -> dict[str, dict[str, Any]]:
        """What is offered at the cursor, by label."""
        found = self._editor.ask_at("textDocument/completion", *self._place)
        return {item["label"]: item for item in found["items"]}

    def problems(self) -> list[tuple[int, str]]:
        """The lines that are underlined (the modeline is line 1), with what is said of them."""
        found = self._editor.diagnostics(self._place[0])
        return [(each["range"]["start"]["line"] + 1, each["message"]) for each in found]


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    """A language server of the pinned version."""
    if shutil.which("node") is None:
        reason = "what an editor shows is tested where Node.js is"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    if not SERVER.exists():
        pytest.fail("the language server is not installed: run `make editor`")
    started = Editor(tmp_path_factory.mktemp("editor"))
    try:
        yield started
        started.close()
    finally:
        started.kill()
