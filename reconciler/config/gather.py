"""Many files to one set of bots: who declares what, and where two files claim the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from reconciler.config.document import Document
    from reconciler.problem import Place, Problem

__all__ = ["Entry", "GatheredBot", "gather", "gather_notify"]

_OF_ONE_FILE = ("id", "name", "moved_from")


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A mapping of one file with the place of its key; `defaults` are the file's, where the entry takes any.

    `broken` says that the schema has refused something in it: its keys are known, its values are not to be judged.
    """

    document: Document
    raw: Mapping[str, Any]
    key_index: int
    defaults: Mapping[str, Any] | None = None
    broken: bool = False

    def index(self, path: str, *, value: bool = False) -> int:
        """Where the field at the dotted `path` is written (its value with `value`), else where the entry is.

        What the file's defaults say is there.
        """
        for root in (self.raw, self.defaults):
            if root is not None:
                found = _find(self.document, root, path, value=value)
                if found is not None:
                    return found
        return self.key_index

    def place(self, path: str) -> Place:
        """What `Declared.locate` asks for: where the field is written, else the nearest of what it would stand in."""
        own = self.document.key_index(self.raw, path)  # most that are asked for are there
        if own is not None:
            return self.document.place(own)
        while path:
            index = self.index(path)
            if index != self.key_index:
                return self.document.place(index)
            path = path.rpartition(".")[0]
        return self.document.place(self.key_index)


@dataclass(slots=True)
class GatheredBot:
    """A bot as all files together declare it: the blocks that name it, and what hangs on it."""

    handle: str
    blocks: list[Entry] = field(default_factory=list)
    data_sources: dict[str, Entry] = field(default_factory=dict)
    webhooks: dict[str, Entry] = field(default_factory=dict)

    def saying(self, key: str) -> Entry:
        """The block that gives `key`, else the first one."""
        return next((block for block in self.blocks if key in block.raw), self.blocks[0])

    def place(self, path: str) -> Place:
        """The place of one of the bot's own fields."""
        return self.saying(path.partition(".")[0]).place(path)


def gather(
    documents: Sequence[Document], broken: Mapping[str, Collection[tuple[str | int, ...]]], problems: list[Problem]
) -> dict[str, GatheredBot]:
    """The bots by handle. `broken` holds by file the paths of the bots, sources and webhooks that were refused.

    Two files that declare the same thing are a problem that names both places; the first one counts.
    """
    bots: dict[str, GatheredBot] = {}
    for document in documents:
        refused = broken.get(document.name, ())
        root = document.data
        defaults = root.get("defaults") if isinstance(root, dict) else None
        if not isinstance(defaults, dict) or ("defaults",) in refused:
            defaults = None
        for handle, raw, key_index in _mappings(document, root, "bots"):
            bot = bots.setdefault(handle, GatheredBot(handle))
            path = ("bots", handle)
            _add_block(bot, Entry(document, raw, key_index, broken=path in refused), problems)
            for name, source, index in _children(document, raw, "data_sources"):
                is_mapping = isinstance(source, dict)
                is_broken = not is_mapping or (*path, "data_sources", name) in refused
                entry = Entry(document, source if is_mapping else {}, index, broken=is_broken)
                _add(bot.data_sources, f"data source `{handle}/{name}`", name, entry, problems)
            for name, hook, index in _mappings(document, raw, "webhooks"):
                entry = Entry(document, hook, index, defaults, (*path, "webhooks", name) in refused)
                _add(bot.webhooks, f"webhook `{handle}/{name}`", name, entry, problems)
    return bots


def gather_notify(
    documents: Sequence[Document], broken: Mapping[str, Collection[tuple[str | int, ...]]], problems: list[Problem]
) -> Entry | None:
    """Where notices go, which one file may say: a second one is a problem that names both places."""
    found: dict[str, Entry] = {}
    for document in documents:
        raw = document.data.get("notify") if isinstance(document.data, dict) else None
        index = document.key_index(document.data, "notify")
        if isinstance(raw, dict) and index is not None:
            entry = Entry(document, raw, index, broken=("notify",) in broken.get(document.name, ()))
            _add(found, "target of notices", "notify", entry, problems)
    return found.get("notify")


def _mappings(document: Document, parent: Any, key: str) -> Iterable[tuple[str, dict[str, Any], int]]:
    """The entries below `key` that are mappings, as far as the shape allows: the schema reports what is not."""
    return (child for child in _children(document, parent, key) if isinstance(child[1], dict))


def _children(document: Document, parent: Any, key: str) -> Iterator[tuple[str, Any, int]]:
    children = parent.get(key) if isinstance(parent, dict) else None
    if isinstance(children, dict):
        for name, value, key_index, _ in document.entries(children):
            yield name, value, key_index


def _add_block(bot: GatheredBot, block: Entry, problems: list[Problem]) -> None:
    for key in _OF_ONE_FILE:
        if key not in block.raw:
            continue
        first = next((other for other in bot.blocks if key in other.raw), None)
        if first is not None:
            problems.append(_twice(f"`{key}` of the bot `{bot.handle}`", block.index(key), block, first.place(key)))
    bot.blocks.append(block)


def _add(entries: dict[str, Entry], what: str, name: str, entry: Entry, problems: list[Problem]) -> None:
    first = entries.setdefault(name, entry)
    if first is not entry:
        problems.append(_twice(f"the {what}", entry.key_index, entry, first.place("")))


def _twice(what: str, index: int, entry: Entry, first: Place) -> Problem:
    message = f"{what} is declared a second time; the first is at {first.file}:{first.line}"
    return entry.document.problem(index, "declared-twice", message, also=first)


def _find(document: Document, root: Mapping[str, Any], path: str, *, value: bool) -> int | None:
    """The index of a field. A key that holds dots itself, as a header's name may, is matched as a whole."""
    if path in root:  # as most that are asked for are
        return document.value_index(root, path) if value else document.key_index(root, path)
    container: Any = root
    index: int | None = None
    rest = path
    while rest:
        key: str | int
        key, _, rest = rest.partition(".")
        if isinstance(container, list):
            key = int(key) if key.isdecimal() else -1
        elif isinstance(container, dict):
            while rest and key not in container:
                more, _, rest = rest.partition(".")
                key = f"{key}.{more}"
        index = document.value_index(container, key) if value else document.key_index(container, key)
        if index is None:
            return None
        container = container[key]
    return index
