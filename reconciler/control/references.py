"""Resolving `${env:…}` and `${file:…}`, in strings and as whole secrets, where and when they are used."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.errors import ConfigurationInvalid
from reconciler.model.reference import Reference, split_references
from reconciler.model.resource import Kind
from reconciler.problem import Place, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from reconciler.model.resource import Desired, Key, Spec

__all__ = ["FILE_BYTES_MAX", "Resolver", "Unresolved", "check_references", "referring_texts", "unresolved_problem"]

FILE_BYTES_MAX = 64 * 1024
"""Of a file that a reference names; more is a mistake, or a device."""


class Unresolved(Exception):
    """A reference that cannot be used now; the message says which and why, and never what it holds."""


class Resolver:
    """Looks references up, each file once. Make a new one for every snapshot, so that a changed file is seen."""

    __slots__ = ("_environ", "_files")

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._files: dict[str, str] = {}

    def lookup(self, reference: Reference, base_dir: str) -> str:
        """What the reference stands for. Raises Unresolved."""
        if reference.scheme == "file":
            return self._file(reference.name, base_dir)
        value = self._environ.get(reference.name)
        if reference.default is not None:
            return value or reference.default
        if value is None:
            raise Unresolved(f"the environment variable {reference.name} is not set")
        return value

    def text(self, text: str, base_dir: str) -> str:
        """A string with its references resolved; what they bring is not looked at again. Raises Unresolved."""
        if "${" not in text:
            return text
        return "".join(
            self.lookup(piece, base_dir) if isinstance(piece, Reference) else piece
            for piece in split_references(text)
        )

    def secret(self, mapping: Mapping[str, str], base_dir: str) -> str:
        """The secret that `{env: NAME}` or `{file: path}` names. Raises Unresolved for one that cannot sign."""
        ((scheme, name),) = mapping.items()
        reference = Reference(scheme="file" if scheme == "file" else "env", name=name)
        secret = self.lookup(reference, base_dir)
        if not secret:
            raise Unresolved(f"the secret at {reference} is empty")
        if not (secret.isascii() and secret.isprintable()):
            raise Unresolved(f"the secret at {reference} holds something other than printable ASCII")
        return secret

    def _file(self, name: str, base_dir: str) -> str:
        path = str(Path(base_dir, name))
        if path not in self._files:
            self._files[path] = _read(path)
        return self._files[path]


def referring_texts(kind: Kind, spec: Spec) -> Iterator[tuple[str, str]]:
    """The strings of a spec that are resolved when it is used, by field path; secrets apart."""
    if kind is Kind.WEBHOOK and "url" in spec:
        yield "url", spec["url"]
        payload = spec["custom_payload"]
        if payload["enabled"]:
            for name, text in payload["headers"].items():
                yield f"custom_payload.headers.{name}", text
            if payload["body"] is not None:
                yield "custom_payload.body", payload["body"]
    elif kind is Kind.DATA_SOURCE and spec["sync"] is not None:
        if "command" in spec["sync"]:
            for index, text in enumerate(spec["sync"]["command"]):
                yield f"sync.command.{index}", text
        else:
            http = spec["sync"]["http"]
            yield "sync.http.url", http["url"]
            for name, text in http["headers"].items():
                yield f"sync.http.headers.{name}", text


def check_references(desired: Desired, environ: Mapping[str, str]) -> list[Problem]:
    """Every reference of a configuration that a daemon with this environment could not resolve, by place."""
    resolver = Resolver(environ)
    problems = []
    for key, declared in desired.resources.items():
        for path, attempt in _attempts(key, declared.spec):
            try:
                attempt(resolver, declared.base_dir)
            except Unresolved as error:
                problems.append(unresolved_problem(key, path, str(error), declared.locate(path)))
    return sorted(problems, key=lambda problem: problem.place)


def _attempts(key: Key, spec: Spec) -> Iterator[tuple[str, Any]]:
    for path, text in referring_texts(key.kind, spec):
        if "${" in text:
            yield path, lambda resolver, base_dir, text=text: resolver.text(text, base_dir)
    if spec.get("secret") is not None:
        yield "secret", lambda resolver, base_dir: resolver.secret(spec["secret"], base_dir)


def unresolved_problem(key: Key, path: str, reason: str, place: Place | None) -> Problem:
    """The problem of a reference that cannot be resolved, at its place or else at its address and field."""
    return Problem(
        place=place or Place(f"{key.address} {path}", 1),
        code="reference-unresolved",
        message=f"{key.address}: {path}: {reason}" if place else reason,
    )


def refuse(problems: list[Problem]) -> None:
    """Raise ConfigurationInvalid with all of them, by place, if there are any."""
    if problems:
        raise ConfigurationInvalid(sorted(problems, key=lambda problem: problem.place))


def _read(path: str) -> str:
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for ever for somebody to write.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unresolved(f"{path} is not a regular file")
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise Unresolved(f"the file {path} cannot be read: {reason or 'not a path'}") from None
    if len(content) > FILE_BYTES_MAX:
        raise Unresolved(f"the file {path} is larger than {FILE_BYTES_MAX // 1024} KiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Unresolved(f"the file {path} is not UTF-8") from None
    if text.endswith("\r\n"):
        return text[:-2]
    return text.removesuffix("\n")
