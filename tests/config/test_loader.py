"""Files to Desired: defaults, many files, positions, the digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from reconciler import config
from reconciler.errors import ConfigurationInvalid
from reconciler.model.resource import Key, Kind
from reconciler.problem import Place

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import ProblemsOf

    from reconciler.model.resource import Declared, Desired

SUPPORT = """\
version: 1
defaults:
  timeout: 5s
  retry: {attempts: 3, schedule: [1s, 2s]}
  custom_payload:
    headers: {X-Team: support}
bots:
  support-bot:
    id: def-456
    name: My Bot
    data_sources:
      docs:
        sync: {command: [sync, "${env:WHERE}"]}
    webhooks:
      cms:
        type: sync.trigger
        data_source: docs
      crm:
        type: conversation.started
        url: https://crm.example.com/{{conversation.id}}
        retry: {schedule: [9s]}
        custom_payload:
          headers: {X-Bot.Name: a}
          body: "{}"
        moved_from: [old-crm, sales-bot/crm]
"""

NEEDS_DOCS = """\
version: 1
bots: {b: {webhooks: {h: {type: sync.success, data_source: docs, url: "https://x.example"}}}}
"""


def load(**files: str) -> Desired:
    """The configuration of these texts."""
    return config.load_texts({f"{name}.yaml": text.encode() for name, text in files.items()}, "/etc/hooks")


def hook(desired: Desired, address: str = "support-bot/crm") -> Declared:
    """One declared webhook."""
    return desired.resources[Key(Kind.WEBHOOK, address)]


def test_resources_are_sorted_and_complete() -> None:
    """Bots, data sources and webhooks, by kind and address."""
    assert list(load(hooks=SUPPORT).resources) == [
        (Kind.BOT, "support-bot"),
        (Kind.DATA_SOURCE, "support-bot/docs"),
        (Kind.WEBHOOK, "support-bot/cms"),
        (Kind.WEBHOOK, "support-bot/crm"),
    ]


def test_defaults_are_merged_key_by_key_and_lists_are_replaced() -> None:
    """The hook's own keys win at every depth; a list is one value."""
    spec = hook(load(hooks=SUPPORT)).spec
    assert spec["timeout"] == "5s"
    assert spec["retry"] == {"attempts": 3, "schedule": ["9s"], "jitter": 0.1}
    assert spec["custom_payload"]["headers"] == {"X-Bot.Name": "a", "X-Team": "support"}


def test_triggers_take_no_defaults() -> None:
    """They are not outgoing."""
    text = SUPPORT.replace("defaults:\n", "defaults:\n  enabled: true\n")
    desired = load(hooks=text)
    assert (hook(desired).spec["enabled"], hook(desired, "support-bot/cms").spec["enabled"]) == (True, False)


def test_defaults_hold_for_their_own_file_only() -> None:
    """A file says what its hooks have."""
    other = (
        "version: 1\nbots: {support-bot: {webhooks: {x: {type: conversation.claimed, url: 'https://x.example'}}}}\n"
    )
    assert hook(load(hooks=SUPPORT, other=other), "support-bot/x").spec["timeout"] == "10s"


def test_references_stay_references() -> None:
    """Nothing is resolved on the way into a plan."""
    source = load(hooks=SUPPORT).resources[Key(Kind.DATA_SOURCE, "support-bot/docs")]
    assert source.spec["sync"]["command"] == ["sync", "${env:WHERE}"]
    assert source.base_dir == "/etc/hooks"


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("", 18, 7),
        ("type", 19, 9),
        ("url", 20, 9),
        ("retry", 21, 9),
        ("retry.schedule", 21, 17),
        ("retry.schedule.0", 21, 28),
        ("retry.attempts", 4, 11),
        ("retry.jitter", 21, 9),
        ("timeout", 3, 3),
        ("custom_payload.headers.X-Bot.Name", 23, 21),
        ("custom_payload.headers.X-Team", 6, 15),
        ("custom_payload.body", 24, 11),
        ("concurrency", 18, 7),
        ("moved_from", 25, 9),
    ],
)
def test_a_field_is_located_where_it_is_written(path: str, line: int, column: int) -> None:
    """In the hook, else in the file's defaults, else at what it would stand in, else at the hook."""
    assert hook(load(hooks=SUPPORT)).locate(path) == Place("hooks.yaml", line, column)


def test_a_bot_is_located_in_the_file_that_says_it() -> None:
    """The bot stands where it is named first, its fields where they are given."""
    first = "version: 1\nbots:\n  support-bot: {webhooks: {}}\n"
    second = "version: 1\nbots:\n  support-bot:\n    name: My Bot\n"
    bot = load(a=first, b=second).resources[Key(Kind.BOT, "support-bot")]
    assert bot.locate("") == Place("a.yaml", 3, 3)
    assert bot.locate("name") == Place("b.yaml", 4, 5)
    assert bot.spec == {"id": "support-bot", "name": "My Bot"}


def test_former_addresses_are_whole() -> None:
    """A bare handle is below its own bot, under every handle that the bot has had."""
    text = SUPPORT.replace("    id: def-456\n", "    id: def-456\n    moved_from: helper\n")
    desired = load(hooks=text)
    assert hook(desired).moved_from == ("support-bot/old-crm", "helper/old-crm", "sales-bot/crm")
    assert desired.resources[Key(Kind.BOT, "support-bot")].moved_from == ("helper",)


def test_anchors_and_merge_keys_serve_below_extension_keys() -> None:
    """`x-` keys are free, which is what they are for."""
    text = """\
version: 1
x-crm: &crm {type: conversation.started, timeout: 3s}
bots:
  support-bot:
    webhooks:
      a: {<<: *crm, url: "https://a.example"}
      b: {<<: *crm, url: "https://b.example", timeout: 4s}
"""
    desired = load(hooks=text)
    assert hook(desired, "support-bot/a").spec["timeout"] == "3s"
    assert hook(desired, "support-bot/b").spec["timeout"] == "4s"
    assert hook(desired, "support-bot/a").locate("timeout").line == 2


def test_the_digest_is_of_the_meaning_and_not_of_the_text() -> None:
    """Comments, spelling and files do not count; values do."""
    digest = load(hooks=SUPPORT).digest
    assert digest.startswith("sha256:")
    assert load(other="# the same\n" + SUPPORT.replace("5s", "5000ms")).digest == digest
    assert load(hooks=SUPPORT.replace("5s", "6s")).digest != digest
    assert load(hooks=SUPPORT.replace("[old-crm, ", "[older-crm, ")).digest != digest


@pytest.mark.parametrize(
    ("second", "places"),
    [
        ("bots: {support-bot: {id: x}}", (("b.yaml", 2), ("a.yaml", 9))),
        (
            "bots: {support-bot: {webhooks: {crm: {type: conversation.claimed, url: 'https://x'}}}}",
            (("b.yaml", 2), ("a.yaml", 18)),
        ),
        ("bots: {support-bot: {data_sources: {docs: {}}}}", (("b.yaml", 2), ("a.yaml", 12))),
    ],
)
def test_both_files_are_named_when_they_declare_the_same(problems_of: ProblemsOf, second: str, places: Any) -> None:
    """A bot's id, a webhook and a data source belong to one file each."""
    problems = [
        problem
        for problem in problems_of("version: 1\n", a=SUPPORT, b=f"version: 1\n{second}\n")
        if problem.code == "declared-twice"
    ]
    assert [((p.place.file, p.place.line), p.also and (p.also.file, p.also.line)) for p in problems] == [places]


def test_a_data_source_of_another_file_is_known(problems_of: ProblemsOf) -> None:
    """A bot is one bot, however many files tell of it."""
    sources = "version: 1\nbots: {b: {data_sources: {docs: {}}}}\n"
    assert problems_of(NEEDS_DOCS, sources=sources) == []
    assert [problem.code for problem in problems_of(NEEDS_DOCS)] == ["unknown-data-source"]


def test_nothing_is_unknown_when_the_file_that_may_hold_it_is_broken(problems_of: ProblemsOf) -> None:
    """A syntax error is one problem, not one for each hook that needs what it hides."""
    assert [problem.code for problem in problems_of(NEEDS_DOCS, sources="version: 1\nbots: {b: [\n")] == [
        "yaml-syntax"
    ]


def test_the_problems_of_all_files_are_reported_at_once(problems_of: ProblemsOf) -> None:
    """Sorted by file, line and column."""
    problems = problems_of("bots: []\n", a="version: 2\nboots: 1\n", z="a: b: c")
    assert [(problem.place.file, problem.place.line, problem.code) for problem in problems] == [
        ("a.yaml", 1, "unknown-value"),
        ("a.yaml", 2, "unknown-key"),
        ("hooks.yaml", 1, "missing-key"),
        ("hooks.yaml", 1, "wrong-type"),
        ("z.yaml", 1, "yaml-syntax"),
    ]


def test_errors_are_kept_when_warnings_are_many() -> None:
    """A thousand warnings do not hide one error."""
    hooks = "".join(
        f"      h{number}: {{type: conversation.started, url: 'http://x.example'}}\n" for number in range(3_000)
    )
    text = f"version: 1\nbots:\n  b:\n    webhooks:\n{hooks}      z: {{type: conversation.started, url: nowhere}}\n"
    with pytest.raises(ConfigurationInvalid) as caught:
        load(hooks=text)
    assert [problem.code for problem in caught.value.problems if problem.is_error] == ["bad-url"]
    assert len(caught.value.problems) <= 2_000


def test_a_report_stays_readable_when_everything_is_wrong() -> None:
    """Shapes, names or references: after so many problems more would not be read."""
    shapes = "".join(f"  b{number}: 1\n" for number in range(6_000))
    sources = "".join(f"      h{number}: {{type: sync.trigger, data_source: d{number}}}\n" for number in range(1_500))
    for text, most in ((f"bots:\n{shapes}", 100), (f"bots:\n  b:\n    webhooks:\n{sources}", 1_000)):
        with pytest.raises(ConfigurationInvalid) as caught:
            load(hooks=f"version: 1\n{text}", other="version: 1\n")
        assert len(caught.value.problems) == most


def test_files_are_loaded_from_folders_with_paths_as_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Problems name relative paths; references are looked up beside the file, absolutely."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "support.yaml").write_text(SUPPORT)
    monkeypatch.chdir(tmp_path)
    desired = config.load(["hooks"])
    assert desired.files == ("hooks/support.yaml",)
    assert hook(desired).locate("").file == "hooks/support.yaml"
    assert hook(desired).base_dir == str(tmp_path / "hooks")


def test_a_key_that_stands_twice_hides_no_other_problem(problems_of: ProblemsOf) -> None:
    """What the first of them says is judged, and what is named nowhere may stand in the second."""
    text = NEEDS_DOCS.replace("https:", "ftp:") + "bots: {b: {data_sources: {docs: {}}}}\nbost: {}\n"
    assert [problem.code for problem in problems_of(text)] == ["bad-url", "duplicate-key", "unknown-key"]
