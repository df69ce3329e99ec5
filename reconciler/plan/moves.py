"""Which applied resource each declared one continues: by address, or by a `moved_from` that still has work to do."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from reconciler.model.resource import Key, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from reconciler.model.resource import Declared, Desired, Resource, State

__all__ = ["Pairing", "pair"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """Every declared resource with the applied one it continues, and the applied ones nobody continues.

    `bots` maps the old handle of each renamed bot to its new one. `claimed` are those that were renamed by a
    `moved_from` of their own, and not only along with their bot. `in_the_way` maps an applied resource to the
    address that a `moved_from` would give it, and that another applied one keeps.
    """

    before: Mapping[Key, Resource]
    removed: tuple[Resource, ...]
    bots: Mapping[str, str] = field(default_factory=dict)
    claimed: AbstractSet[Key] = frozenset()
    in_the_way: Mapping[Key, str] = field(default_factory=dict)

    def translated(self, address: str) -> str:
        """An address with its bot's handle as it is after this plan."""
        return _translated(address, self.bots)


def pair(desired: Desired, state: State) -> Pairing:
    """Match declared resources to applied ones. Bots first: a renamed bot takes all that hangs on it along."""
    claims: dict[Kind, dict[str, Declared]] = {kind: {} for kind in Kind}
    for key, declared in desired.resources.items():
        if declared.moved_from:
            claims[key.kind][key.address] = declared
    if not any(claims.values()):
        return _pair_by_address(desired, state)

    bots = {key.address: resource for key, resource in state.resources.items() if key.kind is Kind.BOT}
    moves, blocked = _moves(claims[Kind.BOT], bots, {})
    renamed = {old: new for new, old in moves.items()}
    before: dict[Key, Resource] = {}
    claimed = {Key(Kind.BOT, new) for new in moves}
    taken: set[Key] = set()
    in_the_way: dict[Key, str] = {}
    for kind in Kind:
        present = {
            address if kind is Kind.BOT else _translated(address, renamed): resource
            for (its_kind, address), resource in state.resources.items()
            if its_kind is kind
        }
        wanted = _wanted(desired, kind)
        if kind is not Kind.BOT:
            moves, blocked = _moves(claims[kind], present, renamed)
            claimed |= {Key(kind, new) for new in moves}
        vacated = set(moves.values())
        in_the_way |= {present[source].key: address for address, source in blocked.items()}
        for address in wanted:
            source = moves.get(address, address)
            if source in present and (address in moves or address not in vacated):
                before[Key(kind, address)] = present[source]
                taken.add(present[source].key)
    removed = tuple(resource for key, resource in state.resources.items() if key not in taken)
    return Pairing(before=before, removed=removed, bots=renamed, claimed=claimed, in_the_way=in_the_way)


def _pair_by_address(desired: Desired, state: State) -> Pairing:
    applied, declared = state.resources, desired.resources
    return Pairing(
        before={key: applied[key] for key in declared if key in applied},
        removed=tuple(resource for key, resource in applied.items() if key not in declared),
    )


def _wanted(desired: Desired, kind: Kind) -> list[str]:
    return [key.address for key in desired.resources if key.kind is kind]


def _translated(address: str, bots: Mapping[str, str]) -> str:
    bot, slash, handle = address.partition("/")
    return f"{bots.get(bot, bot)}{slash}{handle}"


def _moves(
    claims: Mapping[str, Declared], present: Mapping[str, Resource], bots: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """New address to old, for the claims that still have work to do; and the same for those that cannot do it.

    A claim has work to do when its own address is empty, or is emptied by another claim (a chain). What then
    remains are rings of addresses that are all taken (a swap): they turn once.
    """
    sources = {address: _sources(claims[address], present, bots) for address in sorted(claims)}
    moves: dict[str, str] = {}
    taken: set[str] = set()
    empty = deque(address for address in sources if address not in present)
    while empty:
        address = empty.popleft()
        source = next((each for each in sources[address].open if each not in taken), None)
        if source is not None:
            moves[address] = source
            taken.add(source)
            if source in sources:
                empty.append(source)
    step = {
        address: source
        for address, listed in sources.items()
        if address in present and address not in taken
        for source in [next((each for each in (*listed.open, *listed.done) if each not in taken), None)]
        if source is not None
    }
    for ring in _rings(step):
        if any(source in sources[address].open for address, source in ring.items()):
            moves |= ring
    blocked = {
        address: source
        for address, listed in sources.items()
        if address in present and address not in moves
        for source in listed.open
        if source not in moves.values()
    }
    return moves, blocked


class _Sources(NamedTuple):
    """What a claim names that the state knows: not dealt with yet, and dealt with when its address was written last.

    A swap that is left standing in the files is not done again; one that begins with a claim that is new is, even
    if another of its claims has stood there since an earlier rename.
    """

    open: tuple[str, ...]
    done: tuple[str, ...]


def _sources(declared: Declared, present: Mapping[str, Resource], bots: Mapping[str, str]) -> _Sources:
    address = declared.key.address
    done = {_translated(source, bots) for source in present[address].moved_from} if address in present else set()
    known = [source if source in present else _translated(source, bots) for source in declared.moved_from]
    known = [source for source in known if source in present and source != address]
    return _Sources(
        tuple(source for source in known if source not in done), tuple(source for source in known if source in done)
    )


def _rings(step: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The steps that lead back to where they began, ring by ring."""
    seen: set[str] = set()
    for start in step:
        path: list[str] = []
        at = start
        while at in step and at not in seen:
            seen.add(at)
            path.append(at)
            at = step[at]
        if at in path:
            yield {address: step[address] for address in path[path.index(at) :]}
