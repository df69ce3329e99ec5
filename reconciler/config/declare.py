"""Bots gathered from files to resources: defaults laid under, specs made canonical, all of it digested."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from reconciler.model.hook import NOTIFY_ADDRESS, EventType, NotifyType
from reconciler.model.resource import Declared, Key, Kind
from reconciler.model.spec import canonical_bot, canonical_data_source, canonical_webhook

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reconciler.config.gather import Entry, GatheredBot

__all__ = ["declare", "digest", "effective", "former_addresses", "former_handles"]


def declare(bots: Mapping[str, GatheredBot], notify: Entry | None) -> dict[Key, Declared]:
    """Every resource of a configuration without errors, sorted by key."""
    resources: list[Declared] = []
    for handle, bot in bots.items():
        raw = {key: value for block in bot.blocks for key, value in block.raw.items()}
        resources.append(
            Declared(
                key=Key(Kind.BOT, handle),
                spec=canonical_bot(raw, handle),
                base_dir=bot.blocks[0].document.base_dir,
                moved_from=tuple(former_handles(bot)),
                locate=bot.place,
            )
        )
        resources += [
            _declared(Kind.DATA_SOURCE, f"{handle}/{name}", canonical_data_source(entry.raw, name), entry)
            for name, entry in bot.data_sources.items()
        ]
        handles = (handle, *former_handles(bot))
        resources += [
            _declared(
                Kind.WEBHOOK,
                f"{handle}/{name}",
                canonical_webhook(effective(entry)),
                entry,
                former_addresses(entry, handles),
            )
            for name, entry in bot.webhooks.items()
        ]
    if notify is not None:
        spec = canonical_webhook({**notify.raw, "type": NotifyType.NOTIFY.value, "enabled": True})
        resources.append(_declared(Kind.WEBHOOK, NOTIFY_ADDRESS, spec, notify))
    return {resource.key: resource for resource in sorted(resources, key=lambda resource: resource.key)}


def effective(entry: Entry) -> Mapping[str, Any]:
    """A webhook with its file's defaults laid under its own keys. Triggers take no defaults."""
    if not entry.defaults or entry.raw.get("type") == EventType.SYNC_TRIGGER:
        return entry.raw
    return _overlay(entry.defaults, entry.raw)


def former_handles(bot: GatheredBot) -> Sequence[str]:
    """The handles a bot says it had before."""
    return _listed(bot.saying("moved_from").raw.get("moved_from"))


def former_addresses(entry: Entry, bot_handles: Sequence[str]) -> tuple[str, ...]:
    """The addresses a webhook says it had before: a bare handle is below its bot, under any name the bot has had."""
    addresses: dict[str, None] = {}
    for former in _listed(entry.raw.get("moved_from")):
        addresses.update(dict.fromkeys([former] if "/" in former else [f"{bot}/{former}" for bot in bot_handles]))
    return tuple(addresses)


def digest(resources: Iterable[Declared]) -> str:
    """`sha256:…` of what the resources want, the same for any order of files and keys."""
    import orjson  # noqa: PLC0415 - the state's reader needs no digest

    hashed = hashlib.sha256()
    for resource in resources:
        row = [resource.key.kind, resource.key.address, resource.spec, resource.moved_from]
        hashed.update(orjson.dumps(row, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))
    return f"sha256:{hashed.hexdigest()}"


def _declared(
    kind: Kind, address: str, spec: Mapping[str, Any], entry: Entry, moved_from: tuple[str, ...] = ()
) -> Declared:
    return Declared(
        key=Key(kind, address),
        spec=spec,
        base_dir=entry.document.base_dir,
        moved_from=moved_from,
        locate=entry.place,
    )


def _listed(value: str | Sequence[str] | None) -> Sequence[str]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _overlay(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Key by key; a list, like any value that is not a mapping, is replaced as a whole."""
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        merged[key] = _overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
