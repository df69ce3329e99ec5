"""Templates are filled in one pass, and no value can change what stands around it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from reconciler.errors import Unrenderable
from reconciler.model.hook import BodyTemplate
from reconciler.model.template import Site, Template, Token, classify_body, render, tokens_before_path

if TYPE_CHECKING:
    from reconciler.model.reference import Reference

PAYLOAD: dict[str, Any] = {
    "deliveryId": "d-1",
    "text": 'say "hi"\r\n{{deliveryId}} ${env:HOME} é😀\\',
    "object": {"k": [1, None, "ü"]},
    "list": [{"id": "first"}, {"id": "second"}],
    "null": None,
    "yes": True,
    "no": False,
    "integer": 12,
    "fraction": 1.5,
    "large": 1e22,
    "dot.key": "unreachable",
    "0": "zero",
    "empty": "",
}
UNICORN = "😀"


def filled(text: str, site: Site, /, **values: object) -> str:
    """The template rendered from PAYLOAD with these values."""
    return render(Template.parse(text), site, PAYLOAD | values).text


def sent(text: str, content_type: str = "application/json", /, **values: object) -> str:
    """A body rendered as its content type asks."""
    body = BodyTemplate(template=Template.parse(text), content_type=content_type)
    return render(body.template, body.site, PAYLOAD | values).text


class TestParsing:
    """What is a token, and what is only text."""

    @pytest.mark.parametrize(
        ("text", "paths"),
        [
            ("{{a}}", ["a"]),
            ("{{ a.b.0 }}", ["a.b.0"]),
            ("{{a}}{{b}}", ["a", "b"]),
            ("{{{a}}}", ["a"]),
            ("{{ first name }}", ["first name"]),
            ("{{größe}}", ["größe"]),
            ("$${env:A} ${{a}}", ["a"]),
            ("{{}} {{ }} {a} {{a} {{a\nb}} {{a{b}}", []),
            ('{{a"b}} {{a\\b}}', []),
        ],
    )
    def test_tokens_are_paths_in_double_braces(self, text: str, paths: list[str]) -> None:
        """Blanks may stand around the path; quotes, backslashes and line breaks are no part of one."""
        assert [token.path for token in Template.parse(text).tokens] == paths

    def test_a_token_keeps_its_spelling(self) -> None:
        """What is sent for an unresolved token is what was written."""
        assert Template.parse("x {{ a.b }}").tokens == (Token("{{ a.b }}", "a.b"),)
        assert Template.parse("{{a.b.3}}").tokens[0].segments == ("a", "b", "3")

    def test_a_resolved_reference_is_never_read_again(self) -> None:
        """Neither as a token nor as a reference, whatever stands in it; and no repr shows it."""
        template = Template.parse("${env:A}|{{integer}}").resolve(lambda _: "{{yes}}${env:B}$${")
        assert template.references == ()
        assert render(template, Site.TEXT, PAYLOAD).text == "{{yes}}${env:B}$${|12"
        assert "yes" not in repr(template)

    def test_a_template_without_references_stays_itself(self) -> None:
        """Nothing is looked up."""
        template = Template.parse("{{a}}")

        def never(reference: Reference) -> str:
            raise AssertionError(reference)

        assert template.resolve(never) is template

    def test_an_unresolved_reference_cannot_be_rendered(self) -> None:
        """That is a mistake of the program, not of the payload."""
        with pytest.raises(ValueError, match="references"):
            render(Template.parse("${env:A}"), Site.TEXT, PAYLOAD)


class TestLookup:
    """Where a path leads."""

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("integer", "12"),
            ("list.1.id", "second"),
            ("object.k.0", "1"),
            ("0", "zero"),
            ("empty", ""),
        ],
    )
    def test_paths_walk_objects_and_arrays(self, path: str, text: str) -> None:
        """A decimal segment indexes an array, and names a key of an object."""
        assert filled(f"<{{{{{path}}}}}>", Site.TEXT) == f"<{text}>"

    @pytest.mark.parametrize(
        "path",
        [
            "missing",
            "text.length",
            "list.2",
            "list.-1",
            "list.id",
            "object.k.0.0",
            "null.a",
            "dot.key",
            "a..b",
            ".",
            "list.٣",
            "list." + "9" * 5_000,
        ],
    )
    def test_a_path_that_leads_nowhere_is_sent_literally_and_flagged(self, path: str) -> None:
        """Each spelling once, in order."""
        token = f"{{{{{path}}}}}"
        rendered = render(Template.parse(f"{token} {{{{ q }}}} {token}"), Site.TEXT, PAYLOAD)
        assert rendered == (f"{token} {{{{ q }}}} {token}", (token, "{{ q }}"))

    def test_values_are_not_scanned_for_tokens(self) -> None:
        """One pass: a customer who types a token sees a token."""
        assert filled("{{text}}", Site.TEXT, text="{{integer}}") == "{{integer}}"


class TestJson:
    """JSON bodies stay JSON."""

    def test_inside_a_string_a_value_is_escaped_text(self) -> None:
        """Quotes, line breaks, braces and emoji arrive exactly; objects as their JSON, null as nothing."""
        body = '{"a": "<{{text}}>", "b": "{{object}}{{null}}{{yes}}{{fraction}}"}'
        assert json.loads(sent(body)) == {"a": f"<{PAYLOAD['text']}>", "b": '{"k":[1,null,"ü"]}true1.5'}

    def test_outside_a_string_a_value_is_json(self) -> None:
        """Objects stay objects, numbers numbers, null null."""
        body = '{"a": {{object}}, "b": [{{text}}, {{integer}}, {{no}}], "c": {{null}}, "d": {{large}}}'
        assert json.loads(sent(body)) == {
            "a": PAYLOAD["object"],
            "b": [PAYLOAD["text"], 12, False],
            "c": None,
            "d": 1e22,
        }

    def test_a_token_as_a_key_is_written_as_text(self) -> None:
        """Only a string can be a key."""
        assert json.loads(sent("{ {{integer}} : 1, {{null}}:2, {{missing}}: 3}")) == {
            "12": 1,
            "": 2,
            "{{missing}}": 3,
        }

    def test_an_unresolved_token_is_written_as_text_wherever_it_stands(self) -> None:
        """Outside a string as a JSON string that holds the token."""
        assert json.loads(sent('{"a": {{missing}}, "b": "<{{ missing }}>"}')) == {
            "a": "{{missing}}",
            "b": "<{{ missing }}>",
        }

    def test_the_whole_template_may_be_one_token(self) -> None:
        """A body that is one object of the payload."""
        assert json.loads(sent("{{object}}")) == PAYLOAD["object"]

    @pytest.mark.parametrize(
        "body",
        [
            '{"a": "x\\{{text}}n"}',
            '{"a": "\\u00{{text}}41"}',
            '{"a": "\\ud83d{{text}}\\ude00"}',
            '{"a": "\\',
            '{"a": 1{{text}}}',
            '{"a": {{text}}{{text}}}',
            '{"a": NaN}',
            '{"a": "line\nbreak"}',
            "{'a': 1}",
            "{{#if x}}{}{{/if}}",
            "",
            "[" * 100_000 + "]" * 100_000,
        ],
    )
    def test_a_body_that_is_no_json_is_text_and_says_so(self, body: str) -> None:
        """An escape that a token would cut through counts, though the sample would parse."""
        assert classify_body(Template.parse(body), "application/json") == (Site.TEXT, True)

    @pytest.mark.parametrize(
        ("content_type", "site"),
        [
            ("application/json", Site.JSON),
            ("Application/JSON; charset=utf-8", Site.JSON),
            ("application/vnd.api+json", Site.JSON),
            ("text/json", Site.JSON),
            ("application/x-www-form-urlencoded;charset=utf-8", Site.FORM),
            ("text/plain", Site.TEXT),
            ("application/jsonlines", Site.TEXT),
            ("", Site.TEXT),
        ],
    )
    def test_the_content_type_decides_what_a_body_is(self, content_type: str, site: Site) -> None:
        """Parameters and case do not matter; `+json` is JSON."""
        assert classify_body(Template.parse('{"a": {{text}}}'), content_type) == (site, False)

    def test_references_count_as_tokens_when_a_body_is_judged(self) -> None:
        """The verdict is the same before and after they are resolved."""
        template = Template.parse('{"a": "${env:A}", "b": ${env:B}}')
        assert classify_body(template, "application/json") == (Site.JSON, False)
        assert classify_body(template.resolve(lambda _: '"'), "application/json") == (Site.JSON, False)

    def test_a_resolved_reference_cannot_break_the_body_either(self) -> None:
        """Inside a string it is escaped; outside, JSON stays JSON and anything else becomes a string."""
        values = {"A": 'a"b\\', "B": '{"x": [1]}', "C": 'no "json', "D": "7"}
        template = Template.parse('{"a": "${env:A}", "b": ${env:B}, "c": ${env:C}, "d": ${env:D}, ${env:D}: 0}')
        text = render(template.resolve(lambda reference: values[reference.name]), Site.JSON, PAYLOAD).text
        assert json.loads(text) == {"a": 'a"b\\', "b": {"x": [1]}, "c": 'no "json', "d": 7, "7": 0}


class TestOtherBodies:
    """Forms and plain text."""

    def test_in_text_scalars_are_raw_and_objects_json(self) -> None:
        """Null is nothing."""
        assert sent("{{text}}|{{object}}|{{null}}|{{yes}}|{{integer}}", "text/plain") == (
            f'{PAYLOAD["text"]}|{{"k":[1,null,"ü"]}}||true|12'
        )

    def test_in_a_form_a_value_stays_in_its_field(self) -> None:
        """Whatever it holds, the form decodes to exactly it."""
        body = sent("a={{text}}&b={{object}}&c={{ a&b }}", "application/x-www-form-urlencoded", text="1&b=2 +%é")
        assert parse_qs(body) == {"a": ["1&b=2 +%é"], "b": ['{"k":[1,null,"ü"]}'], "c": ["{{ a&b }}"]}
        assert "%20" in body

    def test_an_unresolved_token_in_a_form_stays_readable(self) -> None:
        """Braces mean nothing in a form."""
        assert sent("a={{missing}}", "application/x-www-form-urlencoded") == "a={{missing}}"

    def test_a_reference_in_a_form_is_a_value_unless_it_is_the_whole_form(self) -> None:
        """A secret with an ampersand stays in its field; a form kept in a file goes out as it is."""
        field = Template.parse("a=${env:A}&b=1").resolve(lambda _: "x&y")
        assert render(field, Site.FORM, PAYLOAD).text == "a=x%26y&b=1"
        whole = Template.parse("${env:A}").resolve(lambda _: "a=1&b=2")
        assert render(whole, Site.FORM, PAYLOAD).text == "a=1&b=2"


class TestHeader:
    """Header values stay on one line."""

    def test_control_characters_and_line_separators_become_one_blank(self) -> None:
        """However many stand together."""
        hostile = "a\r\n\tX-Evil: 1\x00\x7f\x85\u2028\u2029b"
        assert filled("<{{text}}>", Site.HEADER, text=hostile) == "<a X-Evil: 1 b>"

    def test_a_reference_cannot_break_a_header_either(self) -> None:
        """A file with two lines does not inject a header."""
        template = Template.parse("Bearer ${file:token}").resolve(lambda _: "a\nX-Evil: 1")
        assert render(template, Site.HEADER, PAYLOAD).text == "Bearer a X-Evil: 1"

    def test_blanks_around_the_whole_value_go(self) -> None:
        """They are no part of a header's value, and some clients refuse them."""
        assert filled(" {{text}} ", Site.HEADER, text="\n a ") == "a"
        assert filled(" plain ", Site.HEADER) == "plain"

    def test_scalars_only(self) -> None:
        """An object counts as unresolved, null is nothing, booleans and numbers are as in JSON."""
        rendered = render(Template.parse("{{object}} {{list}} {{null}}{{yes}} {{integer}}"), Site.HEADER, PAYLOAD)
        assert rendered == ("{{object}} {{list}} true 12", ("{{object}}", "{{list}}"))

    @pytest.mark.parametrize(
        ("value", "size"), [("a" * 5_000, 4_096), ("é" * 5_000, 4_096), (UNICORN * 2_000, 4_096)]
    )
    def test_values_are_cut_on_a_character(self, value: str, size: int) -> None:
        """At 4 KiB of UTF-8."""
        text = filled("{{text}}", Site.HEADER, text=value)
        assert value.startswith(text)
        assert len(text.encode()) == size

    def test_a_cut_never_splits_a_character(self) -> None:
        """The character that does not fit whole is left out."""
        assert filled("{{text}}", Site.HEADER, text="a" + UNICORN * 2_000) == "a" + UNICORN * 1_023


class TestUrl:
    """URLs keep scheme, host and the shape of their path."""

    def test_everything_but_unreserved_characters_is_percent_encoded(self) -> None:
        """In path and query alike, a blank as `%20`."""
        value = "a b/c?d#e&f=g%h+i;j:k@l'\"\\é~-._"
        encoded = "a%20b%2Fc%3Fd%23e%26f%3Dg%25h%2Bi%3Bj%3Ak%40l%27%22%5C%C3%A9~-._"
        assert filled("https://h/{{text}}?q={{text}}", Site.URL, text=value) == f"https://h/{encoded}?q={encoded}"

    def test_an_unresolved_token_keeps_the_url_well_formed(self) -> None:
        """The receiver that decodes it sees the token; an object counts as unresolved."""
        rendered = render(Template.parse("https://h/{{ missing }}?o={{object}}&n={{null}}"), Site.URL, PAYLOAD)
        assert rendered == (
            "https://h/%7B%7B%20missing%20%7D%7D?o=%7B%7Bobject%7D%7D&n=",
            ("{{ missing }}", "{{object}}"),
        )

    def test_what_was_typed_is_made_well_formed_and_otherwise_kept(self) -> None:
        """Good escapes and reserved characters stay; the authority is not touched."""
        assert filled("https://u:p@exämple.com:8443/ü b/%2F%zz/%{{integer}}?a=b&c=[d]#f", Site.URL) == (
            "https://u:p@exämple.com:8443/%C3%BC%20b/%2F%25zz/%2512?a=b&c=[d]#f"
        )

    @pytest.mark.parametrize(
        ("value", "size"), [("a" * 3_000, 2_048), ("é" * 3_000, 2_048), ("a" + UNICORN * 600, 2_045)]
    )
    def test_values_are_cut_on_a_character_before_they_are_encoded(self, value: str, size: int) -> None:
        """At 2 KiB of UTF-8."""
        kept = value.encode()[:size]
        expected = "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in kept)
        assert filled("https://h/?q={{text}}", Site.URL, text=value) == f"https://h/?q={expected}"

    @pytest.mark.parametrize(
        ("url", "value"),
        [
            ("https://h/{{text}}", "."),
            ("https://h/{{text}}", ".."),
            ("https://h/a/{{text}}/b", ".."),
            ("https://h/a/{{text}}?q", ".."),
            ("https://h/a/{{text}}#f", ".."),
            ("https://h/.{{text}}", ""),
            ("https://h/.{{text}}", "."),
            ("https://h/{{text}}.", "."),
            ("https://h/%2e{{text}}", "."),
            ("https://h/{{text}}%2E/x", "."),
            ("https://h/{{text}}{{text}}", "."),
            ("https://h/%2E%2e{{text}}", ""),
            ("https://h/{{text}};v=1", ".."),
            ("https://h/..{{text}}", None),
        ],
    )
    def test_a_value_that_makes_a_dot_segment_is_refused(self, url: str, value: str | None) -> None:
        """Also together with what stands around it, and in encoded spellings."""
        with pytest.raises(Unrenderable, match="segment"):
            filled(url, Site.URL, text=value)

    @pytest.mark.parametrize(
        ("url", "value", "result"),
        [
            ("https://h/{{text}}", "...", "https://h/..."),
            ("https://h/{{text}}", "a..", "https://h/a.."),
            ("https://h/{{text}}", "%2e%2e", "https://h/%252e%252e"),
            ("https://h/{{text}}", "../x", "https://h/..%2Fx"),
            ("https://h/?q={{text}}", "..", "https://h/?q=.."),
            ("https://h/a?b/{{text}}/c", "..", "https://h/a?b/../c"),
            ("https://h/#{{text}}", "..", "https://h/#.."),
            ("https://h/../{{text}}", "a", "https://h/../a"),
            ("https://h?q={{text}}", "a", "https://h?q=a"),
        ],
    )
    def test_dots_elsewhere_are_harmless(self, url: str, value: str, result: str) -> None:
        """In a longer name, in the query, or where the author wrote them."""
        assert filled(url, Site.URL, text=value) == result

    @pytest.mark.parametrize(
        ("url", "early"),
        [
            ("https://{{a}}.example.com/x", ["{{a}}"]),
            ("{{a}}://h/x", ["{{a}}"]),
            ("https://h{{a}}/x", ["{{a}}"]),
            ("https://h:{{a}}", ["{{a}}"]),
            ("https://u:{{a}}@h/{{b}}", ["{{a}}"]),
            ("{{a}}{{b}}", ["{{a}}", "{{b}}"]),
            ("https://h/{{a}}", []),
            ("https://h?{{a}}", []),
        ],
    )
    def test_no_token_may_stand_before_the_path(self, url: str, early: list[str]) -> None:
        """It is found when the configuration is read, and never rendered."""
        template = Template.parse(url)
        assert [token.source for token in tokens_before_path(template)] == early
        if early:
            with pytest.raises(Unrenderable, match="before the path"):
                render(template, Site.URL, dict.fromkeys("ab", "x"))

    def test_a_reference_may_bring_the_host_but_no_token_may_follow_it_there(self) -> None:
        """What it brings is judged when it is known."""
        template = Template.parse("${env:BASE}{{integer}}")
        assert tokens_before_path(template) == ()
        good = template.resolve(lambda _: "https://h/base/")
        assert render(good, Site.URL, PAYLOAD).text == "https://h/base/12"
        with pytest.raises(Unrenderable, match="before the path"):
            render(template.resolve(lambda _: "https://h.example."), Site.URL, PAYLOAD)

    @pytest.mark.parametrize("base", ["https://h\r\nX: 1/", "https://h h/", "https://h\x00"])
    def test_a_blank_or_control_character_before_the_path_is_refused(self, base: str) -> None:
        """A reference cannot smuggle a line into the request."""
        template = Template.parse("${env:BASE}").resolve(lambda _: base)
        with pytest.raises(Unrenderable, match="blank"):
            render(template, Site.URL, PAYLOAD)

    def test_a_reference_in_the_path_may_hold_slashes(self) -> None:
        """It is the author's text, only made well-formed."""
        template = Template.parse("https://h/services/${env:PATH_PART}").resolve(lambda _: "T0/B1/x y{{z}}")
        assert render(template, Site.URL, PAYLOAD).text == "https://h/services/T0/B1/x%20y%7B%7Bz%7D%7D"


class TestHostileValues:
    """Values that a JSON parser lets through but nobody expects."""

    @pytest.mark.parametrize("site", list(Site))
    def test_lone_surrogates_become_replacement_characters(self, site: Site) -> None:
        """The result can always be encoded."""
        url = "https://h/?q={{text}}" if site is Site.URL else '"{{text}}"'
        text = filled(url, site, text="a\ud800b\udc00")
        assert text.encode()
        assert "%EF%BF%BD" in text or "\ufffd" in text

    def test_a_value_nested_beyond_the_stack_is_refused(self) -> None:
        """Instead of taking the worker down."""
        nested: list[Any] = []
        for _ in range(100_000):
            nested = [nested]
        with pytest.raises(Unrenderable, match="nested"):
            filled("{{text}}", Site.TEXT, text=nested)

    def test_numbers_that_json_cannot_write_are_refused(self) -> None:
        """They cannot come from JSON either."""
        with pytest.raises(Unrenderable, match="number"):
            filled("{{text}}", Site.TEXT, text=float("nan"))

    def test_compiling_happens_once_for_each_site(self) -> None:
        """A delivery does not pay for it again."""
        template = Template.parse("{{a}}")
        assert template.compile(Site.TEXT) is template.compile(Site.TEXT)
        assert template.compile(Site.TEXT) is not template.compile(Site.HEADER)
