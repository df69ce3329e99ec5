"""What an apply refuses until somebody allows it: deletions that look like mistakes or that somebody would miss."""

from __future__ import annotations

from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING

from reconciler.model.hook import NOTIFY_ADDRESS, EventType
from reconciler.model.resource import Key, Kind
from reconciler.plan.escape import harmless
from reconciler.plan.plan import Action, Guard
from reconciler.plan.swallowed import SWALLOWED
from reconciler.plan.words import counted, participle, place_words, traffic_counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from reconciler.model.resource import Desired, Resource, State
    from reconciler.plan.moves import Pairing
    from reconciler.plan.plan import Change, Observation

__all__ = [
    "ALLOW_ALL",
    "DELETIONS_MAX",
    "DELETIONS_SHARE_MAX",
    "NAMED_MAX",
    "NOTHING_ALLOWED",
    "Allowance",
    "flags_of",
    "guards_of",
    "reaches",
    "vain_allowances",
]

EXISTING_MIN = 10
"""From this many webhooks on, the share and the number deleted at once are guarded."""
DELETIONS_MAX = 10
DELETIONS_SHARE_MAX = 0.3

NAMED_MAX = 10
"""Addresses that allow nothing, named one by one."""
_CANDIDATES_MAX = 200
"""Addresses that each is compared with: a daemon has other things to do."""
_SHOWN_MAX = 200
"""Characters of such an address; a handle has at most 100."""

ALLOW_ALL = "--allow-delete-all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What somebody has confirmed: single addresses, past every guard; or all, past every guard but `protected`."""

    addresses: frozenset[str] = frozenset()
    all: bool = False


NOTHING_ALLOWED = Allowance()


def guards_of(
    desired: Desired,
    state: State,
    changes: Sequence[Change],
    *,
    pairing: Pairing,
    observed: Mapping[str, Observation],
    allow: Allowance = NOTHING_ALLOWED,
) -> tuple[Guard, ...]:
    """The guards that stand against these changes. A replaced webhook counts as a deleted one."""
    lost: list[tuple[Change, Resource]] = []
    for change in changes:
        if _loses(change):
            key = Key(change.kind, change.address)
            resource = state.resources[key] if change.action is Action.DELETE else pairing.before[key]
            if not allow.addresses & {change.address, resource.key.address}:
                lost.append((change, resource))
    lost.sort(key=lambda each: each[0].address)
    found = list(_protected(lost))
    if not allow.all:
        found += _emptied(desired, state, allow)
        found += _many(lost, state, changes)
        found += _missed(lost, observed)
    return tuple(found)


def reaches(allow: Allowance, changes: Sequence[Change]) -> bool:
    """Whether it can pass anything that stands against these changes."""
    return allow.all or any(
        _loses(change) and not allow.addresses.isdisjoint(_addresses(change)) for change in changes
    )


def vain_allowances(allow: Allowance, changes: Sequence[Change]) -> tuple[str, ...]:
    """A sentence on each allowed address that none of these changes deletes or replaces: mistyped, or left over.

    One that is deleted while no guard stands against it is neither: whether it had traffic depends on the moment.
    """
    if not allow.addresses:
        return ()
    lost = [change for change in changes if _loses(change)]
    vain = sorted(allow.addresses.difference(*map(_addresses, lost)))
    meant = [each.address for each in lost if allow.addresses.isdisjoint(_addresses(each))][:_CANDIDATES_MAX]
    said = [_in_vain(address, meant, has_lost=bool(lost)) for address in vain[:NAMED_MAX]]
    if len(vain) > NAMED_MAX:
        said.append(f"and {counted(len(vain) - NAMED_MAX, 'more address allows', 'more addresses allow')} nothing")
    return tuple(said)


def _in_vain(address: str, meant: Sequence[str], *, has_lost: bool) -> str:
    shown = address if len(address) <= _SHOWN_MAX else f"{address[:_SHOWN_MAX]}…"
    said = f"{_allow(harmless(shown))} allows nothing: this plan deletes or replaces no webhook"
    if not has_lost:
        return said
    if near := _nearest(shown, meant):
        return f"{said} of that address; did you mean {harmless(near)}?"
    return f"{said} of that address{'' if '/' in shown else '; write it as the plan does, BOT/HOOK'}"


def _nearest(address: str, meant: Sequence[str]) -> str | None:
    """The address most like it, if its handle is near and so is its bot, where one is given."""
    from difflib import get_close_matches  # noqa: PLC0415 - only where something went wrong

    bot, slash, handle = address.rpartition("/")
    alike = []
    for each in meant:
        its_bot, _, its_handle = each.rpartition("/")
        if get_close_matches(handle, [its_handle]) and (not slash or get_close_matches(bot, [its_bot])):
            alike.append(each)
    return next(iter(get_close_matches(address, alike, n=1, cutoff=0)), None)


def flags_of(guards: Sequence[Guard]) -> tuple[str, ...]:
    """The fewest flags that pass these guards: where one allows all, only protected webhooks need their own."""
    has_all = any(guard.allow == ALLOW_ALL for guard in guards)
    needed = (guard.allow for guard in guards if not has_all or guard.allow == ALLOW_ALL or guard.code == "protected")
    return tuple(dict.fromkeys(needed))


def _loses(change: Change) -> bool:
    """Whether a webhook as it is now ends with the change."""
    return change.kind is Kind.WEBHOOK and change.action in (Action.DELETE, Action.REPLACE)


def _addresses(change: Change) -> set[str]:
    """What a lost webhook may be allowed by: its address after the change, and the one before."""
    return {change.address, *(field.before for field in change.fields if field.path == "address")}


def _allow(address: str) -> str:
    """A flag to be pasted into a shell: an address may come from a state that somebody has edited."""
    return f"--allow-delete {quote(address)}"


def _protected(lost: Sequence[tuple[Change, Resource]]) -> Iterator[Guard]:
    for change, resource in lost:
        if resource.spec.get("protected"):
            yield Guard(
                code="protected",
                address=change.address,
                message=f"it is protected and would be {participle(change.action)}",
                allow=_allow(change.address),
            )


def _emptied(desired: Desired, state: State, allow: Allowance) -> Iterator[Guard]:
    hooks = [key.address for key in state.resources if key.kind is Kind.WEBHOOK]
    managed, kept = (
        {key for key in keys if key.address != NOTIFY_ADDRESS} for keys in (state.resources, desired.resources)
    )
    if kept or not managed or (hooks and allow.addresses.issuperset(hooks)):
        return
    everything = counted(len(state.resources), "resource", "resources")
    yield Guard(
        code="empty-configuration",
        address=None,
        message=f"the configuration is empty: all it manages ({everything}) would be deleted",
        allow=ALLOW_ALL,
    )


def _many(lost: Sequence[tuple[Change, Resource]], state: State, changes: Sequence[Change]) -> Iterator[Guard]:
    existing = sum(1 for key in state.resources if key.kind is Kind.WEBHOOK)
    if existing < EXISTING_MIN:
        return
    if len(lost) > DELETIONS_MAX or len(lost) > existing * DELETIONS_SHARE_MAX:
        yield Guard(
            code="mass-delete",
            address=None,
            message=(
                f"{len(lost)} of {existing} webhooks ({len(lost) * 100 // existing} %) would be deleted or replaced;"
                f" more than {DELETIONS_MAX}, or {DELETIONS_SHARE_MAX * 100:.0f} %, at once must be allowed"
                f"{_cause(changes)}"
            ),
            allow=ALLOW_ALL,
        )


def _cause(changes: Sequence[Change]) -> str:
    """Where many webhooks have probably gone by mistake."""
    for change in changes:
        if any(warning.code == SWALLOWED for warning in change.warnings):
            return f". A text of `{change.address}` has taken some in, see {place_words(change.file, change.line)}"
    return ""


def _missed(lost: Sequence[tuple[Change, Resource]], observed: Mapping[str, Observation]) -> Iterator[Guard]:
    for change, resource in lost:
        seen = observed.get(resource.id or "")
        if seen is not None and seen.day_count > 0:
            count = traffic_counted(seen.day_count, is_trigger=resource.spec["type"] == EventType.SYNC_TRIGGER)
            waiting = f"; {seen.waiting} waiting would be cancelled" if seen.waiting else ""
            yield Guard(
                code="traffic",
                address=change.address,
                message=f"it would be {participle(change.action)} and had {count} in the last 24 h{waiting}",
                allow=_allow(change.address),
            )
