"""Templates: text with `{{dot.path}}` tokens, filled from a payload in one pass.

No engine and no expressions: a token is looked up and encoded for the place where it stands, so that nothing a
payload holds can change what the surrounding JSON, header or URL means. `syntax` reads them, `encoding` writes
values, `rendering` brings the two together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reconciler.model.reference import Reference
from reconciler.model.rendering import Compiled, Rendered, Site, compile_parts, is_json, path_start
from reconciler.model.syntax import Part, Resolved, Text, Token, read_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "Compiled",
    "Part",
    "Rendered",
    "Resolved",
    "Site",
    "Template",
    "Text",
    "Token",
    "classify_body",
    "render",
    "tokens_before_path",
]

_JSON_TYPE = re.compile(r"(application|text)/json|[^/]+/[^/]+\+json")
_FORM_TYPE = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. Compiling is remembered, which changes nothing that can be seen."""

    parts: tuple[Part, ...]
    _compiled: dict[Site, Compiled] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Template:
        """Read references first, then tokens in what is literal. ValueError for a malformed reference."""
        return cls(tuple(read_parts(text)))

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All tokens in order."""
        return tuple(part for part in self.parts if isinstance(part, Token))

    @property
    def references(self) -> tuple[Reference, ...]:
        """All references in order."""
        return tuple(part for part in self.parts if isinstance(part, Reference))

    def resolve(self, lookup: Callable[[Reference], str]) -> Template:
        """This template with every reference replaced by what `lookup` says of it."""
        if not self.references:
            return self
        return Template(tuple(Resolved(lookup(part)) if isinstance(part, Reference) else part for part in self.parts))

    def compile(self, site: Site) -> Compiled:
        """This template ready for rendering at `site`. The references must have been resolved.

        Raises Unrenderable if no payload can be rendered safely: a URL with a token before its path.
        """
        compiled = self._compiled.get(site)
        if compiled is None:
            compiled = self._compiled[site] = compile_parts(self.parts, site)
        return compiled


def render(template: Template, site: Site, payload: Mapping[str, object]) -> Rendered:
    """Fill the template from the payload, encoded for `site`; Unrenderable where no safe result exists.

    Null is nothing, except outside a JSON string, where it is `null`. A token that does not resolve is written
    literally, in the encoding of its place, and listed; an object in a URL or header counts as unresolved.
    """
    return template.compile(site).render(payload)


def classify_body(template: Template, content_type: str) -> tuple[Site, bool]:
    """How a body's tokens are encoded, and whether a JSON content type was given for what is not JSON.

    References count as tokens, so that the answer is the same before and after they are resolved.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == _FORM_TYPE:
        return Site.FORM, False
    if _JSON_TYPE.fullmatch(media_type) is None:
        return Site.TEXT, False
    return (Site.JSON, False) if is_json(template.parts) else (Site.TEXT, True)


def tokens_before_path(template: Template) -> tuple[Token, ...]:
    """The tokens of a URL that stand in its scheme, userinfo, host or port, where none may.

    A reference that opens the URL is taken to bring scheme and host; what it really brings is judged when the
    resolved template is compiled.
    """
    before: list[Token] = []
    text = ""
    for part in template.parts:
        if isinstance(part, Token):
            before += [] if path_start(text) is not None else [part]
        elif isinstance(part, Reference):
            text = text or "https://reference/"
        else:
            text += part.text
    return tuple(before)
