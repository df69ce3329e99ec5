"""Whole plans, in every format: two configurations in, exact text out. `--rewrite` writes the files anew."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from reconciler import config, plan
from reconciler.control.reconcile import apply
from reconciler.model.resource import Key, Kind
from reconciler.plan.render_markdown import render_markdown
from reconciler.store.memory import MemoryStore

if TYPE_CHECKING:
    from reconciler.store.seal import Keyring

PLANS = Path(__file__).parent / "plans"
CASES = sorted(path.name for path in PLANS.iterdir())
SCHEMA = json.loads((Path(__file__).parents[2] / "schemas" / "plan.schema.json").read_text())


async def planned(case: Path, keyring: Keyring, mint: Any) -> plan.Plan:
    """The plan from `before.yaml`, applied, to `after.yaml`, with what `observed.json` has seen meanwhile."""
    store = MemoryStore()
    before, after = (
        config.load_texts({"hooks.yaml": (case / f"{name}.yaml").read_bytes()}, "/config")
        for name in ("before", "after")
    )
    await apply(store, before, keyring=keyring, mint=mint, now_ms=0)
    state = await store.read_state()
    observed = {}
    if (case / "observed.json").exists():
        for address, seen in json.loads((case / "observed.json").read_text()).items():
            observed[str(state.resources[Key(Kind.WEBHOOK, address)].id)] = plan.Observation(**seen)
    return plan.make(after, state, commit="3f2a91c", observed=observed)


@pytest.mark.parametrize("name", CASES)
def test_a_plan_looks_as_recorded(name: str, *, keyring: Keyring, mint: Any, rewrite: bool) -> None:
    """Text, JSON and markdown, to the byte; the JSON keeps to the schema."""
    made = asyncio.run(planned(PLANS / name, keyring, mint))
    outputs = {
        "plan.txt": plan.render_text(made).encode(),
        "plan.json": plan.to_json(made),
        "plan.md": render_markdown(made, command="reconcile apply plan.json -f hooks.yaml").encode(),
    }
    assert jsonschema_rs.is_valid(SCHEMA, json.loads(outputs["plan.json"]))
    for file, output in outputs.items():
        if rewrite:
            (PLANS / name / file).write_bytes(output)
        assert (PLANS / name / file).read_bytes().decode() == output.decode(), file


def test_every_kind_of_change_is_recorded() -> None:
    """No action and no guard code that depends on configuration alone is without an example."""
    plans = [json.loads((PLANS / name / "plan.json").read_text()) for name in CASES]
    assert {change["action"] for made in plans for change in made["changes"]} == {each.value for each in plan.Action}
    assert {guard["code"] for made in plans for guard in made["guards"]} == {"protected", "mass-delete", "traffic"}
