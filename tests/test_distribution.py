"""What is installed from a wheel is whole."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """A folder with what the project's wheel holds."""
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "dist")],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def test_wheel_holds_the_schemas_and_the_marker_of_types(unpacked: Path) -> None:
    """Every schema of the checkout is in the wheel, and the package says that it is typed; nothing else is in it."""
    schemas = {path.relative_to(ROOT).as_posix() for path in (ROOT / "schemas").rglob("*.json")}
    assert schemas
    assert {name for name in schemas if not (unpacked / "reconciler" / name).is_file()} == set()
    assert (unpacked / "reconciler" / "py.typed").is_file()
    assert sorted(path.name.split("-")[0] for path in unpacked.iterdir()) == ["reconciler", "webhook_reconciler"]


def test_installed_package_finds_its_schemas_without_a_checkout(unpacked: Path, tmp_path: Path) -> None:
    """`reconcile schema` prints the schema of the wheel's own files."""
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); from reconciler.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "schema"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (ROOT / "schemas/hooks.schema.json").read_text(encoding="utf-8").strip()
