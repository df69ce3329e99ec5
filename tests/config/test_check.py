"""What no schema can say: each mistake once, where it stands, with what was probably meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import ProblemsOf

HEAD = """\
version: 1
bots:
  support-bot:
    data_sources:
      docs: {sync: {command: [sync]}}
      wiki: {}
    webhooks:
      hook:
"""


def hook(*lines: str) -> str:
    """A file with one webhook; its own lines begin at line 9."""
    return HEAD + "".join(f"        {line}\n" for line in lines)


STARTED = "type: conversation.started"
URL = "url: https://crm.example.com/"

MISTAKES = Path(__file__).parent / "mistakes"
EXPECTATION = re.compile(r"# (\d+):(\d+) ([\w-]+)(?:: (.*))?\n\Z")


@pytest.mark.parametrize("name", sorted(path.name for path in MISTAKES.iterdir()))
def test_a_mistake_is_one_problem_at_its_place(problems_of: ProblemsOf, name: str) -> None:
    """The last line of each file says which problem it has, where, and a part of the words that help."""
    text = (MISTAKES / name).read_text(encoding="utf-8")
    expected = EXPECTATION.search(text)
    assert expected is not None
    problems = problems_of(text)
    assert [(problem.place.line, problem.place.column, problem.code) for problem in problems] == [
        (int(expected[1]), int(expected[2]), expected[3])
    ]
    assert expected[4] is None or expected[4] in f"{problems[0].message} {problems[0].suggestion}"


GOOD = {
    "an open object": hook(
        "type: conversation.escalated", "url: https://x.example/{{conversation.userData.plan.name}}"
    ),
    "the delivery's id": hook(STARTED, "url: https://x.example/{{deliveryId}}?q={{ conversation.id }}"),
    "a reference for the whole url": hook(STARTED, "url: ${env:CRM_URL}"),
    "a reference for the host": hook(
        STARTED, "url: https://${env:CRM_HOST:-crm.example.com}:8443/{{conversation.id}}"
    ),
    "an IPv6 host": hook(STARTED, 'url: "https://[2001:db8::1]:8443/x"'),
    "a literal reference": hook(STARTED, "url: https://x.example/$${not-one}").replace("$${not-one}", "a"),
    "an object in a body": hook(STARTED, URL, "custom_payload: {body: '{\"all\": {{conversation}}}'}"),
    "a text body": hook(STARTED, URL, "custom_payload: {headers: {content-type: text/plain}, body: Hello}"),
    "a name with everything in it": hook(STARTED, URL).replace("wiki: {}", 'wiki: {name: "\\"{{x}}\\n😀"}'),
    "a protocol's own header on a sync": hook(STARTED, URL).replace(
        "{command: [sync]}", "{http: {url: 'https://x.example', headers: {X-Secret-Key: a}}}"
    ),
    "nothing at all": "version: 1\n",
    "no bots": "version: 1\nbots: {}\nx-anything: [1, {a: null}]\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_nothing_is_said_when_nothing_is_wrong(problems_of: ProblemsOf, name: str) -> None:
    """What the contract allows passes without a warning."""
    assert problems_of(GOOD[name]) == []


def test_a_secret_is_never_repeated_when_it_stands_in_the_wrong_place(problems_of: ProblemsOf) -> None:
    """Neither in messages nor in the line of the file, whatever is wrong around it."""
    canary = "hunter2-canary"
    texts = [
        hook(STARTED, URL, f"secret: {canary}"),
        hook(STARTED, URL, f'secret: "{canary} x"'),
        hook(STARTED, URL, f"secret: {{env: {canary}}}"),
        hook(STARTED, URL, f"secret: {{value: {canary}}}"),
        hook(STARTED, URL, "secret:", f"  env: '{canary}'"),
        hook(STARTED, URL, "secret:", f"  value: {canary}"),
        hook(STARTED, URL, f"secret: [{canary}]"),
        hook("type: sync.trigger", "data_source: docs", f"secret: {canary}"),
        hook(STARTED, URL, f"secret: {canary}: x"),
        hook(STARTED, f"secret: {canary}", f"secret: {canary}", URL),
        hook(STARTED, URL, f"secret: {{{canary}}}"),
        hook(STARTED, URL, f'secret: {{"{canary}": }}'),
        hook(STARTED, URL, f"secret: !{canary} x"),
        hook(STARTED, URL, f"secret: *{canary}"),
        hook(STARTED, URL, f"secrte: {canary}"),
        hook(STARTED, URL, f"secret_key: {canary}"),
        hook(STARTED, URL, f"client_secret_value: {canary}"),
        hook(STARTED, f"url: https://user:{canary}@x.example/a b"),
        hook(STARTED, f"url: http://user:{canary}@x.example/a"),
    ]
    for text in texts:
        problems = problems_of(text)
        assert problems, text
        assert canary not in repr(problems), text


def test_one_source_cannot_move_to_two_places(problems_of: ProblemsOf) -> None:
    """The second claim names the first, across files and spellings."""
    second = """\
version: 1
bots:
  b:
    webhooks:
      x: {type: conversation.started, url: "https://x.example", moved_from: support-bot/old}
"""
    problems = problems_of(hook(STARTED, URL, "moved_from: old"), a=second)
    assert [(problem.code, problem.place.file, problem.also and problem.also.file) for problem in problems] == [
        ("claimed-twice", "hooks.yaml", "a.yaml")
    ]


def test_two_names_may_be_swapped(problems_of: ProblemsOf) -> None:
    """Each claims what the other was, which is no conflict."""
    hooks = "".join(
        f"      {name}: {{type: conversation.started, url: 'https://x.example', moved_from: {former}}}\n"
        for name, former in (("a", "b"), ("b", "a"))
    )
    assert problems_of(f"version: 1\nbots:\n  bot:\n    webhooks:\n{hooks}") == []
