"""`notify`: where notices go, as one more webhook of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from reconciler import config
from reconciler.model.resource import Key, Kind
from reconciler.problem import Place

if TYPE_CHECKING:
    from conftest import ProblemsOf

    from reconciler.model.resource import Desired

NOTIFY = Key(Kind.WEBHOOK, "notify")


def load(text: str) -> Desired:
    """The configuration of this text."""
    return config.load_texts({"hooks.yaml": text.encode()}, "/etc/hooks")


def test_the_target_of_notices_is_an_enabled_webhook_of_its_own() -> None:
    """It is declared beside all others, with the defaults of a webhook and none of the file's."""
    desired = load(
        "version: 1\ndefaults: {timeout: 5s}\n"
        'notify:\n  url: "https://ops.example.com/${env:PATH}"\n  secret: {env: OPS}\nbots: {}\n'
    )

    declared = desired.resources[NOTIFY]

    assert declared.spec["type"] == "notify"
    assert declared.spec["enabled"] is True
    assert declared.spec["url"] == "https://ops.example.com/${env:PATH}"
    assert declared.spec["secret"] == {"env": "OPS"}
    assert declared.spec["timeout"] == "10s"
    assert declared.base_dir == "/etc/hooks"
    assert declared.locate("url") == Place("hooks.yaml", 4, 3)
    assert declared.locate("") == Place("hooks.yaml", 3, 1)


def test_a_bot_may_be_called_notify() -> None:
    """Its webhooks have addresses with a slash, so nothing is confused with the target of notices."""
    desired = load(
        'version: 1\nnotify: {url: "https://ops.example.com/"}\n'
        'bots: {notify: {webhooks: {notify: {type: conversation.started, url: "https://x.example.com/"}}}}\n'
    )

    assert [key.address for key in desired.resources] == ["notify", "notify", "notify/notify"]


def test_the_digest_changes_when_notices_go_elsewhere() -> None:
    """A plan that was reviewed with one target does not apply with another."""
    one, other = (
        load(f'version: 1\nnotify: {{url: "https://{host}/"}}\n').digest for host in ("a.example", "b.example")
    )

    assert one != other


@pytest.mark.parametrize(
    ("text", "code", "place"),
    [
        ("version: 1\nnotify:\n  url: https://ops.example.com/{{event}}\n", "template-not-allowed", (3, 32)),
        ("version: 1\nnotify:\n  url: ops.example.com\n", "bad-url", (3, 8)),
        ("version: 1\nnotify: {}\n", "missing-key", (2, 1)),
        ("version: 1\nnotify: {url: 'https://x.example', every: 1m}\n", "unknown-key", (2, 36)),
        (
            "version: 1\nnotify:\n  url: https://x.example/\n  secret: hunter2-hunter2\n",
            "literal-secret",
            (4, 11),
        ),
    ],
)
def test_a_mistake_in_it_is_pointed_at(problems_of: ProblemsOf, text: str, code: str, place: tuple[int, int]) -> None:
    """One problem for each mistake, at its place, and no secret in it."""
    (problem,) = problems_of(text)

    assert problem.code == code
    assert (problem.place.line, problem.place.column) == place
    assert "hunter2" not in repr(problem)


def test_two_files_may_not_both_say_where_notices_go(problems_of: ProblemsOf) -> None:
    """The second one is refused, naming the first."""
    text = "version: 1\nnotify: {url: 'https://x.example'}\n"

    (problem,) = problems_of(text, more=text)

    assert problem.code == "declared-twice"
    assert problem.place == Place("more.yaml", 2, 1)
    assert "hooks.yaml:2" in problem.message
