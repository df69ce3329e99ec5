"""What a plan is: the typed form of `schemas/plan.schema.json`, field by field."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reconciler.model.resource import Kind

__all__ = [
    "FORMAT_VERSION",
    "Action",
    "Base",
    "Change",
    "Drift",
    "FieldChange",
    "Guard",
    "Observation",
    "Plan",
    "PlanWarning",
    "Summary",
]

FORMAT_VERSION = 1
"""Of the JSON format. A reader ignores keys it does not know and refuses a greater version."""


class Action(StrEnum):
    """What happens to a resource, gravest first; one resource has one action, its other edits are fields."""

    DELETE = "delete"
    REPLACE = "replace"
    ROTATE = "rotate"
    RENAME = "rename"
    UPDATE = "update"
    CREATE = "create"


class FieldChange(NamedTuple):
    """One field, before and after, and the place in the files that says so.

    Values are JSON; None means absent. Secrets stand as fingerprints, references as references.
    """

    path: str
    before: Any
    after: Any
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanWarning:
    """What a change breaks or starts, in words; decided from configuration and state alone."""

    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happens to one resource. `file` and `line` are of the field that caused it.

    `address` is the new one, or the last one of a deleted resource. `type` is a webhook's (its new one), None
    for other kinds. A deleted resource is placed where its bot's block stands, if that is still there, or else at
    the bots of a configuration of one file.
    """

    kind: Kind
    address: str
    action: Action
    type: str | None = None
    file: str | None = None
    line: int | None = None
    fields: tuple[FieldChange, ...] = ()
    warnings: tuple[PlanWarning, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """The state a plan was made on; lineage None and serial 0 where there was no store yet."""

    lineage: str | None
    serial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How many resources, over all kinds, have which fate."""

    create: int = 0
    update: int = 0
    replace: int = 0
    rename: int = 0
    rotate: int = 0
    delete: int = 0
    unchanged: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Why applying is refused, and the flag that allows it. `address` is None for a guard on the whole plan."""

    code: str
    address: str | None
    message: str
    allow: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Where what runs differs from what was applied, since when, and what clears it."""

    address: str
    code: str
    since: str | None
    message: str
    clears: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What has happened at a webhook: deliveries, or calls of a trigger, with times as ISO 8601 in UTC."""

    waiting: int = 0
    day_count: int = 0
    last_called: str | None = None
    last_delivered: str | None = None
    last_attempt: str | None = None
    gone_since: str | None = None
    failing_since: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What applying would do now.

    `changes` is sorted by risk, kind and address. `guards`, `drift` and `observed` (by address, of changed
    webhooks) depend on the moment and stand outside equality.
    """

    base: Base
    config_digest: str
    commit: str | None = None
    changes: tuple[Change, ...] = ()
    summary: Summary = Summary()
    guards: tuple[Guard, ...] = field(default=(), compare=False)
    drift: tuple[Drift, ...] = field(default=(), compare=False)
    observed: Mapping[str, Observation] = field(default_factory=dict, compare=False)

    @property
    def is_empty(self) -> bool:
        """Whether applying would change nothing."""
        return not self.changes
