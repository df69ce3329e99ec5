"""What may stand in a request that is written in YAML: its URL, its headers, its body, and their templates.

The functions judge texts and know no files: a Finding says which piece of the text it is about, and the caller
finds that piece in the file. Equal texts are judged once.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from reconciler.config.suggest import did_you_mean
from reconciler.model.catalog import CATALOG, OPEN, lookup
from reconciler.model.reference import Reference
from reconciler.model.signature import is_reserved_header
from reconciler.model.template import Template, Text, classify_body, tokens_before_path
from reconciler.problem import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from reconciler.model.hook import EventType

__all__ = [
    "Finding",
    "content_type_of",
    "judge_body",
    "judge_header",
    "judge_header_names",
    "judge_text",
    "judge_url",
]

_PLAIN_URL = re.compile(r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?:[/?][!-\[\]-z|~]*)?")
_PLAIN_VARIABLE = r"\{\{ *[!#-\[\]-z|~]+ *\}\}"
_PLAIN_TEMPLATE = re.compile(
    rf"https://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?[/?](?:[!-\[\]-z|~]++|{_PLAIN_VARIABLE})*+"
)
_PLAIN_VARIABLES = re.compile(_PLAIN_VARIABLE)
_PLAIN_START = re.compile(r"https://[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?[/?]")
_SCHEME = re.compile(r"(?i)(https?)://")
_NOT_IN_URL = re.compile(r"[\x00-\x20\x7f\\]")
_NOT_IN_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_IN_HOST = re.compile(r"[\s<>^`{|}\"\\%]")
_DEFAULT_CONTENT_TYPE = "application/json"
_KEPT = 4096


class Finding(NamedTuple):
    """Something wrong with a text: `piece` is the part of it that the caret goes under, empty for the whole."""

    piece: str
    code: str
    message: str
    severity: Severity = Severity.ERROR
    suggestion: str | None = None


@lru_cache(maxsize=_KEPT)
def judge_url(text: str, event: EventType | None) -> tuple[Finding, ...]:
    """A target URL with the variables of `event`, or (None) a sync's or the notices', where no template may stand."""
    if _PLAIN_URL.fullmatch(text):
        return ()
    if event is not None and _PLAIN_TEMPLATE.fullmatch(text):
        tokens = ((source, source[2:-2].strip(" ")) for source in _PLAIN_VARIABLES.findall(text))
        return tuple(_token_findings(tokens, event, "a URL"))
    try:
        template = Template.parse(text)
    except ValueError as error:
        return (_bad_reference(error),)
    literal = "".join(part.text for part in template.parts if isinstance(part, Text))
    strange = _NOT_IN_URL.search(literal)
    if strange:
        what = (
            "a blank"
            if strange[0] == " "
            else "a backslash"
            if strange[0] == "\\"
            else "a line break or control character"
        )
        return (Finding(strange[0].strip(), "bad-url", f"{what} may not stand in a URL"),)
    if event is None and template.tokens:
        message = "this URL is not a template: there is no event to fill it from"
        return (Finding(template.tokens[0].source, "template-not-allowed", message),)
    early = tokens_before_path(template)
    findings = [
        Finding(
            token.source,
            "template-in-host",
            "scheme, host, port and user of a URL may not be templates: whoever fills them would choose the receiver",
        )
        for token in early
    ]
    if not early and not _PLAIN_START.match(text):
        findings += _authority_findings(template)
    if event is not None:
        findings += _token_findings(template.tokens, event, "a URL")
    return tuple(findings)


def _authority_findings(template: Template) -> Iterator[Finding]:
    """What is wrong before the path, as far as it is literal."""
    first = template.parts[0] if template.parts else None
    if isinstance(first, Reference):
        return
    start = first.text if isinstance(first, Text) else ""
    scheme = _SCHEME.match(start)
    if scheme is None:
        suggestion = None if "://" in start else "write https:// before it"
        yield Finding("", "bad-url", "a URL begins with https:// (or http://) and a host", suggestion=suggestion)
        return
    if scheme[1].lower() == "http":
        message = "plain http: secrets and payloads can be read on the way"
        yield Finding("", "plain-http", message, Severity.WARNING, "use https://")
    authority = re.split(r"[/?#]", start[scheme.end() :], maxsplit=1)[0]
    if len(scheme[0]) + len(authority) == len(start) and len(template.parts) > 1:
        return  # a reference continues the authority
    try:
        parts = urlsplit(f"{scheme[0]}{authority}")
        valid = bool(parts.hostname) and parts.port != 0 and not _NOT_IN_HOST.search(parts.hostname or "")
    except ValueError:
        valid = False
        parts = None
    if not valid:
        yield Finding("", "bad-url", "the URL has no valid host and port")
    elif parts is not None and "@" in authority:
        message = "credentials stand in this URL: a header with a reference keeps them out of the repository"
        yield Finding("", "url-credentials", message, Severity.WARNING)


def judge_header_names(names: Iterable[str], *, delivery: bool) -> Iterator[Finding]:
    """Names that are reserved, and names given twice. A sync's request carries no signatures of ours to protect."""
    seen: dict[str, str] = {}
    for name in names:
        folded = name.lower()
        if folded in seen:
            yield Finding(name, "bad-header", f"`{name}` and `{seen[folded]}` are the same header")
        seen.setdefault(folded, name)
        framing = not folded.replace("_", "-").startswith(("x-", "webhook-"))
        if is_reserved_header(name) and (delivery or framing):
            message = f"the header `{name}` is set by the sender itself and cannot be changed"
            yield Finding(name, "reserved-header", message)


@lru_cache(maxsize=_KEPT)
def judge_header(text: str, event: EventType | None) -> tuple[Finding, ...]:
    """A header's value; without an event it is no template."""
    strange = _NOT_IN_HEADER.search(text)
    if strange:
        what = "a line break" if strange[0] in "\r\n" else "a control character"
        return (Finding("", "control-character", f"{what} may not stand in a header"),)
    if event is None or "{{" not in text:
        return judge_text(text)
    try:
        tokens = Template.parse(text).tokens
    except ValueError as error:
        return (_bad_reference(error),)
    return tuple(_token_findings(tokens, event, "a header"))


@lru_cache(maxsize=_KEPT)
def judge_body(text: str, content_type: str, event: EventType) -> tuple[Finding, ...]:
    """A body, as a template for its content type."""
    try:
        template = Template.parse(text)
    except ValueError as error:
        return (_bad_reference(error),)
    findings = list(_token_findings(template.tokens, event, None))
    _, not_json = classify_body(template, content_type)
    if not_json:
        message = (
            f"the body is not JSON, and its content type is {content_type}: tokens in it are not encoded as JSON"
        )
        findings.append(
            Finding("", "body-not-json", message, Severity.WARNING, "set a Content-Type, or mend the JSON")
        )
    return tuple(findings)


def judge_text(text: str) -> tuple[Finding, ...]:
    """A text that may hold references and nothing else."""
    if "${" not in text:
        return ()
    try:
        Template.parse(text)
    except ValueError as error:
        return (_bad_reference(error),)
    return ()


def content_type_of(headers: Mapping[str, str]) -> str:
    """The content type that a custom payload's body goes out with."""
    return next((value for name, value in headers.items() if name.lower() == "content-type"), _DEFAULT_CONTENT_TYPE)


def _bad_reference(error: ValueError) -> Finding:
    return Finding("${", "bad-reference", str(error))


def _token_findings(
    tokens: Iterable[tuple[str, str]], event: EventType, scalar_place: str | None
) -> Iterator[Finding]:
    """Tokens that the event does not carry, and objects in a place for scalars. Each spelling once."""
    for source, path in dict(tokens).items():
        finding = _token_finding(source, path, event, scalar_place)
        if finding is not None:
            yield finding


@lru_cache(maxsize=_KEPT)
def _token_finding(source: str, path: str, event: EventType, scalar_place: str | None) -> Finding | None:
    variable = lookup(event, path)
    if variable is OPEN:
        return None
    if variable is None:
        message = f"{event} carries no `{path[:80]}`: it would go out as it is written"
        return Finding(source, "unknown-variable", message, Severity.WARNING, _nearest_variable(event, path))
    if scalar_place is not None and not variable.is_scalar:
        message = f"`{path}` is an object, and {scalar_place} takes text, numbers and booleans only"
        below = next((known for known in CATALOG[event].by_path if known.startswith(f"{path}.")), None)
        suggestion = below and f"pick a field of it, as {{{{{below}}}}}"
        return Finding(source, "template-not-scalar", message, suggestion=suggestion)
    return None


def _nearest_variable(event: EventType, path: str) -> str | None:
    """By the whole path, else by its last step: people write `botName` for `conversation.botName`."""
    known = CATALOG[event].by_path
    last = path.rpartition(".")[2]
    same = [candidate for candidate in known if candidate.rpartition(".")[2] == last]
    return f"did you mean `{same[0]}`?" if len(same) == 1 else did_you_mean(path, list(known))
