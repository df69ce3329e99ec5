"""The bearer tokens: from the environment, or one made for the embedded default."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from reconciler.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from reconciler.mint import Mint

__all__ = ["SCOPES", "configured_tokens", "is_loopback", "made_token", "require_safe_binding"]

SCOPES = {
    "RECONCILER_ADMIN_TOKEN": "admin",
    "RECONCILER_INGEST_TOKEN": "ingest",
    "RECONCILER_READ_TOKEN": "read",
}
_TOKEN_BYTES = 24


def configured_tokens(environ: Mapping[str, str]) -> dict[str, str]:
    """Scope → token of those the environment sets. None is ever echoed."""
    tokens = {}
    for variable, scope in SCOPES.items():
        token = environ.get(variable, "").strip()
        if not token:
            continue
        if not token.isascii() or not token.isprintable():
            raise UsageError(f"{variable} must be printable ASCII; make one with `openssl rand -hex 24`")
        tokens[scope] = token
    return tokens


def made_token(path: Path, mint: Mint) -> tuple[str, bool]:
    """The admin token kept in `path` (mode 0600) and whether it was made just now."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        token = ""
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the token file {path}: {error}") from error
    if token:
        return token, False
    token = mint.bytes(_TOKEN_BYTES).hex()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    temporary.replace(path)
    return token, True


def is_loopback(host: str) -> bool:
    """Whether binding to `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_safe_binding(host: str, tokens: Mapping[str, str]) -> None:
    """Refuse to serve others with a token nobody chose."""
    if not is_loopback(host) and not tokens:
        raise UsageError(
            f"binding {host} would serve other machines: set RECONCILER_ADMIN_TOKEN first "
            "(and RECONCILER_INGEST_TOKEN for the platform that posts events), or bind 127.0.0.1"
        )
