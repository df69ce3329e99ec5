"""Desired and State to Plan; Plan and State to State; Plan to text, JSON or markdown.

The law of this floor: pure. It never imports config/; both meet in model/.
"""

from reconciler.plan.guards import Allowance
from reconciler.plan.make import make
from reconciler.plan.plan import Action, Change, FieldChange, Observation, Plan
from reconciler.plan.render_json import from_json, to_json
from reconciler.plan.render_text import render_text

__all__ = [
    "Action",
    "Allowance",
    "Change",
    "FieldChange",
    "Observation",
    "Plan",
    "from_json",
    "make",
    "render_text",
    "to_json",
]
