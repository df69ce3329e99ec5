"""Which names each module offers is decided on purpose."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
GOLDEN = Path(__file__).parent / "golden" / "public_names.txt"


def offered(path: Path) -> list[str] | None:
    """The module's `__all__`, None where it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            assert isinstance(node, ast.Assign)
            return list(ast.literal_eval(node.value))
    return None


def modules() -> list[tuple[str, Path]]:
    """Every module by its dotted name; a package stands for its `__init__`."""
    paths = sorted((ROOT / "reconciler").rglob("*.py"))
    named = ((".".join(path.relative_to(ROOT).with_suffix("").parts), path) for path in paths)
    return [(name.removesuffix(".__init__"), path) for name, path in named]


def test_every_listed_name_exists_when_imported() -> None:
    """Each module with code says what it offers, and has it; a package without code offers nothing."""
    for name, path in modules():
        names = offered(path)
        is_only_described = len(ast.parse(path.read_text(encoding="utf-8")).body) <= 1
        assert names is not None or is_only_described or path.name == "__main__.py", f"{name} has no __all__"
        if names:
            module = importlib.import_module(name)
            assert [missing for missing in names if not hasattr(module, missing)] == [], name


def test_public_names_are_those_agreed_on(*, rewrite: bool) -> None:
    """The names of the whole package are those in the golden file; `--rewrite` agrees on new ones."""
    text = "".join(f"{name}: {', '.join(names)}\n" for name, path in modules() if (names := offered(path)))
    if rewrite:
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert GOLDEN.read_text(encoding="utf-8").splitlines() == text.splitlines()
