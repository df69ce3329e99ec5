"""Finding, reading and digesting files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reconciler import config
from reconciler.config.files import read_file
from reconciler.errors import ConfigurationInvalid, UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two files that count, one below, and several that do not."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.yaml", "a.yml", "sub/c.yaml", "notes.txt", ".d.yaml", ".hidden/e.yaml", "f.yaml~"):
        (tmp_path / name).write_text("version: 1\n")
    return tmp_path


def test_a_folder_stands_for_its_yaml_files_in_order(folder: Path) -> None:
    """Both endings, all depths, no names with a dot in front."""
    found = [str(path.relative_to(folder)) for path in config.find_files([folder])]
    assert found == ["a.yml", "b.yaml", "sub/c.yaml"]


def test_a_file_is_found_once_when_several_paths_lead_to_it(folder: Path) -> None:
    """A file beside its folder, in any order."""
    one = config.find_files([folder / "b.yaml", folder])
    other = config.find_files([folder, folder / "b.yaml", folder / "b.yaml"])
    assert one == other
    assert len(one) == 3


def test_any_ending_is_read_when_the_file_itself_is_named(folder: Path) -> None:
    """Endings choose within folders only."""
    assert config.find_files([folder / "notes.txt"]) == [folder / "notes.txt"]


def test_a_mounted_config_map_is_read_once_through_its_links(tmp_path: Path) -> None:
    """Kubernetes links each file through a folder whose name begins with dots, and swaps that link."""
    for version in ("..2026_01", "..2026_02"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "hooks.yaml").write_text(f"version: 1\nx-of: {version}\n")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "hooks.yaml").symlink_to("..data/hooks.yaml")
    assert config.find_files([tmp_path]) == [tmp_path / "hooks.yaml"]
    before = config.digest_files([tmp_path])
    (tmp_path / "..new").symlink_to("..2026_02")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert config.digest_files([tmp_path]) != before


def test_the_search_ends_when_links_lead_in_a_circle(folder: Path) -> None:
    """A folder is entered once."""
    (folder / "sub" / "again").symlink_to(folder)
    assert len(config.find_files([folder])) == 3


def test_a_missing_path_is_a_problem_with_its_name(tmp_path: Path) -> None:
    """Every missing one is told, not the first."""
    with pytest.raises(ConfigurationInvalid) as caught:
        config.find_files([tmp_path / "one", tmp_path / "two"])
    assert [problem.place.file for problem in caught.value.problems] == [str(tmp_path / "one"), str(tmp_path / "two")]
    assert {problem.code for problem in caught.value.problems} == {"file-unreadable"}


def test_an_empty_folder_is_a_problem_and_not_an_empty_configuration(tmp_path: Path) -> None:
    """A wrong path must not read as "delete everything"."""
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load([tmp_path])
    assert [problem.code for problem in caught.value.problems] == ["no-files"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """Opening one for reading would block for ever."""
    os.mkfifo(tmp_path / "hooks.yaml")
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load([tmp_path])
    assert [problem.code for problem in caught.value.problems] == ["file-unreadable"]


def test_no_more_is_read_than_a_file_may_have(tmp_path: Path) -> None:
    """A sparse file of a gigabyte costs nothing."""
    with (tmp_path / "hooks.yaml").open("wb") as file:
        file.truncate(2**30)
    assert len(read_file(tmp_path / "hooks.yaml")) == 5 * 2**20 + 1
    with pytest.raises(ConfigurationInvalid) as caught:
        config.load([tmp_path])
    assert [problem.code for problem in caught.value.problems] == ["file-too-large"]


def test_the_file_comes_before_the_folder_when_no_path_is_given(tmp_path: Path) -> None:
    """`hooks.yaml`, else `hooks/`, else an error that says what to do."""
    with pytest.raises(UsageError, match="reconcile init"):
        config.default_paths(tmp_path)
    (tmp_path / "hooks").mkdir()
    assert config.default_paths(tmp_path) == [Path("hooks")]
    (tmp_path / "hooks.yaml").touch()
    assert config.default_paths(tmp_path) == [Path("hooks.yaml")]


def test_the_digest_follows_bytes_and_names_and_not_the_folder(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A second checkout of the same files has the same digest; any edit has another."""
    before = config.digest_files([folder])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "sub").mkdir()
    for name in ("b.yaml", "a.yml", "sub/c.yaml"):
        (elsewhere / name).write_bytes((folder / name).read_bytes())
    assert config.digest_files([elsewhere]) == before
    (folder / "notes.txt").write_text("no configuration")
    assert config.digest_files([folder]) == before
    (folder / "b.yaml").write_text("version: 1 \n")
    assert config.digest_files([folder]) != before


def test_the_digest_never_raises_when_files_come_and_go(folder: Path) -> None:
    """A poll that meets a missing file sees another digest, and the same one again when it is back."""
    before = config.digest_files([folder / "b.yaml"])
    (folder / "b.yaml").rename(folder / "gone")
    missing = config.digest_files([folder / "b.yaml"])
    (folder / "gone").rename(folder / "b.yaml")
    assert missing != before
    assert config.digest_files([folder / "b.yaml"]) == before
