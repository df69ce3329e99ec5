"""How a sync ended, read from what it said: pure decisions, shared by both ways of running one.

A sync answers with JSON: `{"results": {…}}`, or `{"success": false, "reason": "…"}`. Everything else is a failure
whose reason is made of what there is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson

from reconciler.model.event import check_results
from reconciler.model.scrubbing import scrub

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ANSWER_BYTES_MAX",
    "Deferred",
    "Failed",
    "Result",
    "Succeeded",
    "clean_reason",
    "clean_results",
    "of_command",
    "of_http",
]

ANSWER_BYTES_MAX = 16 * 1024
"""The most an HTTP answer may hold: what a reply keeps. Five figures need 200 bytes."""
REASON_CHARACTERS_MAX = 1_000
NO_REASON = "the sync failed without saying why"

_ACCEPTED = 202
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The sync did its work; `results` go out as they are."""

    results: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The sync did not do its work; `reason` goes out, once it is clean."""

    reason: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deferred:
    """The sync goes on elsewhere, and whoever runs it will post its event."""


Result: TypeAlias = Succeeded | Failed | Deferred


def of_http(status: int, body: bytes) -> Result:
    """The end of a sync that was asked for over HTTP."""
    if status == _ACCEPTED:
        return Deferred()
    is_success = status // 100 == 2  # noqa: PLR2004 - the class of success
    said = _judge(_parse(body), is_success=is_success)
    if said is not None:
        return said
    if not is_success:
        return Failed(reason=f"the sync's URL answered {status}")
    if len(body) >= ANSWER_BYTES_MAX:
        return Failed(reason=f"the sync's URL answered {status} with 16 KiB or more, too much to be its results")
    return Failed(reason=f'the sync\'s URL answered {status} without JSON that holds "results"')


def of_command(returncode: int, stdout: bytes, stderr: bytes) -> Result:
    """The end of a sync that is a program: JSON on the last line of stdout, reasons on the last one of stderr.

    A bad exit code makes stderr the better witness; a good one, the JSON.
    """
    is_success = returncode == 0
    said = _judge(_parse(_last_line(stdout)), is_success=is_success)
    complaint = _last_line(stderr).decode("utf-8", "replace")
    if said is not None and (is_success or not complaint):
        return said
    if complaint:
        return Failed(reason=complaint)
    if is_success:
        return Failed(reason='the last line of the command\'s output is not JSON that holds "results"')
    if returncode < 0:
        return Failed(reason=f"the command was ended by signal {-returncode}")
    return Failed(reason=f"the command ended with exit code {returncode}")


def clean_reason(reason: str, secrets: Sequence[str]) -> str:
    """A reason as it may be kept and sent: no secret, one line, at most 1,000 characters, never empty."""
    reason = _UNPRINTABLE.sub(" ", scrub(reason, secrets)).strip()
    if len(reason) > REASON_CHARACTERS_MAX:
        reason = reason[: REASON_CHARACTERS_MAX - 1] + "…"
    return reason or NO_REASON


def clean_results(results: Mapping[str, Any], secrets: Sequence[str]) -> Mapping[str, Any]:
    """Results as they may be kept and sent: no secret in any text of theirs; figures stay as they are."""
    cleaned: Mapping[str, Any] = _cleaned(results, secrets)
    return cleaned


def _cleaned(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, str):
        return scrub(value, secrets)
    if isinstance(value, dict):
        return {scrub(key, secrets): _cleaned(inner, secrets) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner, secrets) for inner in value]
    return value


def _judge(said: object, *, is_success: bool) -> Succeeded | Failed | None:
    """What the JSON itself says, None if it says nothing; a bad status or exit code outweighs good results."""
    if not isinstance(said, dict):
        return None
    reason = said.get("reason")
    if not is_success or said.get("success") is False:
        return Failed(reason=reason) if isinstance(reason, str) and reason else _unexplained(said, is_success)
    if "results" not in said:
        return None
    problems = check_results(said["results"])
    if problems:
        listed = "; ".join(f"{problem.pointer or 'results'}: {problem.message}" for problem in problems)
        return Failed(reason=f"the sync's results are not as documented: {listed}")
    try:
        orjson.dumps(said["results"])
    except orjson.JSONEncodeError:
        return Failed(reason="the sync's results are nested too deeply")
    return Succeeded(results=said["results"])


def _unexplained(said: Mapping[str, Any], is_success: bool) -> Failed | None:  # noqa: FBT001 - one caller, above
    return Failed(reason=NO_REASON) if is_success and said.get("success") is False else None


def _parse(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _last_line(output: bytes) -> bytes:
    return output.rstrip().rpartition(b"\n")[2].strip()
