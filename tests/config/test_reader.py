"""The firewall: every text comes back as data or as a problem with a place, quickly and without a crash."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.config.reader import ALIASES_MAX, DEPTH_MAX, EXPANSION_MAX, FILE_BYTES_MAX, PROBLEMS_MAX, read

if TYPE_CHECKING:
    from reconciler.problem import Problem


def data_of(text: str) -> Any:
    """The data of a text that has nothing wrong with it but warnings."""
    document, problems = read("f.yaml", text.encode(), base_dir="/")
    assert not [problem for problem in problems if problem.is_error], problems
    return document.data


def problems_of(text: str | bytes) -> list[Problem]:
    """What is wrong with a text as YAML."""
    content = text.encode() if isinstance(text, str) else text
    return read("f.yaml", content, base_dir="/")[1]


def only_problem_of(text: str | bytes) -> Problem:
    """The one thing that is wrong."""
    problems = problems_of(text)
    assert len(problems) == 1, problems
    return problems[0]


ALIAS_BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{after}: &{after} [{','.join([f'*{name}'] * 10)}]\n" for name, after in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGE_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{level}: &a{level}\n"
    + "".join(f"  x{level}{copy}:\n    <<: [{', '.join([f'*a{level - 1}'] * 5)}]\n" for copy in range(5))
    for level in range(1, 13)
)

NASTY: dict[str, tuple[str | bytes, str, int, int]] = {
    "50,000 brackets": ("[" * 50_000 + "]" * 50_000, "yaml-depth", 1, DEPTH_MAX + 1),
    "50,000 open braces": ("{" * 50_000, "unquoted-template", 1, 1),
    "50,000 dashes": ("- " * 50_000, "yaml-depth", 1, 2 * DEPTH_MAX + 1),
    "50,000 question marks": ("? " * 50_000, "yaml-key", 1, 3),
    "deep flow below a key": ("a: " + "{b: " * 1_000, "yaml-depth", 1, 128),
    "alias bomb": (ALIAS_BOMB, "yaml-expansion", 6, 14),
    "merge bomb": (MERGE_BOMB, "yaml-expansion", 37, 25),
    "many aliases": (f"a: &a 1\nb: [{'*a, ' * (ALIASES_MAX + 1)}]", "yaml-aliases", 2, 5 + 4 * ALIASES_MAX),
    "alias in its own value": ("a: &a [*a]", "yaml-alias", 1, 8),
    "alias to nothing": ("a: *b", "yaml-alias", 1, 4),
    "6 MB": (b"a: " + b"x" * 6_000_000, "file-too-large", 1, 1),
    "empty": (b"", "yaml-empty", 1, 1),
    "blank": (b"\n\n  \n", "yaml-empty", 1, 1),
    "comments only": (b"# nothing\n# here\n", "yaml-empty", 1, 1),
    "binary": (bytes(range(128, 256)) * 20, "not-utf-8", 1, 1),
    "binary in ASCII": (bytes(range(32)) * 20, "control-character", 1, 1),
    "NUL": (b"a: b\nc: \0", "control-character", 2, 4),
    "escaped NUL": ('a: "b\\0"', "control-character", 1, 4),
    "UTF-16": ("version: 1\n".encode("utf-16"), "not-utf-8", 1, 1),
    "Latin-1": ("a: b\nc: caf\xe9\n".encode("latin-1"), "not-utf-8", 2, 7),
    "lone surrogate": ('a: "\\ud800"', "yaml-syntax", 1, 7),
    "tab indentation": ("a:\n\tb: 1", "yaml-tab", 2, 1),
    "tab at the start": ("\ta: 1", "yaml-tab", 1, 1),
    "tab in a block scalar": ("a: |\n\t\tx", "yaml-tab", 2, 1),
    "two documents": ("a: 1\n---\nb: 2\n", "yaml-documents", 2, 1),
    "tag": ("a: !!python/object/apply:os.system ['true']", "yaml-tag", 1, 4),
    "alias of a list as a key": ("a: &a [1]\n*a : b", "yaml-key", 2, 1),
    "alias as a key twice": ("a: &a b\nc: {*a : 1, *a : 2}", "duplicate-key", 2, 13),
    "alias to what was passed over": ("a: {{b: &c d}}\ne: *c", "unquoted-template", 1, 4),
    "key twice": ("a: 1\nb: 2\na: 3\n", "duplicate-key", 3, 1),
    "key twice below": ("a:\n  b: 1\n  'b': 2\n", "duplicate-key", 3, 3),
    "list as a key": ("? [a, b]\n: c\n", "yaml-key", 1, 3),
    "empty key": ("? \n: b", "yaml-key", 1, 2),
    "merge of a scalar": ("a: {<<: b}", "yaml-merge", 1, 9),
    "huge integer": ("a: " + "9" * 5_000, "yaml-number", 1, 4),
    "infinity": ("a: .inf", "yaml-number", 1, 4),
    "unclosed quote": ('a: 1\nb: "c\nd: e\n', "yaml-syntax", 2, 4),
    "two colons": ("a: b: c", "yaml-syntax", 1, 5),
    "a million directives": ("%TAG !a! b\n" * 400_000, "yaml-syntax", 2, 1),
    "5 MB of braces": ("{" * 5_000_000, "unquoted-template", 1, 1),
    "wrong indentation": ("a:\n    b: 1\n  c: 2\n", "yaml-syntax", 3, 3),
    "a value from @": ("a: @b", "yaml-syntax", 1, 4),
    "unquoted template": ("url: {{a.b}}", "unquoted-template", 1, 6),
    "unquoted template, more after it": ("url: {{a.b}}/c", "unquoted-template", 1, 6),
    "unquoted template in a list": ("- {{ a }}", "unquoted-template", 1, 3),
    "unquoted template in braces": ("{url: https://x/{{a}}}", "unquoted-template", 1, 17),
    "unquoted reference in braces": ("a: {b: ${env:X}}", "unquoted-reference", 1, 8),
    "unquoted reference in brackets": ("a: [x, ${env:X}]", "unquoted-reference", 1, 8),
    "unquoted reference after text": ("a: {b: Bearer ${env:X}}", "unquoted-reference", 1, 15),
}


@pytest.mark.parametrize("name", NASTY)
def test_one_problem_points_at_the_character_when_a_file_is_hostile_or_broken(name: str) -> None:
    """Each nasty text gives exactly its code, where it goes wrong."""
    text, code, line, column = NASTY[name]
    problem = only_problem_of(text)
    assert (problem.code, problem.place.line, problem.place.column) == (code, line, column)


@pytest.mark.parametrize("name", NASTY)
def test_reading_ends_soon_when_a_file_is_hostile(name: str) -> None:
    """No text takes longer than reading five honest megabytes would."""
    text = NASTY[name][0]
    started = time.perf_counter()
    problems_of(text)
    assert time.perf_counter() - started < 5


def test_both_places_are_named_when_a_key_stands_twice() -> None:
    """The second one is the problem, the first is beside it."""
    problem = only_problem_of("a: 1\nb: 2\na: 3\n")
    assert problem.also is not None
    assert (problem.place.line, problem.also.line, problem.source) == (3, 1, "a: 3")


def test_every_duplicate_is_reported_when_there_are_several() -> None:
    """One read finds them all, at every depth."""
    problems = problems_of("a: {x: 1, x: 2}\nb: 1\nb: 2\nb: 3\n")
    assert [(problem.code, problem.place.line) for problem in problems] == [
        ("duplicate-key", 1),
        ("duplicate-key", 3),
        ("duplicate-key", 4),
    ]


def test_every_unquoted_template_is_reported_when_there_are_several() -> None:
    """The parser goes on after each."""
    problems = problems_of("a: {{x}}\nb: 1\nc: {{ y.z }}\n")
    assert [(problem.code, problem.place.line) for problem in problems] == [
        ("unquoted-template", 1),
        ("unquoted-template", 3),
    ]


def test_reading_stops_when_a_file_has_too_many_problems() -> None:
    """A megabyte of duplicates is not a megabyte of report."""
    assert len(problems_of("a: 1\n" * 10_000)) == PROBLEMS_MAX


def test_a_file_of_the_largest_size_is_read_when_it_is_honest() -> None:
    """The limit itself is allowed."""
    text = "a: " + "x" * (FILE_BYTES_MAX - 3)
    assert len(data_of(text)["a"]) == FILE_BYTES_MAX - 3


def test_depth_up_to_the_limit_is_read() -> None:
    """32 levels are allowed, 33 are not."""
    assert data_of("[" * DEPTH_MAX + "]" * DEPTH_MAX)
    assert only_problem_of("[" * (DEPTH_MAX + 1) + "]" * (DEPTH_MAX + 1)).code == "yaml-depth"


def test_aliases_share_what_they_name_when_they_stay_within_the_budget() -> None:
    """Ordinary reuse costs nothing."""
    data = data_of("a: &a {x: [1, 2]}\nb: *a\nc: [*a, *a]\n")
    assert data == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": [{"x": [1, 2]}, {"x": [1, 2]}]}


def test_the_budget_is_for_all_aliases_together() -> None:
    """Many modest aliases come to the same as one bomb."""
    size = EXPANSION_MAX // 500
    text = f"a: &a [{'1, ' * size}]\nb: [{'*a, ' * 600}]\n"
    assert only_problem_of(text).code == "yaml-expansion"


def test_own_keys_win_and_earlier_sources_win_when_mappings_are_merged() -> None:
    """`<<` adds what is not there, whether it stands first or last."""
    text = "x: &x {a: 1, b: 1, c: 1}\ny: &y {b: 2, d: 2}\none: {<<: [*y, *x], a: 0}\ntwo: {a: 0, <<: *x}\n"
    data = data_of(text)
    assert data["one"] == {"a": 0, "b": 2, "d": 2, "c": 1}
    assert data["two"] == {"a": 0, "b": 1, "c": 1}


def test_a_merge_chain_is_followed_when_sources_merge_themselves() -> None:
    """What was merged before is merged on."""
    text = "a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b}\n"
    assert data_of(text)["c"] == {"l": 2, "k": 1}


def test_an_alias_may_be_a_key_when_it_stands_for_text() -> None:
    """Then it is that text."""
    assert data_of("a: &a b\n*a : 1\n") == {"a": "b", "b": 1}


def test_a_quoted_merge_key_is_a_key() -> None:
    """Only the plain `<<` merges."""
    assert data_of('a: {"<<": 1}') == {"a": {"<<": 1}}


def test_keys_are_text_whatever_they_look_like() -> None:
    """`on`, numbers and null are the text that stands there."""
    assert data_of("on: 1\n12: 2\n~: 3\ntrue: 4\n") == {"on": 1, "12": 2, "~": 3, "true": 4}


def test_a_byte_order_mark_is_passed_over_when_an_editor_writes_one() -> None:
    """Positions do not count it."""
    document, problems = read("f.yaml", b"\xef\xbb\xbfa: 1\n", base_dir="/")
    assert not problems
    assert document.data == {"a": 1}
    assert document.place(document.locate(("a",), key=True)).column == 1


@pytest.mark.parametrize("line_break", ["\n", "\r\n", "\r"])
def test_positions_hold_when_lines_end_otherwise(line_break: str) -> None:
    """Lines count from 1 and columns in characters, not bytes."""
    text = line_break.join(("é: 1", "b:", "  - {c: 'ü', d: 2}", ""))
    document, problems = read("f.yaml", text.encode(), base_dir="/")
    assert not problems
    place = document.place(document.locate(("b", 0, "d")))
    assert (place.line, place.column) == (3, 17)
    assert document.source(place) == "  - {c: 'ü', d: 2}"


def test_merged_keys_are_located_where_they_were_written() -> None:
    """A merged entry's place is its anchor's."""
    document, _ = read("f.yaml", b"a: &a\n  k: 1\nb:\n  l: 2\n  <<: *a\n", base_dir="/")
    assert document.place(document.locate(("b", "k"))).line == 2
    assert document.place(document.locate(("b", "l"))).line == 4


def test_yaml_11_readings_are_warned_of_once_for_each_place() -> None:
    """Booleans, octals, sexagesimals and dates that other tools see."""
    text = "a: yes\nb: 0755\nc: 22:22\nd: 2024-01-02\ne: 1_000\nf: 'yes'\ng: x\n"
    problems = problems_of(text)
    assert [(problem.code, problem.place.line, problem.is_error) for problem in problems] == [
        ("yaml11-scalar", line, False) for line in (1, 2, 3, 4, 5)
    ]
    assert data_of(text) == {
        "a": "yes",
        "b": 755,
        "c": "22:22",
        "d": "2024-01-02",
        "e": "1_000",
        "f": "yes",
        "g": "x",
    }


TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="\ufeff\ufffe\uffff"
    ),
    max_size=20,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(-1e9, 1e9) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(bool), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_data_comes_back_when_it_is_written_as_json(value: Any) -> None:
    """JSON is YAML 1.2: what a JSON writer writes is read as what it was."""
    assert data_of(json.dumps(value, ensure_ascii=False)) == value


@example(b"&0")
@example(b"---")
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_reading_never_raises_on_any_bytes(content: bytes) -> None:
    """Data or problems with places inside the file, whatever comes."""
    document, problems = read("f.yaml", content, base_dir="/")
    for problem in problems:
        assert problem.place.line >= 1
        assert problem.place.column >= 1
    if document.data is None and not problems:
        assert yaml.load(content.decode("utf-8-sig"), Loader=yaml.CSafeLoader) is None


@given(st.lists(st.sampled_from(list("{}[]:-,&*!|>'\"#%@`?<a1 \n\t$~")), max_size=60).map("".join))
def test_reading_agrees_with_the_safe_loader_when_both_accept(text: str) -> None:
    """What we accept PyYAML accepts, and containers come out alike."""
    document, problems = read("f.yaml", text.encode(), base_dir="/")
    if any(problem.is_error for problem in problems):
        return
    theirs = yaml.load(text, yaml.CBaseLoader)
    assert shape(document.data) == shape(theirs)


def shape(value: Any) -> Any:
    """The containers of a value, without its scalars."""
    if isinstance(value, dict):
        return (
            {str(key): shape(child) for key, child in value.items() if key != "<<"} if "<<" not in value else "merged"
        )
    return [shape(child) for child in value] if isinstance(value, list) else "scalar"
