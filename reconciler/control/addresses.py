"""Finding an applied webhook by its address, with a helpful word where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.errors import UnknownAddress
from reconciler.model.resource import Key, Kind

if TYPE_CHECKING:
    from reconciler.model.resource import Resource, State

__all__ = ["webhook_at"]


def webhook_at(state: State, address: str) -> Resource:
    """The webhook at `bot/handle`. UnknownAddress names the nearest one there is."""
    found = state.resources.get(Key(Kind.WEBHOOK, address))
    if found is not None:
        return found
    from difflib import get_close_matches  # noqa: PLC0415 - only where something went wrong

    known = [key.address for key in state.resources if key.kind is Kind.WEBHOOK]
    if not known:
        raise UnknownAddress(f"there is no webhook {address!r}: nothing has been applied to this store")
    near = get_close_matches(address, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "`reconcile hooks` lists them"
    raise UnknownAddress(f"there is no webhook {address!r}; {hint}")
