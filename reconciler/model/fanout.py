"""Which webhooks hear of an event, decided against one snapshot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reconciler.model.catalog import CATALOG
from reconciler.model.delivery import NewDelivery, NewEvent
from reconciler.model.event import EventProblem, Posted, payload_bytes
from reconciler.model.hook import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from reconciler.model.hook import DataSource
    from reconciler.model.snapshot import Bot, Snapshot

__all__ = ["fan_out", "sync_event"]

_RESULT_NAMES = tuple(
    variable.path.removeprefix("results.")
    for variable in CATALOG[EventType.SYNC_SUCCESS].variables
    if variable.path.startswith("results.")
)


def fan_out(
    posted: Posted,
    snapshot: Snapshot,
    *,
    new_id: Callable[[], str],
    received_ms: int,
    encode: Callable[[object], bytes],
    gone: Collection[str] = frozenset(),
) -> NewEvent | list[EventProblem]:
    """The event with a delivery for each enabled webhook in scope, or problems where a name means several things.

    A conversation finds its bot by `botId`; a sync event finds bot and data source each by id, handle or name, in
    that order. Who is unknown is named in `unmatched`: an unknown data source still reaches the webhooks that ask
    for any. `gone` are ids of webhooks that have answered 410 and get nothing new.
    """
    source: DataSource | None = None
    if posted.data_source is None:
        bot = snapshot.bots_by_id.get(posted.bot)
    else:
        bots = _find_bots(snapshot, posted.bot)
        if len(bots) > 1:
            return [EventProblem("/bot", "ambiguous", _ambiguous("bots", [each.handle for each in bots]))]
        bot = bots[0] if bots else None
        sources = _find_sources(bot, posted.data_source) if bot is not None else ()
        if len(sources) > 1:
            message = _ambiguous("data sources", [each.address for each in sources])
            return [EventProblem("/dataSource", "ambiguous", message)]
        source = sources[0] if sources else None
    return _event(posted, bot, source, new_id=new_id, received_ms=received_ms, encode=encode, gone=gone)


def sync_event(
    bot: Bot,
    data_source: DataSource,
    *,
    results: Mapping[str, Any] | None = None,
    reason: str = "",
    event_id: str,
    new_id: Callable[[], str],
    received_ms: int,
    encode: Callable[[object], bytes],
    gone: Collection[str] = frozenset(),
) -> NewEvent:
    """The event that tells how a sync of our own has ended: with `results`, else for `reason`.

    `results` go out as they are, the documented counts first (`event.check_results` judges them). `event_id` should
    come from the sync's id, so that a sync that ran twice is told of once.
    """
    if results is not None:
        documented = [name for name in _RESULT_NAMES if name in results]
        ordered = {name: results[name] for name in documented} | dict(results)
        event_type, outcome = EventType.SYNC_SUCCESS, {"success": True, "results": ordered}
    else:
        event_type, outcome = EventType.SYNC_FAILURE, {"success": False, "reason": reason}
    payload = outcome | {"bot": bot.name, "dataSource": data_source.name}
    posted = Posted(id=event_id, type=event_type, payload=payload, bot=bot.name, data_source=data_source.name)
    return _event(posted, bot, data_source, new_id=new_id, received_ms=received_ms, encode=encode, gone=gone)


def _event(
    posted: Posted,
    bot: Bot | None,
    source: DataSource | None,
    *,
    new_id: Callable[[], str],
    received_ms: int,
    encode: Callable[[object], bytes],
    gone: Collection[str],
) -> NewEvent:
    deliveries: tuple[NewDelivery, ...] = ()
    unmatched = None
    if bot is None:
        unmatched = "bot"
    else:
        if posted.data_source is not None and source is None:
            unmatched = "dataSource"
        address = source.address if source is not None else None
        found = [
            NewDelivery(new_id(), hook.id)
            for hook in bot.hooks.get(posted.type, ())
            if hook.enabled and (hook.data_source is None or hook.data_source == address) and hook.id not in gone
        ]
        deliveries = tuple(found)
    payload = payload_bytes(
        posted,
        bot_name=bot.name if bot is not None else None,
        data_source_name=source.name if source is not None else None,
        encode=encode,
    )
    return NewEvent(posted.id or new_id(), posted.type.value, payload, received_ms, deliveries, unmatched)


def _find_bots(snapshot: Snapshot, text: str) -> tuple[Bot, ...]:
    bot = snapshot.bots_by_id.get(text) or snapshot.bots.get(text)
    return (bot,) if bot is not None else tuple(snapshot.bots_by_name.get(text, ()))


def _find_sources(bot: Bot, text: str) -> tuple[DataSource, ...]:
    sources = bot.data_sources.values()
    by_id = next((source for source in sources if source.id == text), None) or bot.data_sources.get(text)
    return (by_id,) if by_id is not None else tuple(source for source in sources if source.name == text)


def _ambiguous(kind: str, found: list[str]) -> str:
    return f"several {kind} have this name ({', '.join(sorted(found))}): use an id or a handle"
