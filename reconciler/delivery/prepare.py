"""A webhook and a delivery, made into one request: rendered, then signed over the exact bytes of its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

import reconciler
from reconciler.model.event import with_delivery_id
from reconciler.model.exchange import Request
from reconciler.model.signature import delivery_headers
from reconciler.model.template import Site, render

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reconciler.model.hook import CustomPayload, OutgoingHook
    from reconciler.model.template import Template

__all__ = ["USER_AGENT", "Prepared", "prepare"]

USER_AGENT = f"webhook-reconciler/{reconciler.__version__}"

_DEFAULT_HEADERS = (("Content-Type", "application/json"), ("User-Agent", USER_AGENT), ("Accept", "*/*"))


class Prepared(NamedTuple):
    """A request ready to be sent, and the tokens in it that did not resolve, each once."""

    request: Request
    unresolved: tuple[str, ...]


def prepare(
    hook: OutgoingHook,
    *,
    payload: bytes,
    event_type: str,
    delivery_id: str,
    now_ms: int,
    wall_s: int,
    test: bool = False,
) -> Prepared:
    """The request that delivers `payload`, an event's as it is stored, to `hook` at this moment.

    `now_ms` decides which secrets are in force, `wall_s` is the timestamp that gets signed. A custom payload that is
    switched on sets method, headers and body; whichever it leaves out keeps its default, and the body goes along with
    every method. Raises Unrenderable.
    """
    body = with_delivery_id(payload, event_type, delivery_id)
    filling = _Filling(body)
    url = filling.fill(hook.url, Site.URL)
    method, headers = "POST", list(_DEFAULT_HEADERS)
    if hook.custom is not None:
        method = hook.custom.method
        headers = _custom_headers(hook.custom, filling)
        if hook.custom.body is not None:
            body = filling.fill(hook.custom.body.template, hook.custom.body.site).encode()
    headers += delivery_headers(
        event_type=event_type,
        delivery_id=delivery_id,
        body=body,
        secrets=hook.secrets,
        now_ms=now_ms,
        timestamp_s=wall_s,
        secret_header=hook.secret_header,
        standard_webhooks=hook.standard_webhooks,
        test=test,
    )
    return Prepared(Request(method, url, tuple(headers), body, hook.timeout_ms), tuple(filling.unresolved))


class _Filling:
    """Fills templates from a payload, which is parsed only if one of them has a token."""

    __slots__ = ("_body", "_values", "unresolved")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._values: dict[str, Any] | None = None
        self.unresolved: dict[str, None] = {}

    def fill(self, template: Template, site: Site) -> str:
        constant = template.compile(site).constant
        if constant is not None:
            return constant.text
        if self._values is None:
            self._values = orjson.loads(self._body)
        rendered = render(template, site, self._values)
        self.unresolved.update(dict.fromkeys(rendered.unresolved))
        return rendered.text


def _custom_headers(custom: CustomPayload, filling: _Filling) -> list[tuple[str, str]]:
    """The custom headers, after those defaults that they do not replace."""
    own = [(name, filling.fill(template, Site.HEADER)) for name, template in custom.headers]
    return [*_without(_DEFAULT_HEADERS, {name.lower() for name, _ in own}), *own]


def _without(headers: Iterable[tuple[str, str]], names: set[str]) -> Iterable[tuple[str, str]]:
    return ((name, value) for name, value in headers if name.lower() not in names)
