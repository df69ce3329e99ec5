"""Whole plans, in every format: two configurations in, exact text out. `--rewrite` writes the files anew."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from reconciler import config, plan
from reconciler.control.reconcile import apply
from reconciler.model.resource import Key, Kind
from reconciler.plan.compare import UNEXPLAINED, unexplained
from reconciler.plan.render_markdown import render_markdown
from reconciler.plan.swallowed import SWALLOWED
from reconciler.store.memory import MemoryStore

if TYPE_CHECKING:
    from reconciler.model.resource import Desired
    from reconciler.store.seal import Keyring

PLANS = Path(__file__).parent / "plans"
CASES = sorted(path.name for path in PLANS.iterdir())
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "plan.schema.json").read_text())


async def planned(case: Path, keyring: Keyring, mint: Any) -> plan.Plan:
    """The plan from `before.yaml`, applied, to `after.yaml`, with what `observed.json` has seen meanwhile.

    With a `base.yaml`, what that would do as well is marked as what the branch does not explain.
    """
    store = MemoryStore()
    before, after = (declared(case / f"{name}.yaml") for name in ("before", "after"))
    await apply(store, before, keyring=keyring, mint=mint, now_ms=0)
    state = await store.read_state()
    observed = {}
    if (case / "observed.json").exists():
        for address, seen in json.loads((case / "observed.json").read_text()).items():
            observed[str(state.resources[Key(Kind.WEBHOOK, address)].id)] = plan.Observation(**seen)
    made = plan.make(after, state, commit="3f2a91c", observed=observed)
    base = case / "base.yaml"
    return unexplained(made, plan.make(declared(base), state)) if base.exists() else made


def declared(file: Path) -> Desired:
    """What one file says, as `hooks.yaml`."""
    return config.load_texts({"hooks.yaml": file.read_bytes()}, "/config")


@pytest.mark.parametrize("name", CASES)
def test_a_plan_looks_as_recorded(name: str, *, keyring: Keyring, mint: Any, rewrite: bool) -> None:
    """Text, in a pipe and on a terminal, JSON and markdown, to the byte; the JSON keeps to the schema."""
    made = asyncio.run(planned(PLANS / name, keyring, mint))
    outputs = {
        "plan.txt": plan.render_text(made).encode(),
        "plan.80.txt": plan.render_text(made, color=True, width=80).encode(),
        "plan.json": plan.to_json(made),
        "plan.md": render_markdown(made, command="reconcile apply plan.json -f hooks.yaml").encode(),
    }
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(outputs["plan.json"]))
    for file, output in outputs.items():
        if rewrite:
            (PLANS / name / file).write_bytes(output)
        assert (PLANS / name / file).read_bytes().decode() == output.decode(), file


def test_every_kind_of_change_is_recorded() -> None:
    """No action, and no code of a guard or a warning, is without an example."""
    plans = [json.loads((PLANS / name / "plan.json").read_text()) for name in CASES]
    assert {change["action"] for made in plans for change in made["changes"]} == {each.value for each in plan.Action}
    assert {guard["code"] for made in plans for guard in made["guards"]} == {
        "protected",
        "mass-delete",
        "traffic",
        "empty-configuration",
    }
    warned = {warning["code"] for made in plans for change in made["changes"] for warning in change["warnings"]}
    assert warned == codes_of_warnings()


def codes_of_warnings() -> set[str]:
    """Every code that a warning of a plan can have, read from the source: literals but for two."""
    found = {UNEXPLAINED, SWALLOWED}
    for file in Path(plan.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "PlanWarning":
                (code,) = (each.value for each in node.keywords if each.arg == "code")
                found |= {each.value for each in ast.walk(code) if isinstance(each, ast.Constant)}
    return found
