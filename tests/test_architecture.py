"""The house stands as ARCHITECTURE.md draws it."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "reconciler"
TABLE_LINE = re.compile(r"^  ((?:\w+(?:/|\.py) ?)+) .* +floor (\d)\b|^  ((?:\w+\.py ?)+) +floor (\d)\b", re.MULTILINE)


def read_floors() -> dict[str, int]:
    """Folder or module of the package to its floor, as the table in ARCHITECTURE.md gives them."""
    table = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = ((row[1] or row[3], int(row[2] or row[4])) for row in TABLE_LINE.finditer(table))
    floors = {re.sub(r"/|\.py$", "", name): floor for names, floor in rows for name in names.split()}
    return floors | {"__init__": 0, "__main__": max(floors.values()) + 1}


def imports(source: str, module: str) -> Iterator[tuple[int, str]]:
    """Every import in `source`, inside functions and TYPE_CHECKING blocks too, as (line, absolute name)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parent = ".".join(module.split(".")[: -node.level]) if node.level else ""
            start = ".".join(filter(None, (parent, node.module)))
            names = [f"{start}.{alias.name}" for alias in node.names] if start == "reconciler" else [start]
            yield from ((node.lineno, name) for name in names)


def breaches(source: str, module: str, floors: dict[str, int]) -> list[str]:
    """What `source`, standing at `module` (`reconciler.web.app`), imports against the law."""
    home = module.split(".")[1]
    found = []
    for line, name in imports(source, module):
        top, _, rest = name.partition(".")
        part = rest.partition(".")[0] or "__init__"
        if top != "reconciler":
            wrong = home == "model" and top not in sys.stdlib_module_names
        else:
            target = floors.get(part, 0)  # what is no part of the house is a name of reconciler/__init__.py
            wrong = part != home and target >= floors[home] and (target, floors[home]) != (0, 0)
        found += [f"{module}:{line} imports {name}"] if wrong else []
    return found


def test_imports_go_down_only_everywhere() -> None:
    """No module imports a higher floor or a neighbour, and model/ nothing but the standard library."""
    floors = read_floors()
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        assert parts[1] in floors, f"{path.name} has no floor in ARCHITECTURE.md"
        found += breaches(path.read_text(encoding="utf-8"), ".".join(parts), floors)
    assert found == []


def test_a_breach_is_found_wherever_it_hides() -> None:
    """The check sees upward, sideways, relative, deferred and type-only imports, and strangers in model/."""
    floors = read_floors()
    assert floors["cli"] > floors["daemon"] > floors["web"] == floors["delivery"] == floors["sync"] > floors["model"]
    hidden = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from reconciler.delivery.sender import Sender\n"
        "def late():\n    from reconciler.cli import main\n    import reconciler.daemon.serve\n"
        "from ..sync import runner\nfrom reconciler.store.port import Store\nfrom reconciler import __version__\n"
    )
    assert [breach.split(" imports ")[1] for breach in sorted(breaches(hidden, "reconciler.web.app", floors))] == [
        "reconciler.delivery.sender",
        "reconciler.cli",
        "reconciler.daemon.serve",
        "reconciler.sync",
    ]
    assert breaches("import orjson\nimport json\n", "reconciler.model.event", floors) == [
        "reconciler.model.event:1 imports orjson"
    ]
