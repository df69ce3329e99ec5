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

GRAVE = frozenset({"secret-rotates", "traffic-stops", "traffic-starts", "url-changes", "secret-source-changes"})
"""Warnings that lift an update or a rename above the calm ones: somebody outside will notice."""


def warnings_of(action: Action, kind: Kind, before: Spec | None, after: Spec | None) -> tuple[PlanWarning, ...]:
    """The warnings of one change, gravest first."""
    if kind is not Kind.WEBHOOK:
        return _of_owner(action, kind)
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


def _of_owner(action: Action, kind: Kind) -> tuple[PlanWarning, ...]:
    if action is not Action.DELETE:
        return ()
    if kind is Kind.BOT:
        return (PlanWarning(code="bot-goes", message="events of this bot no longer match anything"),)
    return (PlanWarning(code="data-source-goes", message="it is no longer synced; a queued sync of it is dropped"),)


def _is_trigger(spec: Spec) -> bool:
    return bool(spec["type"] == EventType.SYNC_TRIGGER)


def _sent(spec: Spec) -> str:
    """What an outgoing webhook is sent: an event type, or notices."""
    return "notice" if spec["type"] == NotifyType.NOTIFY else str(spec["type"])


def _stops_for_good(before: Spec) -> PlanWarning:
    if _is_trigger(before):
        does = "stops answering" if before["enabled"] else "was disabled, and answers nothing any more"
        return PlanWarning(code="trigger-url-stops", message=f"its trigger URL {does}, for good")
    does = "is no longer delivered" if before["enabled"] else "was not delivered: it is disabled"
    return PlanWarning(code="deliveries-stop", message=f"{_sent(before)} {does}; what waits is cancelled")


_REPLACED = PlanWarning(code="new-identity", message="the new one has an id, a secret and a log of its own")


def _switched(before: Spec | None, after: Spec) -> tuple[PlanWarning, ...]:
    was = before is not None and before["enabled"]
    if was == after["enabled"]:
        return ()
    if _is_trigger(after):
        start, stop = "calls of its trigger URL start syncs", "its trigger URL answers 403 and starts no sync"
    else:
        start = f"live traffic starts: every {_sent(after)} goes to its URL"
        stop = f"{_sent(after)} is no longer delivered; what waits is kept until it is enabled"
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
    warnings = list(_switched(before, after))
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
    if after["secret_version"] < before["secret_version"]:
        message = "lowering secret_version does not bring an old secret back; only raising it rotates"
        warnings.append(PlanWarning(code="secret-version-lowered", message=message))
    if before["protected"] and not after["protected"]:
        warnings.append(PlanWarning(code="protection-ends", message="it can be deleted once this is applied"))
    return tuple(warnings)


def _origin(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
    except ValueError:
        return "", url
    return parts.scheme.lower(), parts.netloc.lower()
