"""Plain templated URLs are judged by a shorter way, which must come to the same end."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.config import request
from reconciler.model.hook import EventType

PIECES = st.sampled_from(
    (
        *("/", "a", "-", "?q=", "$", "%20", "{", "}", "{{", "}}", " ", '"', "\\", "${env:A}", "$${"),
        *(
            "{{conversation.id}}",
            "{{ conversation.id }}",
            "{{nobody.knows}}",
            "{{userData}}",
            "{{}}",
            "{{ }}",
            "{{a b}}",
        ),
    )
)


@given(st.lists(PIECES, max_size=8).map("".join), st.sampled_from(list(EventType)[1:]))
def test_the_shorter_way_finds_what_the_longer_one_finds(rest: str, event: EventType) -> None:
    """Whatever stands in path and query, both ways report the same."""
    url = f"https://crm.example.com/{rest}"
    short = request.judge_url.__wrapped__(url, event)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(request, "_PLAIN_TEMPLATE", re.compile(r"(?!)"))
        assert request.judge_url.__wrapped__(url, event) == short


def test_a_long_url_is_judged_in_an_instant() -> None:
    """A pattern that tried every way to cut a URL into runs would not come to an end on this one."""
    started = time.monotonic()
    request.judge_url.__wrapped__(f"https://crm.example.com/{'a' * 2_000}{{", EventType.CONVERSATION_STARTED)
    assert time.monotonic() - started < 5
