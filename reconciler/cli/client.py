"""Talking to a running daemon: one request, one JSON answer, or an error with an exit code."""

from __future__ import annotations

import ipaddress
import os
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, ClassVar, Self
from urllib.parse import quote, urlsplit

import httpx2

from reconciler.cli.text import one_line, shorten
from reconciler.errors import (
    ConfigurationInvalid,
    DaemonUnreachable,
    EgressRefused,
    GuardRefused,
    PlanStale,
    ReconcilerError,
    StateUnreadable,
    StoreLocked,
    StoreUnavailable,
    UnknownAddress,
    Unrenderable,
    UsageError,
)
from reconciler.problem import Place, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["Client", "DaemonRefused", "hook_path"]

_TIMEOUT = httpx2.Timeout(60.0, connect=5.0)
_DETAIL_CHARACTERS = 500

_BY_CODE: Mapping[str, type[ReconcilerError]] = {
    kind.code: kind
    for kind in (
        EgressRefused,
        GuardRefused,
        PlanStale,
        StateUnreadable,
        StoreLocked,
        StoreUnavailable,
        UnknownAddress,
        Unrenderable,
        UsageError,
    )
}


class DaemonRefused(ReconcilerError):
    """The daemon answered, and the answer was no. `status` is HTTP's, `problems` the causes it listed."""

    code: ClassVar[str] = "daemon-refused"

    def __init__(self, message: str, *, status: int, problems: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = problems


class Client:
    """A daemon's API. Use as a context manager. The token never goes anywhere but into the request."""

    def __init__(self, server: str, *, store: str) -> None:
        parts = _split(server)
        self.address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}".rstrip("/")
        local = _is_loopback(parts.hostname or "")
        token = _token(store, local=local)
        self._client = httpx2.Client(
            base_url=self.address + "/",
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=_TIMEOUT,
            trust_env=not local,
        )
        self._has_token = token is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON at `path`; parameters that are None or empty are left out."""
        return self._request("GET", path, params=_given(query or {}))

    def post(self, path: str, value: Any = None, *, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON that answers `value`."""
        import orjson

        content = b"" if value is None else orjson.dumps(value)
        return self.post_bytes(path, content, query=query)

    def post_bytes(self, path: str, content: bytes, *, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON that answers JSON which is at hand as bytes."""
        headers = {"Content-Type": "application/json"} if content else {}
        return self._request("POST", path, params=_given(query or {}), content=content, headers=headers)

    def _request(self, method: str, path: str, **details: Any) -> Any:
        try:
            response = self._client.request(method, path, **details)
        except httpx2.TransportError as error:
            raise DaemonUnreachable(
                f"no daemon answers at {self.address} ({_cause(error)}); start one with `reconcile serve`,"
                " or say where it is with --server or RECONCILER_SERVER"
            ) from error
        if response.is_success:
            return self._json(response)
        raise self._refusal(response)

    def _json(self, response: httpx2.Response) -> Any:
        import orjson

        try:
            return orjson.loads(response.content)
        except orjson.JSONDecodeError:
            raise self._stranger(response) from None

    def _stranger(self, response: httpx2.Response) -> DaemonUnreachable:
        return DaemonUnreachable(
            f"what answers at {self.address} is no daemon of ours (HTTP {response.status_code}, no JSON);"
            " check --server"
        )

    def _refusal(self, response: httpx2.Response) -> ReconcilerError:
        """What an answer other than 2xx means for the exit code."""
        status = response.status_code
        if status == HTTPStatus.UNAUTHORIZED:
            what = "did not accept the token" if self._has_token else "wants a token"
            return UsageError(f"the daemon at {self.address} {what}; put the right one into RECONCILER_TOKEN")
        if status == HTTPStatus.FORBIDDEN:
            return UsageError(f"the token's scope does not reach so far at {self.address}; use an admin token")
        document = self._json(response)
        if not isinstance(document, dict) or "detail" not in document:
            return self._stranger(response)
        detail = shorten(one_line(str(document["detail"])), _DETAIL_CHARACTERS)
        problems = tuple(item for item in document.get("problems", ()) if isinstance(item, dict))
        code = document.get("code")
        if code == ConfigurationInvalid.code or (problems and "file" in problems[0]):
            return ConfigurationInvalid([_problem(item) for item in problems], detail)
        if isinstance(code, str) and code in _BY_CODE:
            return _BY_CODE[code](detail)
        return DaemonRefused(detail, status=status, problems=problems)


def hook_path(address: str) -> str:
    """The API's path of a webhook. A dash stands for the bot of one that has none."""
    parts = address.split("/") if "/" in address else ("-", address)
    return "api/v1/hooks/" + "/".join(quote(part, safe="") for part in parts)


def _split(server: str) -> Any:
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"--server {one_line(server)!r} is no address of a daemon; write http://127.0.0.1:8080")
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token(store: str, *, local: bool) -> str | None:
    """RECONCILER_TOKEN; else, for a daemon on this machine, what the daemon itself would take."""
    given = os.environ.get("RECONCILER_TOKEN", "").strip()
    if not given and local:
        given = os.environ.get("RECONCILER_ADMIN_TOKEN", "").strip() or _made_token(store)
    if given and not (given.isascii() and given.isprintable()):
        raise UsageError("RECONCILER_TOKEN holds characters that no token has; set it again")
    return given or None


def _made_token(store: str) -> str:
    """The token that an embedded daemon has made beside its database."""
    from reconciler.store.connect import companions

    beside = companions(store)
    try:
        return "" if beside is None else beside.token.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _given(query: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in query.items() if value not in (None, "", (), [])}


def _cause(error: httpx2.TransportError) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return "time-out"
    return shorten(one_line(str(error)) or type(error).__name__, 100)


def _problem(item: Mapping[str, Any]) -> Problem:
    return Problem(
        place=_place(item),
        code=str(item.get("code", "")),
        message=str(item.get("message", "")),
        severity=Severity.WARNING if item.get("severity") == "warning" else Severity.ERROR,
        suggestion=item.get("suggestion"),
        source=str(item.get("source", "")),
        length=int(item.get("length", 1)),
        also=_place(item["also"]) if isinstance(item.get("also"), dict) else None,
    )


def _place(item: Mapping[str, Any]) -> Place:
    return Place(str(item.get("file", "")), int(item.get("line", 1)), int(item.get("column", 1)))
