"""The three kinds of resources, as they are declared in YAML and as the state keeps them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reconciler.problem import Place, Problem

__all__ = [
    "EMPTY_STATE",
    "Declared",
    "Desired",
    "Key",
    "Kind",
    "PreviousSecret",
    "Resource",
    "Secret",
    "Spec",
    "State",
]

Spec: TypeAlias = "Mapping[str, Any]"
"""A canonical specification: JSON values, every default filled in, durations in their shortest spelling, references
kept as references. Two equal specs mean the same thing; `model.spec` makes and reads them."""


class Kind(StrEnum):
    """The kinds of resources, in the order in which a plan lists them."""

    BOT = "bot"
    DATA_SOURCE = "data_source"
    WEBHOOK = "webhook"


class Key(NamedTuple):
    """A resource's identity across files and applies: a kind and an address (`bot`, or `bot/handle`)."""

    kind: Kind
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """A resource as the configuration wants it.

    `locate` maps a field's path (`retry.attempts`; empty for the resource itself) to the place that wrote it; a
    default of the file's `defaults` block is located there, an absent field at the resource. `moved_from` holds
    full addresses. `base_dir` is the absolute folder of the YAML file, against which relative `${file:…}`
    references are resolved; it is no part of what is compared.
    """

    key: Key
    spec: Spec
    base_dir: str
    moved_from: tuple[str, ...] = ()
    locate: Callable[[str], Place] = field(compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """A whole configuration without errors.

    `digest` is `sha256:…` of the canonical desired state: equal for equal specs, whatever files or order they
    stand in. `resources` is sorted by key. `files` are the files read, in order. `locate_bots` gives the place where
    the bots stand in a configuration of one file: there a bot that is gone has stood.
    """

    resources: Mapping[Key, Declared]
    digest: str
    warnings: tuple[Problem, ...] = ()
    files: tuple[str, ...] = ()
    locate_bots: Callable[[], Place] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousSecret:
    """A secret that a rotation replaced and that stays good until `until_ms`."""

    fingerprint: str
    sealed: bytes | None = field(repr=False)
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A generated secret, sealed. `sealed` is None in a state read from an export, which planning does not mind."""

    fingerprint: str
    sealed: bytes | None = field(repr=False)
    created_ms: int
    previous: PreviousSecret | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A resource as it was last applied.

    Webhooks alone have an `id` (a UUID, kept for life) and, unless their secret is a reference, a `secret`.
    `moved_from` is the declared one of when this was last written, and so dealt with: kept that a swap of two
    names, left standing in the files, is not swapped back.
    """

    key: Key
    spec: Spec
    base_dir: str = ""
    id: str | None = None
    secret: Secret | None = None
    moved_from: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Everything that was applied. `lineage` is None and `serial` 0 before the first apply.

    `salt` keys the fingerprints of this lineage.
    """

    lineage: str | None = None
    serial: int = 0
    salt: bytes | None = field(default=None, repr=False)
    resources: Mapping[Key, Resource] = field(default_factory=dict)


EMPTY_STATE = State()
