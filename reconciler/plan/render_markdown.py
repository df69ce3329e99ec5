"""A plan as a comment on a pull request: what needs a decision first, and within what a comment may hold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from reconciler.model.hook import EventType
from reconciler.model.resource import Kind
from reconciler.plan.compare import UNEXPLAINED
from reconciler.plan.consequences import GRAVE
from reconciler.plan.escape import harmless, harmless_line
from reconciler.plan.guards import flags_of
from reconciler.plan.lines import line_diff
from reconciler.plan.markdown_text import code, fenced, html_code, prose, row
from reconciler.plan.plan import Action
from reconciler.plan.swallowed import SWALLOWED
from reconciler.plan.words import (
    counted,
    drift_to_read,
    field_place,
    field_value,
    fields_to_read,
    is_long_text,
    kind_words,
    place_words,
    summary_line,
    traffic_matters,
    traffic_words,
    verb,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from reconciler.plan.plan import Change, FieldChange, Plan, PlanWarning

__all__ = ["CHARACTERS_MAX", "MARKER", "render_markdown"]

CHARACTERS_MAX = 60_000
"""Of the whole comment; GitHub takes 65,536."""

MARKER = "webhook-reconciler:plan"
"""Stands hidden in the first line, so that the next plan updates the same comment."""

_SIGNS = {
    Action.DELETE: "🔴",
    Action.REPLACE: "🔴",
    Action.ROTATE: "🟠",
    Action.RENAME: "🔵",
    Action.UPDATE: "🟡",
    Action.CREATE: "🟢",
}
_ENDING = frozenset({Action.DELETE, Action.REPLACE, Action.ROTATE})
_TOLD = GRAVE | {"looks-renamed", SWALLOWED, UNEXPLAINED}
"""Warnings that are told in the table whatever the change."""
_WHOLE = "the whole plan"
_LISTED_MAX = 100
"""Addresses in a list that stands in for details."""


class _Attention(Enum):
    """How what needs attention is told: a row each, a row for those with the same reasons, or by name alone."""

    ROWS = auto()
    GROUPS = auto()
    NAMES = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Detail:
    """How much is said. Additions give way first, what needs attention last."""

    diffs_of: frozenset[Action] = frozenset()
    listed: frozenset[Action] = frozenset()
    whole_bodies: bool = True
    attention: _Attention = _Attention.ROWS
    named_max: int | None = None


_ALL = frozenset(Action)
_NOT_ADDED = _ALL - {Action.CREATE}
_DEGREES = (
    _Detail(diffs_of=_ALL),
    _Detail(diffs_of=_NOT_ADDED, listed=frozenset({Action.CREATE})),
    _Detail(diffs_of=_NOT_ADDED),
    _Detail(diffs_of=_NOT_ADDED, whole_bodies=False),
    _Detail(diffs_of=_ENDING, listed=frozenset({Action.UPDATE, Action.RENAME}), whole_bodies=False),
    _Detail(listed=frozenset({Action.UPDATE, Action.RENAME})),
    _Detail(),
    _Detail(attention=_Attention.GROUPS),
    _Detail(attention=_Attention.NAMES),
    _Detail(attention=_Attention.NAMES, named_max=1_000),
    _Detail(attention=_Attention.NAMES, named_max=100),
    _Detail(attention=_Attention.NAMES, named_max=20),
)


def render_markdown(
    plan: Plan,
    *,
    marker: str = MARKER,
    command: str = "reconcile",
    knows_traffic: bool = True,
    characters_max: int = CHARACTERS_MAX,
) -> str:
    """The plan as markdown of at most `characters_max` characters, the same for equal plans.

    `command` is what applies it, without the flags that its guards ask for. `knows_traffic` says whether the plan
    was made where traffic could be seen.
    """
    text = ""
    concerns = list(_attention(plan))
    footer = list(_footer(plan, command, knows_traffic=knows_traffic))
    for detail in _DEGREES:
        lines, length = [], 0
        for line in _sections(plan, detail, marker, concerns, footer):
            lines.append(line)
            length += len(line) + 1
            if length > characters_max:
                break
        text = "\n".join(lines) + "\n"
        if length <= characters_max:
            return text
    cut = "\n\nThe rest did not fit; see the plan's JSON.\n"
    end = "\n".join((cut, *footer, ""))
    if len(end) * 2 > characters_max:
        end = cut
    return text[: characters_max - len(end)].rpartition("\n")[0] + end


def _sections(
    plan: Plan, detail: _Detail, marker: str, concerns: Sequence[_Concern], footer: Sequence[str]
) -> Iterator[str]:
    yield f"<!-- {marker.replace('--', '-')} -->"
    yield f"### {_verdict(plan)}"
    yield ""
    yield prose(summary_line(plan)).replace("\\", "") if plan.is_empty else f"**{summary_line(plan)}**"
    if concerns:
        yield from ("", "#### Needs attention", "")
        yield from _attention_told(concerns, detail)
    for change in plan.changes:
        if change.action in detail.diffs_of:
            yield ""
            yield from _details(change, whole_bodies=detail.whole_bodies)
    yield from _in_place_of_details(plan, detail)
    yield from _drift(plan)
    yield ""
    yield from footer


def _verdict(plan: Plan) -> str:
    if plan.is_empty:
        return "✅ Webhooks: no changes"
    total = plan.summary
    counts = {
        Action.DELETE: total.delete,
        Action.REPLACE: total.replace,
        Action.ROTATE: total.rotate,
        Action.UPDATE: total.update,
        Action.RENAME: total.rename,
        Action.CREATE: total.create,
    }
    said = " · ".join(f"{_SIGNS[action]} {count} to {verb(action)}" for action, count in counts.items() if count)
    guards = f" · ⛔ {counted(len(plan.guards), 'guard', 'guards')}" if plan.guards else ""
    return f"Webhooks: {said}{guards}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Concern:
    """A row of what needs attention."""

    sign: str
    subject: str
    reasons: tuple[str, ...]
    place: str = ""


def _attention(plan: Plan) -> Iterator[_Concern]:
    for guard in plan.guards:
        reason = f"{guard.message}; allow it with `{guard.allow}`"
        yield _Concern(sign="⛔ guard", subject=guard.address or "", reasons=(reason,))
    starting: list[Change] = []
    for change in plan.changes:
        reasons = [warning.message for warning in change.warnings if _is_told(change, warning)]
        if change.action is Action.CREATE and {warning.code for warning in change.warnings} == {"traffic-starts"}:
            starting.append(change)
            continue
        if traffic := traffic_words(change, plan.observed.get(change.address)):
            reasons.append(traffic)
        if reasons or change.action in _ENDING:
            kind = "" if change.kind is Kind.WEBHOOK else f" {kind_words(change.kind)}"
            yield _Concern(
                sign=f"{_SIGNS[change.action]} {verb(change.action)}{kind}",
                subject=change.address,
                reasons=tuple(reasons),
                place=place_words(change.file, change.line),
            )
    for change in starting:
        yield _Concern(
            sign="🟢 add",
            subject=change.address,
            reasons=("traffic starts as soon as this is applied",),
            place=place_words(change.file, change.line),
        )


def _is_told(change: Change, warning: PlanWarning) -> bool:
    """Whether a warning stands in the table, and so not beside the change once more."""
    return change.action in _ENDING or warning.code in _TOLD


def _attention_told(concerns: Sequence[_Concern], detail: _Detail) -> Iterator[str]:
    match detail.attention:
        case _Attention.ROWS:
            yield from _attention_table([(concern, [concern]) for concern in concerns])
        case _Attention.GROUPS:
            alike: dict[tuple[str, tuple[str, ...]], list[_Concern]] = {}
            for concern in concerns:
                alike.setdefault((concern.sign, concern.reasons), []).append(concern)
            yield from _attention_table([(group[0], group) for group in alike.values()])
        case _Attention.NAMES:
            yield from _attention_list(concerns, detail.named_max)
        case _:
            assert_never(detail.attention)


def _attention_table(groups: Sequence[tuple[_Concern, Sequence[_Concern]]]) -> Iterator[str]:
    yield row("", "What", "Why", "Where")
    yield row(*["---"] * 4)
    for first, group in groups:
        sign = first.sign if len(group) == 1 else f"{first.sign} ({len(group)})"
        subjects = " ".join(code(each.subject) if each.subject else _WHOLE for each in group)
        place = first.place if len({each.place for each in group}) == 1 else ""
        reasons = "<br>".join(prose(reason) for reason in first.reasons)
        yield row(sign, subjects, reasons, code(place) if place else "")


def _attention_list(concerns: Sequence[_Concern], named_max: int | None) -> Iterator[str]:
    """By name alone; a guard on the whole plan has none, and keeps its reason."""
    groups: dict[str, list[str]] = {}
    for concern in concerns:
        if concern.subject:
            groups.setdefault(concern.sign, []).append(concern.subject)
        else:
            yield f"- {concern.sign}: {'; '.join(prose(reason) for reason in concern.reasons)}"
    for sign, subjects in groups.items():
        shown = subjects[:named_max]
        more = f" and {len(subjects) - len(shown)} more" if len(shown) < len(subjects) else ""
        yield f"- {sign} ({len(subjects)}): {' '.join(map(code, shown))}{more}"


def _details(change: Change, *, whole_bodies: bool) -> Iterator[str]:
    place = place_words(change.file, change.line)
    where = f" {html_code(place)}" if place else ""
    yield (
        f"<details><summary>{_SIGNS[change.action]} {verb(change.action)} {kind_words(change.kind)}"
        f" {html_code(change.address)}{where}</summary>"
    )
    yield ""
    edits = [line for field in fields_to_read(change) for line in _diff(change, field, whole_bodies=whole_bodies)]
    yield fenced(edits, "diff") if edits else "Nothing is set beyond its handle."
    calm = [warning.message for warning in change.warnings if not _is_told(change, warning)]
    if change.kind is Kind.WEBHOOK and change.action is Action.RENAME:
        calm.insert(0, _kept(change))
    if calm:
        yield ""
        yield from (f"- {prose(message)}" for message in calm)
    yield ""
    yield "</details>"


def _kept(change: Change) -> str:
    """What a renamed webhook takes along, which is what a rename is for."""
    if any(field.path == "secret" for field in change.fields):
        return "id and log stay"
    return "id, secret, URL and log stay" if change.type == EventType.SYNC_TRIGGER else "id, secret and log stay"


def _diff(change: Change, field: FieldChange, *, whole_bodies: bool) -> Iterator[str]:
    path = harmless(field.path)
    place = field_place(change, field)
    where = f"  # {place}" if place else ""
    if not is_long_text(field):
        for sign, value in (("-", field.before), ("+", field.after)):
            if value is not None:
                is_last = sign == "+" or field.after is None
                yield f"{sign} {path}: {field_value(field, value)}{where if is_last else ''}"
        return
    before = field.before if isinstance(field.before, str) else ""
    after = field.after if isinstance(field.after, str) else ""
    lines = line_diff(before, after)
    if not whole_bodies:
        taken, added = (sum(1 for line in lines if line.sign == sign) for sign in "-+")
        yield f"! {path}: {counted(taken, 'line', 'lines')} removed, {counted(added, 'line', 'lines')} added{where}"
        return
    yield f"@@ {path} @@{where}"
    for sign, text in lines:
        yield (f"  … {text}" if sign == "@" else f"{sign} {harmless_line(text)}").rstrip()


def _in_place_of_details(plan: Plan, detail: _Detail) -> Iterator[str]:
    """Of what has no details, the addresses, or at least how many there are."""
    for action in Action:
        if action in detail.diffs_of:
            continue
        addresses = [
            f"{kind_words(change.kind)} {code(change.address)}" for change in plan.changes if change.action is action
        ]
        if not addresses:
            continue
        yield ""
        if action in detail.listed and len(addresses) <= _LISTED_MAX:
            yield f"{_SIGNS[action]} {verb(action)}: {', '.join(addresses)}"
        else:
            yield f"{_SIGNS[action]} {len(addresses)} to {verb(action)}; the details did not fit, see the plan's JSON"


def _drift(plan: Plan) -> Iterator[str]:
    if not plan.drift:
        return
    drifting, others = drift_to_read(plan)
    yield from ("", "#### Drift", "", row("Webhook", "What", "Since", "What clears it"), row(*["---"] * 4))
    for drift in drifting:
        yield row(code(drift.address), prose(drift.message), prose(drift.since or ""), prose(drift.clears))
    if others:
        yield from ("", prose(others))


def _footer(plan: Plan, command: str, *, knows_traffic: bool) -> Iterator[str]:
    lineage = f" of {code(plan.base.lineage)}" if plan.base.lineage else ", not applied yet"
    state = f"serial {plan.base.serial}{lineage}"
    commit = f" · commit {code(plan.commit)}" if plan.commit else ""
    if not knows_traffic and any(map(traffic_matters, plan.changes)):
        yield "*Made from an exported state, which knows no traffic: guards on it show only when applying.*"
        yield ""
    yield f"<sub>configuration {code(plan.config_digest)} · state {state}{commit}</sub>"
    if not plan.is_empty:
        yield ""
        yield f"Apply with {code(' '.join((command, *flags_of(plan.guards))))}"
