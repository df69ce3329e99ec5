"""Every problem has a code in the table, and every code an example that has it and nothing else."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler import config
from reconciler.config.codes import CODES
from reconciler.errors import ConfigurationInvalid

PACKAGE = Path(config.__file__).parent
# The functions that make problems, and which of their arguments is the code.
AT = {"problem": 1, "_report_at": 1, "_stop": 1, "Finding": 1, "Phrase": 0, "_about": 1}


@pytest.mark.parametrize("code", sorted(code for code in CODES if not CODES[code].command))
def test_the_example_has_exactly_its_problem(code: str) -> None:
    """One mistake is one problem, of the severity that the table gives."""
    try:
        problems = config.load_texts(CODES[code].texts(), "/etc/hooks").warnings
    except ConfigurationInvalid as error:
        problems = error.problems
    assert [(problem.code, problem.severity) for problem in problems] == [(code, CODES[code].severity)]


@pytest.mark.parametrize("code", sorted(code for code in CODES if CODES[code].command))
def test_the_command_meets_exactly_its_problem(code: str, tmp_path: Path) -> None:
    """Where a text alone cannot show it: the command ends with 65 and names this problem and no other."""
    for name, content in CODES[code].texts().items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("RECONCILER_", "CRM_"))}
    program, *arguments = CODES[code].command.split()
    if arguments[0] == "serve":
        arguments += ["--port", "0"]
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 65, done.stderr
    assert re.findall(r"error\[([\w-]+)\]", done.stdout + done.stderr) == [code]


def test_every_code_that_the_program_can_give_is_in_the_table() -> None:
    """A new problem without an entry, or an entry nobody gives, fails here."""
    given: set[str] = set()
    for path in [*PACKAGE.glob("*.py"), *(PACKAGE.parent / "control").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                code = next((keyword.value for keyword in node.keywords if keyword.arg == "code"), None)
                at = AT.get(name)
                if at is not None and len(node.args) > at:
                    code = node.args[at]
                if (at is not None or name == "Problem") and isinstance(code, ast.Constant):
                    given.add(code.value)
    assert given == set(CODES)
