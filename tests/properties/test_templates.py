"""Whatever a customer types, what was sent is what the template's author meant."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.errors import Unrenderable
from reconciler.model.template import Site, Template, classify_body, render

if TYPE_CHECKING:
    from collections.abc import Iterator

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
PATHS = st.sampled_from(["a", "b", "c.d", "l.0", "l.1.a", "missing", "ü"])
PAYLOADS = st.fixed_dictionaries(
    {
        "a": VALUES,
        "b": VALUES,
        "c": st.fixed_dictionaries({"d": VALUES}),
        "l": st.lists(VALUES, max_size=3),
        "ü": VALUES,
    }
)
# Pieces that make trouble: tokens, what looks like tokens, and what means something in JSON, URLs and headers.
PIECES = st.sampled_from(
    ["{{a}}", "{{ b }}", "{{c.d}}", "{{l.0}}", "{{missing}}", "{{", "}}", '"', "\\", "\\u", "\\ud83d", "u0041", "{",
     "}", "[", "]", ":", ",", "/", "..", ".", "%2e", "%", "?", "#", "&", "=", ";", "@", "\r\n", " ", "x", "é", "😀",
     "null", "1", "https://h/", "://"]
)  # fmt: skip
TEMPLATES = st.lists(PIECES | st.text(max_size=3), max_size=12).map("".join)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def parsed(text: str) -> Template | None:
    """The template, None where the text only begins like a reference."""
    try:
        return Template.parse(text)
    except ValueError:
        return None


@given(TEMPLATES, PAYLOADS, st.sampled_from([site for site in Site if site is not Site.JSON]))
def test_rendering_gives_text_or_refuses_and_never_breaks(text: str, payload: dict[str, Any], site: Site) -> None:
    """Nothing but Unrenderable, and what comes out can be encoded."""
    template = parsed(text)
    if template is None:
        return
    try:
        rendered = render(template, site, payload)
    except Unrenderable:
        return
    rendered.text.encode()
    assert set(rendered.unresolved) <= {token.source for token in template.tokens}


@given(TEMPLATES, PAYLOADS)
def test_a_rendered_json_template_is_json(text: str, payload: dict[str, Any]) -> None:
    """For every template that counts as JSON, strictly: also for parsers that refuse lone surrogates."""
    template = parsed(text)
    if template is None or classify_body(template, "application/json")[0] is not Site.JSON:
        return
    orjson.loads(render(template, Site.JSON, payload).text)


def with_tokens(value: Any) -> st.SearchStrategy[str]:
    """A JSON template in the shape of `value`: strings hold tokens between their text, numbers become tokens."""
    if isinstance(value, dict):
        members = st.tuples(*(st.tuples(with_tokens(str(key)), with_tokens(item)) for key, item in value.items()))
        return members.map(lambda pairs: "{" + ",".join(f"{key}: {item}" for key, item in pairs) + "}")
    if isinstance(value, list):
        return st.tuples(*(with_tokens(item) for item in value)).map(lambda items: "[" + ", ".join(items) + "]")
    if isinstance(value, str):
        quoted = json.dumps(value.replace("{{", "").replace("${", ""), ensure_ascii=False)[1:-1]
        return st.lists(PATHS.map(lambda path: f"{{{{{path}}}}}"), max_size=2).map(
            lambda tokens: f'"{quoted}{"".join(tokens)}"'
        )
    return PATHS.map(lambda path: f"{{{{{path}}}}}")


def leaves(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(VALUES.flatmap(with_tokens), PAYLOADS)
def test_json_templates_of_any_shape_count_as_json_and_stay_json(text: str, payload: dict[str, Any]) -> None:
    """Tokens in strings, as values and among keys."""
    template = Template.parse(text)
    assert classify_body(template, "application/json") == (Site.JSON, False)
    orjson.loads(render(template, Site.JSON, payload).text)


@given(st.text(), st.text(), st.text())
def test_a_json_string_holds_the_exact_text(value: str, before: str, after: str) -> None:
    """Quotes, line breaks, braces, emoji: what was typed is what is parsed."""
    before, after = (text.replace("{", "(").replace("}", ")").replace("$", "S") for text in (before, after))
    template = Template.parse(
        f'{{"text": {json.dumps(before)[:-1]}{{{{a}}}}{json.dumps(after)[1:]}, "raw": {{{{a}}}}}}'
    )
    body = orjson.loads(render(template, Site.JSON, {"a": value}).text)
    assert body == {"text": f"{before}{value}{after}", "raw": value}


@given(TEMPLATES, PAYLOADS)
def test_a_header_value_is_one_line(text: str, payload: dict[str, Any]) -> None:
    """No control character, no line separator, no blank at either end."""
    template = parsed(text)
    if template is None:
        return
    value = render(template, Site.HEADER, payload).text
    assert CONTROL.search(value) is None
    assert value == value.strip(" ")


@given(st.text(max_size=400), st.text(max_size=400), st.text(max_size=400))
def test_a_url_keeps_its_host_and_the_shape_of_its_path(first: str, second: str, third: str) -> None:
    """Segments and fields hold exactly the values, whatever these are; or the delivery is refused."""
    template = Template.parse("https://receiver.example:8443/hooks/{{a}}/x-{{b}}?first={{a}}&last={{c}}")
    payload = {"a": first, "b": second, "c": third}
    try:
        url = render(template, Site.URL, payload).text
    except Unrenderable:
        assert first in {".", ".."}
        return
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc, parts.fragment) == ("https", "receiver.example:8443", "")
    assert [unquote(segment) for segment in parts.path.split("/")] == ["", "hooks", first, f"x-{second}"]
    assert parse_qsl(parts.query, keep_blank_values=True) == [("first", first), ("last", third)]
    assert url.isascii()


@given(TEMPLATES, PAYLOADS)
def test_no_value_moves_a_url_to_another_host_or_up_its_path(text: str, payload: dict[str, Any]) -> None:
    """Under any template the authority is the author's, and no value makes a dot segment."""
    template = parsed("https://receiver.example/base/" + text)
    if template is None:
        return
    try:
        url = render(template, Site.URL, payload).text
        calm = render(template, Site.URL, dict.fromkeys(payload, "v")).text
    except Unrenderable:
        return
    assert url.startswith("https://receiver.example/base/")
    assert re.fullmatch(r"[!-~]*", url)

    def dot_segments(of: str) -> list[bool]:
        path = re.split("[?#]", of, maxsplit=1)[0].replace("%2e", ".").replace("%2E", ".")
        return [segment in {".", ".."} for segment in path.split("/")]

    assert dot_segments(url) == dot_segments(calm)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(), max_size=5))
def test_a_form_decodes_to_the_exact_values(values: dict[str, str]) -> None:
    """No value can add a field."""
    names = [f"f{number}" for number, _ in enumerate(values)]
    payload = dict(zip(names, values.values(), strict=True))
    template = Template.parse("&".join(f"{name}={{{{{name}}}}}" for name in names))
    body = render(template, Site.FORM, payload).text
    assert parse_qsl(body, keep_blank_values=True) == list(payload.items())


@given(st.text(st.characters()), PAYLOADS)
def test_a_resolved_reference_never_becomes_a_template(secret: str, payload: dict[str, Any]) -> None:
    """Whatever the environment holds is text."""
    template = Template.parse('{"s": "${env:S}", "t": ${env:S}}').resolve(lambda _: secret)
    rendered = render(template, Site.JSON, payload)
    assert rendered.unresolved == ()
    assert orjson.loads(rendered.text)["s"] == secret.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
