"""How a sync ended, read from what it said."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.sync.result import (
    ANSWER_BYTES_MAX,
    NO_REASON,
    REASON_CHARACTERS_MAX,
    Deferred,
    Failed,
    Succeeded,
    clean_reason,
    clean_results,
    of_command,
    of_http,
)

RESULTS = {
    "totalTokens": 241245,
    "modifiedRows": 15,
    "totalDocuments": 20,
    "unmodifiedRows": 0,
    "totalDataSourceRows": 15,
}
GOOD = json.dumps({"results": RESULTS}).encode()


def reason(result: Any) -> str:
    """The reason of a failure."""
    assert isinstance(result, Failed), result
    return result.reason


def test_results_are_a_success() -> None:
    """Over HTTP with any 2xx but 202, and on a command's last line."""
    for result in (of_http(200, GOOD), of_http(201, GOOD), of_command(0, b"log\nmore\n" + GOOD + b"\n\n", b"noise")):
        assert isinstance(result, Succeeded)
        assert result.results == RESULTS


def test_a_202_is_reported_later() -> None:
    """Whatever its body says."""
    assert isinstance(of_http(202, b""), Deferred)
    assert isinstance(of_http(202, GOOD), Deferred)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b'{"success": false, "reason": "over the limit"}', "over the limit"),
        (200, b'{"success": false, "reason": "no", "results": {}}', "no"),
        (200, b'{"success": false}', NO_REASON),
        (200, b'{"success": false, "reason": 5}', NO_REASON),
        (500, b'{"reason": "database down"}', "database down"),
        (500, GOOD, "answered 500"),
        (302, b"", "answered 302"),
        (200, b"", '"results"'),
        (200, b"[]", '"results"'),
        (200, b"OK", '"results"'),
        (200, b'{"success": true}', '"results"'),
        (200, b'{"results": null}', "results"),
        (200, b'{"results": []}', "results"),
        (200, b'{"results": {"totalTokens": "many"}}', "totalTokens"),
        (200, b"{" + b" " * ANSWER_BYTES_MAX, "16 KiB"),
    ],
)
def test_anything_else_over_http_is_a_failure(status: int, body: bytes, expected: str) -> None:
    """With its own reason where it gives one."""
    assert expected in reason(of_http(status, body))


@pytest.mark.parametrize(
    ("code", "stdout", "stderr", "expected"),
    [
        (1, b"", b"one\ntwo\nthree \n\n", "three"),
        (1, GOOD, b"disk full", "disk full"),
        (1, b'{"success": false, "reason": "said so"}', b"disk full", "disk full"),
        (1, b'{"success": false, "reason": "said so"}', b" \n", "said so"),
        (0, b'{"success": false, "reason": "said so"}', b"warning: slow", "said so"),
        (3, b"", b"", "exit code 3"),
        (-9, b"", b"", "signal 9"),
        (0, b"", b"", '"results"'),
        (0, b"done", b"warning: nothing to do", "warning: nothing to do"),
        (0, GOOD + b"\nbye", b"", '"results"'),
        (0, b'{"success": false, "reason": "quota"}', b"", "quota"),
        (0, b"\xff\xfe", b"", '"results"'),
        (1, b"", b"caf\xe9", "caf\ufffd"),
    ],
)
def test_anything_else_of_a_command_is_a_failure(code: int, stdout: bytes, stderr: bytes, expected: str) -> None:
    """With the last line of stderr, else with what there is."""
    assert expected in reason(of_command(code, stdout, stderr))


def test_results_too_deep_to_send_are_a_failure() -> None:
    """They could be read but not written into an event."""
    deep = b'{"results": ' + GOOD[12:-2] + b', "x": ' + b"[" * 500 + b"]" * 500 + b"}}"
    assert "nested too deeply" in reason(of_http(200, deep))


def test_a_reason_is_fit_to_be_sent() -> None:
    """One line, bounded, without secrets, never empty."""
    assert clean_reason("a\r\n\tb\x00c\u2028d", ()) == "a b c d"
    assert clean_reason("  \n ", ()) == NO_REASON
    assert len(clean_reason("x" * 5000, ())) == REASON_CHARACTERS_MAX
    assert "hunter22" not in clean_reason("login with hunter22 failed", ("hunter22",))
    assert clean_reason("\ud800", ()) == NO_REASON


def test_results_lose_the_secrets_in_their_texts() -> None:
    """Texts and keys at any depth; figures stay, even those that look like a short secret."""
    cleaned = clean_results({**RESULTS, "log": ["key hunter22"], "hunter22": {"a": "hunter22"}}, ("hunter22", "15"))
    assert "hunter22" not in json.dumps(cleaned)
    assert {name: cleaned[name] for name in RESULTS} == RESULTS


@given(status=st.integers(100, 599), body=st.binary(max_size=200), code=st.integers(-64, 255))
def test_every_answer_has_an_end(status: int, body: bytes, code: int) -> None:
    """Whatever a sync says, it ends, and a failure's reason can be sent."""
    for result in (of_http(status, body), of_command(code, body, body)):
        if isinstance(result, Failed):
            cleaned = clean_reason(result.reason, ())
            assert 0 < len(cleaned) <= REASON_CHARACTERS_MAX
            assert not {unicodedata.category(character) for character in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
