"""Keys that stand at the wrong depth: one mistake of indentation, whatever else the schema makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Misplaced", "misplaced"]

Path = tuple[str | int, ...]

_OF_A_WEBHOOK = frozenset(
    {
        "type",
        "url",
        "data_source",
        "enabled",
        "description",
        "secret",
        "secret_version",
        "rotation",
        "timeout",
        "retry",
        "concurrency",
        "signing",
        "custom_payload",
        "moved_from",
        "protected",
    }
)
_OF_A_BOT = frozenset({"id", "name", "data_sources", "webhooks", "moved_from"})
_OF_THE_ROOT = frozenset({"version", "defaults", "bots", "notify"})


class Misplaced(NamedTuple):
    """The first of a run of keys that stand side by side where they do not belong.

    `path` leads to what holds them, `keys` are all of the run, `before` is the key it follows. `what` says what the
    first one is, `where` what it belongs below.
    """

    path: Path
    keys: tuple[str, ...]
    before: str | None
    what: str
    where: str


class _Verdict(NamedTuple):
    what: str
    where: str


def misplaced(data: Any) -> Iterator[Misplaced]:
    """Every run of keys that look as if they had been written for another depth."""
    if not isinstance(data, dict):
        return
    yield from _runs((), data, _at_root)
    bots = _mapping(data, "bots")
    yield from _runs(("bots",), bots, _among_bots)
    among = {key for run in _runs(("bots",), bots, _among_bots) for key in run.keys}
    for handle in bots.keys() - among:
        bot = _mapping(bots, handle)
        yield from _runs(("bots", handle), bot, _in_a_bot)
        for block, judge in (("webhooks", _among_webhooks), ("data_sources", _among_data_sources)):
            yield from _runs(("bots", handle, block), _mapping(bot, block), judge)


def _mapping(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    child = parent.get(key)
    return child if isinstance(child, dict) else {}


def _runs(path: Path, holder: Mapping[str, Any], judge: Callable[[str, Any], _Verdict | None]) -> Iterator[Misplaced]:
    run: list[str] = []
    before: str | None = None
    first: _Verdict | None = None
    for key, value in holder.items():
        verdict = judge(key, value)
        if verdict is not None and first is not None:
            run.append(key)
            continue
        if first is not None:
            yield Misplaced(path, tuple(run), before, *first)
            before = run[-1]
        first = verdict
        if verdict is None:
            before = key
        else:
            run = [key]
    if first is not None:
        yield Misplaced(path, tuple(run), before, *first)


def _at_root(key: str, value: Any) -> _Verdict | None:
    if key in _OF_THE_ROOT or key.startswith("x-") or not isinstance(value, dict):
        return None
    if key in ("webhooks", "data_sources"):
        return _Verdict("is a key of a bot and stands outside of one", "the bot it belongs to")
    return (
        _Verdict("looks like a bot and stands outside of `bots`", "`bots`")
        if value.keys() & {"webhooks", "data_sources"}
        else None
    )


def _among_bots(key: str, value: Any) -> _Verdict | None:
    if key not in ("webhooks", "data_sources") or not isinstance(value, dict) or value.keys() & _OF_A_BOT:
        return None
    return _Verdict("is a key of a bot and stands outside of one", "the bot it belongs to")


def _in_a_bot(key: str, value: Any) -> _Verdict | None:
    if key in _OF_A_BOT:
        return None
    if isinstance(value, dict) and "type" in value:
        return _Verdict("looks like a webhook and stands outside of `webhooks`", "`webhooks`")
    if isinstance(value, dict) and "sync" in value:
        return _Verdict("looks like a data source and stands outside of `data_sources`", "`data_sources`")
    return (
        _Verdict("is a key of a webhook and stands outside of one", "the webhook it belongs to")
        if key in _OF_A_WEBHOOK
        else None
    )


def _among_webhooks(key: str, value: Any) -> _Verdict | None:
    if key not in _OF_A_WEBHOOK or (isinstance(value, dict) and value.keys() & {"type", "url", "data_source"}):
        return None
    return _Verdict("is a key of a webhook and stands outside of one", "the webhook it belongs to")


def _among_data_sources(key: str, value: Any) -> _Verdict | None:
    fits = isinstance(value, dict) and not value.keys() & {"http", "command"}
    if key not in ("id", "name", "sync") or fits:
        return None
    return _Verdict("is a key of a data source and stands outside of one", "the data source it belongs to")
