"""What an operator gets with the program: alerts, their runbook, the dashboard. Held to the metrics there are."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from reconciler.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

OPERATIONS = Path(__file__).parents[1] / "docs" / "operations"
RULES = yaml.safe_load((OPERATIONS / "alerts.yml").read_text(encoding="utf-8"))
DASHBOARD = json.loads((OPERATIONS / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]


def names_of_series() -> set[str]:
    """Every name that a query can ask for."""
    names = {"up", "ALERTS"}
    for family in Metrics().registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    return names


def labels_of_series() -> dict[str, set[str]]:
    """The labels of every series of this program, and what they may be where that is known from the start."""
    labels: dict[str, set[str]] = {}
    for family in Metrics().registry.collect():
        for sample in family.samples:
            for key, value in sample.labels.items():
                labels.setdefault(f"{sample.name} {key}", set()).add(value)
    return labels


def asked_for(query: str) -> set[str]:
    """The names of series in a query."""
    without = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]', "", query)
    return set(re.findall(r"\b(?:reconciler|process)_\w+\b", without))


def queries_of(panels: list[dict[str, Any]]) -> Iterator[str]:
    """Every query of a dashboard's panels."""
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", ()))
        yield from queries_of(panel.get("panels", []))


def test_alerts_and_panels_ask_for_series_that_exist() -> None:
    """A misspelt name never fires and shows nothing, and nobody notices."""
    queries = [rule["expr"] for rule in ALERTS] + list(queries_of(DASHBOARD["panels"]))
    queries += [annotation["expr"] for annotation in DASHBOARD["annotations"]["list"]]
    assert len(queries) > 60
    asked = set().union(*map(asked_for, queries))
    assert asked - names_of_series() == set()


def test_alerts_match_labels_that_exist() -> None:
    """The same for what stands in braces."""
    known = labels_of_series()
    for rule in ALERTS:
        for name, matchers in re.findall(r"\b(reconciler_\w+)\{([^}]*)\}", rule["expr"]):
            for label, operator, value in re.findall(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"', matchers):
                values = value.split("|") if "~" in operator else [value]
                assert set(values) <= known.get(f"{name} {label}", {"open"}), (rule["alert"], name, label)


def test_every_metric_of_this_program_is_on_the_dashboard() -> None:
    """Families are few enough to be shown all."""
    shown = set().union(*map(asked_for, queries_of(DASHBOARD["panels"])))
    missing = [
        family.name
        for family in Metrics().registry.collect()
        if family.name.startswith("reconciler_") and not any(name.startswith(family.name) for name in shown)
    ]
    assert missing == []


def test_every_alert_says_how_grave_it_is_and_what_to_do() -> None:
    """A severity, a summary, and a section of the runbook of its own; and no section is left over."""
    sections = set(re.findall(r"^## (\w+)$", (OPERATIONS / "runbook.md").read_text("utf-8"), re.MULTILINE))
    names = [rule["alert"] for rule in ALERTS]
    assert len(set(names)) == len(names)
    assert sections == set(names)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["runbook"] == f"docs/operations/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"].endswith(".")


def test_every_alert_is_tried() -> None:
    """Each is named, or counted with others, in the rules' own tests."""
    tests = yaml.safe_load((OPERATIONS / "alerts.test.yml").read_text(encoding="utf-8"))["tests"]
    series = {name for test in tests for one in test["input_series"] for name in asked_for(one["series"] + "{}")}
    untried = [rule["alert"] for rule in ALERTS if not asked_for(rule["expr"]) & series and "up{" not in rule["expr"]]
    assert untried == []


def test_dashboard_is_one_that_grafana_takes() -> None:
    """Panels have ids of their own and do not overlap; the data source is chosen by whoever imports it."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & taken, panel["title"]
        assert box["x"] + box["w"] <= 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
            assert panel["fieldConfig"]["defaults"]["unit"]
    assert {variable["name"] for variable in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}


def test_promtool_takes_the_rules_and_their_tests_pass(promtool: str) -> None:
    """They are valid, they fire when they should, and a healthy daemon wakes nobody."""
    for arguments in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=OPERATIONS, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stdout + done.stderr
