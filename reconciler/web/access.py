"""Who may call what: bearer tokens, compared as digests before any body is read."""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING

from reconciler.web.answers import problem_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.web.answers import Answer

__all__ = ["Access", "Scope"]

_SCHEME = b"bearer "

UNAUTHORIZED = problem_answer(
    HTTPStatus.UNAUTHORIZED,
    "unauthorized",
    "send a valid token as `Authorization: Bearer …`",
    headers=[(b"www-authenticate", b'Bearer realm="reconciler"')],
)
FORBIDDEN = problem_answer(
    HTTPStatus.FORBIDDEN,
    "forbidden",
    "this token's scope does not reach so far",
    headers=[(b"www-authenticate", b'Bearer realm="reconciler", error="insufficient_scope"')],
)


class Scope(StrEnum):
    """What a token is good for; `admin` is good for everything."""

    ADMIN = "admin"
    INGEST = "ingest"
    READ = "read"


class Access:
    """The configured tokens, as digests. One token may stand for several scopes."""

    __slots__ = ("_digests",)

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self._digests = tuple((Scope(scope), _digest(token.encode())) for scope, token in tokens.items() if token)

    def refusal(self, authorization: bytes | None, wanted: Scope) -> Answer | None:
        """None when the header's token reaches `wanted`; else the answer that says why not.

        Every digest is compared, so that the time taken tells nothing about any of them.
        """
        if authorization is None or authorization[:7].lower() != _SCHEME:
            return UNAUTHORIZED
        candidate = _digest(authorization[7:].strip())
        known = reaches = False
        for scope, digest in self._digests:
            same = hmac.compare_digest(candidate, digest)
            known |= same
            reaches |= same & (scope is wanted or scope is Scope.ADMIN)
        if reaches:
            return None
        return FORBIDDEN if known else UNAUTHORIZED


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
