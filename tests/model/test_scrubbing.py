"""No record keeps a secret that a receiver echoes."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.model.encoding import quote_url
from reconciler.model.scrubbing import MARK, scrub, scrub_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = 'whsec_a+b/c="d"&<é>\\ x'


@pytest.mark.parametrize(
    "echo",
    [
        SECRET,
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(SECRET).replace("/", "\\/"),
        json.dumps(html.escape(SECRET)),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").replace("%2B", "%2b").lower(),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(json.dumps(SECRET)[1:-1]),
        json.dumps(html.escape(json.dumps(SECRET)[1:-1])),
        html.escape(html.escape(SECRET)),
        quote(json.dumps(SECRET)[1:-1]),
        quote_url(SECRET),
    ],
)
def test_a_secret_is_taken_out_in_every_spelling(echo: str) -> None:
    """Plain, or escaped for JSON, a URL or HTML."""
    secret = SECRET if "%2b" not in echo else SECRET.lower()
    assert scrub(f"X-Secret-Key: {echo}.", [secret]) in {f"X-Secret-Key: {MARK}.", f'X-Secret-Key: "{MARK}".'}


def test_the_longer_of_two_overlapping_secrets_goes_first() -> None:
    """The rest of the longer one does not stay behind."""
    assert scrub("abcdefgh", ["abcd", "abcdefgh"]) == MARK


def test_a_short_text_is_taken_out_only_where_it_stands_alone() -> None:
    """A resolved `1` must not make every figure unreadable."""
    assert scrub('{"key": "ab1", "n": 1, "m": 211}', ["1", "ab1"]) == f'{{"key": "{MARK}", "n": {MARK}, "m": 211}}'


def test_the_beginning_of_a_secret_is_taken_out_where_a_body_was_cut() -> None:
    """What is kept of a body may end within a secret."""
    assert scrub_bytes(b"key=whsec_0123456", ["whsec_0123456789"]) == b"key=" + MARK.encode()
    assert scrub_bytes(b"key=whsec", ["whsec_0123456789"]) == b"key=whsec"


def test_nothing_changes_without_secrets() -> None:
    """Empty texts are no secrets."""
    assert scrub_bytes(b"\xff\x00", []) == b"\xff\x00"
    assert scrub("a", [""]) == "a"


def test_the_mark_itself_is_never_scrubbed_again() -> None:
    """One pass: a secret that is part of the mark does no harm."""
    assert scrub("topsecret and secret", ["secret", "topsecret"]) == f"{MARK} and {MARK}"


@given(st.text(), st.lists(st.text(min_size=4), min_size=1, max_size=3), st.text())
def test_no_secret_is_left_in_any_text(before: str, secrets: list[str], after: str) -> None:
    """Wherever it stands, between whatever, every secret that is not part of the mark is gone."""
    text = before + after.join(secrets) + before
    clean = scrub(text, secrets)
    assert not [secret for secret in secrets if any(secret in piece for piece in clean.split(MARK))]


SPELLINGS: list[Callable[[str], str]] = [
    str,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    html.escape,
    quote,
    lambda text: quote(text, safe=""),
    lambda text: re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), quote(text)),
    quote_plus,
    quote_url,
]
AWKWARD = st.text(st.sampled_from("aZ4F0%/\\\"'<>&+ =;#{}é\n") | st.characters(exclude_categories=["Cs"]), min_size=4)


@given(AWKWARD, st.sampled_from(SPELLINGS), st.sampled_from(SPELLINGS), st.text(max_size=3), st.text(max_size=3))
def test_a_secret_is_found_however_it_was_escaped_twice(
    secret: str, first: Callable[[str], str], second: Callable[[str], str], before: str, after: str
) -> None:
    """JSON in JSON, a URL in HTML, JSON in a form: whoever reads on finds the mark instead."""
    echo = second(first(secret))
    clean = scrub(f"{before}{echo}{after}", [secret])
    assert MARK in clean
    assert not [piece for piece in clean.split(MARK) if echo in piece]


@pytest.mark.parametrize("secret", ["0123456789abcdef", "a/b+c=d/e+f=", 'q"uo"ted'])
def test_a_cut_beginning_is_found_in_every_spelling(secret: str) -> None:
    """A body may be cut within an escaped secret, too."""
    for spelling in SPELLINGS:
        echo = spelling(secret)
        for length in range(6, len(echo)):
            assert scrub_bytes(f"key={echo[:length]}".encode(), [secret]) == f"key={MARK}".encode()
