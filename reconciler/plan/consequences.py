"""What a change breaks or starts, in words.

Decided from the applied and the declared spec alone, so that equal changes warn alike whatever traffic there was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.model.hook import EventType, NotifyType
from reconciler.model.resource import Kind
from reconciler.plan.plan import Action, PlanWarning
from reconciler.plan.rotation import rotates

if TYPE_CHECKING:
    from reconciler.model.resource import Spec

__all__ = ["GRAVE", "warnings_of"]

GRAVE = frozenset(
    {
        "bot-id-changes",
        "data-source-changes",
        "data-source-id-changes",
        "secret-rotates",
        "secret-source-changes",
        "signing-stops",
        "sync-changes",
        "traffic-starts",
        "traffic-stops",
        "url-changes",
    }
)
"""Warnings that lift an update or a rename above the calm ones: somebody outside will notice."""


def warnings_of(
    action: Action, kind: Kind, before: Spec | None, after: Spec | None, *, handle: str
) -> tuple[PlanWarning, ...]:
    """The warnings of one change, gravest first. `handle` is what the resource has after it."""
    if kind is not Kind.WEBHOOK:
        return _of_owner(action, kind, before, after, handle)
    match action:
        case Action.DELETE:
            assert before is not None
            return (_stops_for_good(before),)
        case Action.REPLACE:
            assert before is not None
            assert after is not None
            return (_stops_for_good(before), _REPLACED, *_switched(None, after))
        case Action.CREATE:
            assert after is not None
            return _switched(None, after)
        case Action.ROTATE | Action.RENAME | Action.UPDATE:
            assert before is not None
            assert after is not None
            return (*((_rotates(before, after),) if rotates(before, after) else ()), *_edited(before, after))


def _of_owner(
    action: Action, kind: Kind, before: Spec | None, after: Spec | None, handle: str
) -> tuple[PlanWarning, ...]:
    if action is Action.DELETE:
        if kind is Kind.BOT:
            return (PlanWarning(code="bot-goes", message="events of this bot no longer match anything"),)
        return (
            PlanWarning(code="data-source-goes", message="it is no longer synced; a queued sync of it is dropped"),
        )
    if before is None or after is None:
        return ()
    warnings = []
    old, new = before["id"], after["id"]
    if kind is Kind.BOT and old != new:
        keeps = f"; `id: {old}` keeps them" if action is Action.RENAME else ""
        message = f"conversations of the platform's bot `{old}` no longer match it, those of `{new}` do{keeps}"
        warnings.append(PlanWarning(code="bot-id-changes", message=message))
    # Unlike conversations, sync events also come by handle or name: an old id that is one of these still finds it.
    if kind is Kind.DATA_SOURCE and old not in (new, handle, after["name"]):
        message = f"sync events of the platform's data source `{old}` no longer match it, those of `{new}` do"
        warnings.append(PlanWarning(code="data-source-id-changes", message=message))
    if kind is Kind.DATA_SOURCE and before["sync"] and _run(before["sync"]) != _run(after["sync"]):
        warnings.append(PlanWarning(code="sync-changes", message=_sync_changes(before["sync"], after["sync"])))
    return tuple(warnings)


def _run(sync: Spec | None) -> object:
    """What a sync calls, whatever it is given along."""
    return sync and ("command" in sync, sync["command"] if "command" in sync else sync["http"]["url"])


def _sync_changes(before: Spec, after: Spec | None) -> str:
    if after is None:
        return "it can no longer be synced"
    if "command" in after:
        return "its syncs run another command from now on"
    if "command" in before:
        return "its syncs are requested from a server from now on, and run no command"
    elsewhere = _origin(before["http"]["url"]) != _origin(after["http"]["url"])
    return f"its syncs are requested from {'another server' if elsewhere else 'another URL of the same server'}"


def _is_trigger(spec: Spec) -> bool:
    return bool(spec["type"] == EventType.SYNC_TRIGGER)


def _sent(spec: Spec) -> str:
    """What an outgoing webhook is sent: an event type, of one data source perhaps, or notices."""
    if spec["type"] == NotifyType.NOTIFY:
        return "notice"
    source = spec.get("data_source")
    return f"{spec['type']} of {source}" if source else str(spec["type"])


def _stops_for_good(before: Spec) -> PlanWarning:
    if _is_trigger(before):
        does = "stops answering" if before["enabled"] else "was disabled, and answers nothing any more"
        return PlanWarning(code="trigger-url-stops", message=f"its trigger URL {does}, for good")
    does = f"{_sent(before)} no longer goes to its URL" if before["enabled"] else "it is disabled, and gets nothing"
    return PlanWarning(code="deliveries-stop", message=f"{does}; what waits is cancelled")


_REPLACED = PlanWarning(code="new-identity", message="the new one has an id, a secret and a log of its own")


def _switched(before: Spec | None, after: Spec) -> tuple[PlanWarning, ...]:
    was = before is not None and before["enabled"]
    if was == after["enabled"]:
        return ()
    if _is_trigger(after):
        start, stop = "calls of its trigger URL start syncs", "its trigger URL answers 403 and starts no sync"
    else:
        start = f"live traffic starts: every {_sent(after)} goes to its URL"
        stop = f"{_sent(after)} no longer goes to its URL; what waits is kept until it is enabled"
    if after["enabled"]:
        return (PlanWarning(code="traffic-starts", message=start),)
    return (PlanWarning(code="traffic-stops", message=stop),)


def _rotates(before: Spec, after: Spec) -> PlanWarning:
    if after.get("secret") is not None:
        what = "the secret comes from its reference from now on; receivers that verify need that one at once"
    elif before.get("secret") is not None:
        what = "a secret is generated in place of the reference; receivers that verify need the new one at once"
    elif (overlap := after["rotation"]["overlap"]) != "0s":
        what = f"a new secret is generated; the old one stays good for {overlap}"
    elif _is_trigger(after):
        what = "a new secret is generated: the trigger URL changes and the old one stops answering at once"
    else:
        what = "a new secret is generated; receivers that verify need the new one at once"
    return PlanWarning(code="secret-rotates", message=what)


def _edited(before: Spec, after: Spec) -> tuple[PlanWarning, ...]:
    warnings = [*_switched(before, after), *_other_source(before, after)]
    old_url, new_url = before.get("url"), after.get("url")
    if after["enabled"] and old_url and new_url and old_url != new_url:
        elsewhere = _origin(old_url) != _origin(new_url)
        message = (
            "deliveries go to another server" if elsewhere else "deliveries go to another URL of the same server"
        )
        warnings.append(PlanWarning(code="url-changes", message=f"{message}, those that wait as well"))
    old_secret, new_secret = before.get("secret"), after.get("secret")
    if old_secret and new_secret and old_secret != new_secret:
        message = "the secret is read from another place; receivers that verify need that one at once"
        warnings.append(PlanWarning(code="secret-source-changes", message=message))
    if stopped := _no_longer_signed(before, after):
        message = f"{stopped} no longer sent; receivers that verify by that need to know before"
        warnings.append(PlanWarning(code="signing-stops", message=message))
    if after["secret_version"] < before["secret_version"]:
        message = "lowering secret_version does not bring an old secret back; only raising it rotates"
        warnings.append(PlanWarning(code="secret-version-lowered", message=message))
    if before["protected"] and not after["protected"]:
        warnings.append(PlanWarning(code="protection-ends", message="it can be deleted once this is applied"))
    return tuple(warnings)


def _other_source(before: Spec, after: Spec) -> tuple[PlanWarning, ...]:
    """A webhook that stays on, and from now on goes by the syncs of another data source."""
    old, new = before.get("data_source"), after.get("data_source")
    if old == new or not (before["enabled"] and after["enabled"]):
        return ()
    if _is_trigger(after):
        message = f"calls of its trigger URL start syncs of {new}, and no longer of {old}"
    else:
        alone = "" if old and new else " alone"
        now, was = (f"{source}{alone}" if source else "every data source" for source in (new, old))
        message = f"it gets {after['type']} of {now}, and no longer of {was}"
    return (PlanWarning(code="data-source-changes", message=message),)


def _no_longer_signed(before: Spec, after: Spec) -> str:
    """The means to verify a delivery that a webhook's receiver loses."""
    was, now = before.get("signing") or {}, after.get("signing") or {}
    lost = [words for name, words in _SIGNING.items() if was.get(name) and now and not now.get(name)]
    return f"{' and '.join(lost)} {'are' if lost[-1].endswith('headers') else 'is'}" if lost else ""


_SIGNING = {"secret_header": "`X-Secret-Key`", "standard_webhooks": "the Standard Webhooks headers"}


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url
    return parts.scheme.lower(), parts.netloc.lower()
