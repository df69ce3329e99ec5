"""`plan.render_markdown`; what whole comments look like stands in the golden files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import plan
from reconciler.model.resource import EMPTY_STATE
from reconciler.plan.compare import unexplained
from reconciler.plan.markdown_text import code, fenced, prose, row
from reconciler.plan.plan import Observation
from reconciler.plan.render_markdown import CHARACTERS_MAX, render_markdown

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.model.resource import Desired, State

    Declare = Callable[..., Desired]
    Apply = Callable[..., State]

HOOK = {"type": "conversation.started", "url": "https://a.example.com"}


def bots(**hooks: Any) -> dict[str, Any]:
    """A bot with these hooks."""
    return {"b": {"webhooks": hooks}}


def many(count: int, **more: Any) -> dict[str, Any]:
    """As many hooks, with long bodies."""
    body = "\n".join(f"a line of a rather long body, number {number}" for number in range(20))
    return {f"h{number:04}": HOOK | {"custom_payload": {"body": body}} | more for number in range(count)}


def test_the_comment_is_found_again_by_its_marker(declare: Declare) -> None:
    """Hidden in the first line, and nothing that is passed can end the comment it stands in."""
    made = plan.make(declare(bots(x=HOOK)), EMPTY_STATE)
    assert render_markdown(made).startswith("<!-- webhook-reconciler:plan -->\n")
    hidden = render_markdown(made, marker="x --> **shown**").splitlines()[0]
    assert hidden.count("-->") == 1
    assert hidden.endswith(" -->")


def test_additions_give_way_first(declare: Declare, applied: Apply) -> None:
    """A thousand of them are counted; the one deletion keeps its row and its diff."""
    state = applied(declare(bots(gone=HOOK)))
    text = render_markdown(plan.make(declare(bots(**many(1_000))), state))
    assert len(text) <= CHARACTERS_MAX
    assert "🟢 1000 to add" in text
    assert "| 🔴 delete | `b/gone` |" in text
    assert "- url: https://a.example.com" in text


def test_what_needs_attention_is_named_when_nothing_else_fits(declare: Declare, applied: Apply) -> None:
    """Two thousand deletions are still named one by one."""
    state = applied(declare(bots(**many(2_000))))
    text = render_markdown(plan.make(declare(bots()), state))
    assert len(text) <= CHARACTERS_MAX
    assert all(f"`b/h{number:04}`" in text for number in range(2_000))


def test_equal_reasons_share_a_row_where_a_row_each_does_not_fit(declare: Declare, applied: Apply) -> None:
    """Several hundred deletions keep what they break, and the guard on them keeps its counts and its flag."""
    state = applied(declare(bots(**many(900))))
    text = render_markdown(plan.make(declare(bots()), state))
    assert len(text) <= CHARACTERS_MAX
    assert "| ⛔ guard | the whole plan | 900 of 900 webhooks (100 %) would be deleted or replaced;" in text
    (told,) = [line for line in text.splitlines() if line.startswith("| 🔴 delete (900) |")]
    assert all(f"`b/h{number:04}`" in told for number in range(900))
    assert "it is disabled, and gets nothing; what waits is cancelled" in told


def test_a_guard_on_the_whole_plan_keeps_its_reason(declare: Declare, applied: Apply) -> None:
    """Where not even the names of the webhooks fit."""
    state = applied(declare(bots(**many(3_000))))
    text = render_markdown(plan.make(declare(bots(one=HOOK)), state), characters_max=20_000)
    assert "- ⛔ guard: 3000 of 3000 webhooks (100 %) would be deleted or replaced;" in text
    assert "allow it with `--allow-delete-all`" in text
    assert text.endswith("\nApply with `reconcile --allow-delete-all`\n")


def test_drift_of_others_takes_no_place_from_the_changes(declare: Declare, applied: Apply) -> None:
    """Hundreds of failing webhooks are counted; the one that the plan changes is told first, and its diff stays."""
    hooks = many(600, enabled=True)
    state = applied(declare(bots(**hooks)))
    observed = {f"id-b/{name}": Observation(failing_since="2026-03-10T12:00:00Z") for name in hooks}
    after = hooks | {"h0599": hooks["h0599"] | {"timeout": "5s"}}
    text = render_markdown(plan.make(declare(bots(**after)), state, observed=observed))
    assert "+ timeout: 5s" in text
    rows = [line for line in text.splitlines() if "every attempt has failed" in line]
    assert len(rows) == 20
    assert rows[0].startswith("| `b/h0599` |")
    assert "and 580 more webhooks (580 failing)" in text


def test_kinds_are_told_apart_where_addresses_are_equal(declare: Declare, applied: Apply) -> None:
    """A data source and a webhook of one bot may have one handle."""
    source = {"data_sources": {"x": {"sync": {"command": ["sync"]}}}, "webhooks": {"x": HOOK}}
    text = render_markdown(plan.make(declare({"b": {}}), applied(declare({"b": source}))))
    assert "| 🔴 delete data source | `b/x` |" in text
    assert "| 🔴 delete | `b/x` |" in text


@pytest.mark.parametrize("limit", [300, 1_000, 5_000, 20_000])
def test_no_limit_is_exceeded(limit: int, declare: Declare, applied: Apply) -> None:
    """Whatever must go."""
    state = applied(declare(bots(**many(300))))
    desired = declare(bots(**many(300, enabled=True), n=HOOK))
    assert len(render_markdown(plan.make(desired, state), characters_max=limit)) <= limit


def test_what_the_pull_request_does_not_explain_is_said(declare: Declare, applied: Apply) -> None:
    """A change that its base would make as well is somebody else's."""
    state = applied(declare(bots(x=HOOK, y=HOOK)))
    base = plan.make(declare(bots(x=HOOK | {"timeout": "5s"}, y=HOOK)), state)
    made = plan.make(declare(bots(x=HOOK | {"timeout": "5s"}, y=HOOK | {"timeout": "6s"})), state)
    rows = [line for line in render_markdown(unexplained(made, base)).splitlines() if line.startswith("| 🟡")]
    assert len(rows) == 1
    assert "`b/x`" in rows[0]
    assert "not explained by this diff" in rows[0]


def test_the_command_carries_the_flags_that_the_guards_ask_for(declare: Declare, applied: Apply) -> None:
    """So that it can be pasted once the reviewer has decided."""
    state = applied(declare(bots(x=HOOK | {"protected": True})))
    text = render_markdown(plan.make(declare(bots()), state), command="reconcile apply plan.json")
    assert text.endswith("Apply with `reconcile apply plan.json --allow-delete b/x`\n")


def test_one_flag_stands_for_many(declare: Declare, applied: Apply) -> None:
    """What allows everything makes the flags of single webhooks needless, those of protected ones excepted."""
    state = applied(declare(bots(**many(20), kept=HOOK | {"protected": True})))
    made = plan.make(declare(bots()), state, observed={"id-b/h0003": Observation(day_count=1)})
    assert {guard.code for guard in made.guards} == {"protected", "mass-delete", "traffic"}
    text = render_markdown(made)
    assert text.endswith("Apply with `reconcile --allow-delete b/kept --allow-delete-all`\n")


def test_a_plan_that_cannot_know_traffic_says_so_where_it_matters(declare: Declare, applied: Apply) -> None:
    """Made from an export, a deletion has no guard yet; an edit that nobody notices needs no such word."""
    state = applied(declare(bots(x=HOOK)))
    word = "knows no traffic"
    gone = plan.make(declare(bots()), state)
    calm = plan.make(declare(bots(x=HOOK | {"timeout": "5s"})), state)
    assert word in render_markdown(gone, knows_traffic=False)
    assert word not in render_markdown(gone)
    assert word not in render_markdown(calm, knows_traffic=False)


def test_no_line_of_a_body_can_pose_as_another_field(declare: Declare, applied: Apply) -> None:
    """Bodies stand last in a diff, so that whatever looks like a field below one belongs to it."""
    hostile = "{}\nurl: https://elsewhere.example.com\n"
    state = applied(declare(bots(x=HOOK | {"custom_payload": {"enabled": False, "body": "{}\n"}})))
    after = HOOK | {"timeout": "5s", "custom_payload": {"enabled": True, "body": hostile}}
    text = render_markdown(plan.make(declare(bots(x=after)), state))
    begin = text.index("@@ custom_payload.body @@")
    body = text[begin : text.index("```", begin)].splitlines()
    assert body[1:] == ["  {}", "+ url: https://elsewhere.example.com"]
    assert "+ custom_payload.enabled: true" in text[:begin]
    assert "+ timeout: 5s" in text[:begin]


FENCES = st.text(st.sampled_from("`` ~a\t"), max_size=12)
"""What may close a span or a block, far more often than chance would have it."""


@given(st.text(st.characters(codec="utf-8")) | FENCES)
def test_a_code_span_cannot_be_left(text: str) -> None:
    """The fence is longer than any run of backticks inside, and everything is on one line."""
    span = code(text)
    fence = re.match(r"`+", span)
    assert fence is not None
    inside = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall(r"`+", inside)
    assert span.isprintable()


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r")) | FENCES))
def test_a_code_block_cannot_be_left(lines: list[str]) -> None:
    """No line inside is a fence that closes it."""
    first, *inside, last = fenced(lines, "diff").split("\n")
    assert first == f"{last}diff"
    assert not any(line.strip().startswith(last) for line in inside)


@given(st.text(st.characters(codec="utf-8")))
def test_a_cell_cannot_be_left(text: str) -> None:
    """Every bar inside is escaped, and there is no line break."""
    line = row(code(text), prose(text))
    assert "\n" not in line
    assert len(re.findall(r"(?<!\\)\|", line)) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>bold</b>", "&lt;b&gt;bold&lt;/b&gt;"),
        ("**bold** [a](b)", "\\*\\*bold\\*\\* \\[a\\](b)"),
        ("see `moved_from: x`", "see `moved_from: x`"),
        ("@team", "@\u2060team"),
        ("#12", "\\#\u206012"),
        ("see GH-12", "see GH-\u206012"),
        ("www.example.com", "www\u2060.\u2060example.\u2060com"),
        ("https://x.example.com", "https:/\u2060/\u2060x.\u2060example.\u2060com"),
        ("line\nbreak", "line\\\\nbreak"),
    ],
)
def test_our_sentences_are_plain_text(text: str, shown: str) -> None:
    """No markup, no HTML, no mention, no reference, no link; only what stands in backticks is code."""
    assert prose(text) == shown
