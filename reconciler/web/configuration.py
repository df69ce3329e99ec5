"""Configuration over HTTP: plan, apply, reload, status."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from reconciler.config.report import as_objects
from reconciler.plan.render_json import plan_value, to_json
from reconciler.plan.render_text import render_text
from reconciler.web.answers import Answer, json_answer, problem_answer
from reconciler.web.endpoint import refused_parameter
from reconciler.web.services import Files

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.web.endpoint import Call
    from reconciler.web.services import Services

__all__ = ["FILES_BYTES_MAX", "Configuration"]

FILES_BYTES_MAX = 64 * 1024 * 1024
"""All files of one post, as JSON: 100,000 webhooks are 25 MB of YAML."""
FILES_MAX = 10_000

_FILES = frozenset({"files", "base_dir", "commit"})
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")


class Configuration:
    """The handlers."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def plan(self, call: Call) -> Answer:
        """What the posted files would change; nothing is."""
        wanted = call.parameters({"format"}).get("format", "json")
        if wanted not in ("json", "text"):
            raise refused_parameter("?format", "json or text")
        files = _posted_file(call) or _posted_files(call.document(_FILES))
        plan = await self._services.plan(files)
        if wanted == "text":
            return Answer(HTTPStatus.OK, render_text(plan).encode(), content_type=b"text/plain; charset=utf-8")
        return Answer(HTTPStatus.OK, to_json(plan))

    async def apply(self, call: Call) -> Answer:
        """Apply the posted files, wholly or not at all, and serve them."""
        call.parameters(())
        asked = call.document(_FILES | {"allow_delete", "allow_delete_all"})
        allow, allow_all = asked.pop("allow_delete", []), asked.pop("allow_delete_all", False)
        if not isinstance(allow, list) or not all(isinstance(address, str) for address in allow):
            raise refused_parameter("/allow_delete", "a list of addresses")
        if not isinstance(allow_all, bool):
            raise refused_parameter("/allow_delete_all", "true or false")
        plan, serial = await self._services.apply(
            _posted_files(asked), allow_delete=frozenset(allow), allow_delete_all=allow_all
        )
        return json_answer({"serial": serial, "plan": plan_value(plan)})

    async def reload(self, call: Call) -> Answer:
        """Look at store and followed files now; answers when they are in force, or refused."""
        call.parameters(())
        reloaded = await self._services.reload()
        known: dict[str, Any] = {
            "outcome": reloaded.outcome,
            "generation": reloaded.generation,
            "serial": reloaded.serial,
        }
        if not reloaded.is_good:
            detail = reloaded.message or "the configuration was refused; the last good one stays in force"
            problems = as_objects(reloaded.problems)
            status = HTTPStatus.UNPROCESSABLE_ENTITY
            return problem_answer(status, "reload-refused", detail, problems=problems, extra=known)
        plan = None if reloaded.plan is None else plan_value(reloaded.plan)
        return json_answer({**known, "message": reloaded.message, "waiting_for_approval": plan})

    async def status(self, call: Call) -> Answer:
        """The process at a glance."""
        call.parameters(())
        return json_answer(dict(await self._services.status()))


def _posted_file(call: Call) -> Files | None:
    """A body that is one YAML file itself, as `curl --data-binary @hooks.yaml` sends it."""
    if call.content_type.partition(";")[0].strip().lower() not in _YAML:
        return None
    return Files(texts={"hooks.yaml": call.body})


def _posted_files(asked: Mapping[str, Any]) -> Files:
    files = asked.get("files")
    if not isinstance(files, dict) or not all(isinstance(text, str) for text in files.values()):
        raise refused_parameter("/files", "an object of file names and their text")
    if len(files) > FILES_MAX:
        raise refused_parameter("/files", f"at most {FILES_MAX} files")
    base_dir, commit = asked.get("base_dir", ""), asked.get("commit")
    if not isinstance(base_dir, str) or (base_dir and not PurePath(base_dir).is_absolute()):
        raise refused_parameter("/base_dir", "an absolute path on the daemon's machine")
    if not isinstance(commit, str | None):
        raise refused_parameter("/commit", "a text")
    texts = {name: text.encode("utf-8", "surrogatepass") for name, text in files.items()}
    return Files(texts=texts, base_dir=base_dir, commit=commit)
