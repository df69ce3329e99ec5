"""The YAML firewall: bytes to a Document in one pass over the parser's events, within limits.

Nothing is composed and nothing recurses: `yaml.load` dies of a signal on 50,000 brackets, and a file in a watched
folder must never be able to do that to a daemon. Aliases share the value they name, and a running count of what
they would expand to stops those whose walk would not end.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from reconciler.config.document import INDEX_BITS, Document
from reconciler.config.scalars import CoreScalars, Unrepresentable, yaml11_reading
from reconciler.config.syntax import explain, undecodable
from reconciler.problem import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from reconciler.problem import Problem

__all__ = ["ALIASES_MAX", "DEPTH_MAX", "DIRECTIVES_MAX", "EXPANSION_MAX", "FILE_BYTES_MAX", "PROBLEMS_MAX", "read"]

FILE_BYTES_MAX = 5 * 1024 * 1024
DEPTH_MAX = 32
ALIASES_MAX = 1_000
EXPANSION_MAX = 500_000
"""How many values the aliases of one file may stand for in all, merged ones included."""
DIRECTIVES_MAX = 10
"""The parser compares every directive with every other."""
PROBLEMS_MAX = 100
"""After how many problems of its own a file is read no further."""


def read(name: str, content: bytes, *, base_dir: str) -> tuple[Document, list[Problem]]:
    """A file's document and what is wrong with it as YAML.

    With any error, `data` is None or not the whole of it, fit to find more problems in and for nothing else.
    """
    document = Document(name=name, text="", base_dir=base_dir)
    if len(content) > FILE_BYTES_MAX:
        size, most = len(content) / 2**20, FILE_BYTES_MAX // 2**20
        message = f"the file has {size:.1f} MB, more than the {most} MB that a file may have: split it into several"
        return document, [document.problem(0, "file-too-large", message)]
    try:
        document.text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        document.text = content.decode("utf-8-sig", errors="replace")
        return document, [undecodable(document, error)]
    return document, _Reader(document).read()


class _Stop(Exception):
    """Nothing after this point can be understood; the problems say why."""


class _Merge:
    """Takes the place of a `<<` key until its mapping is complete."""


class _Dropped:
    """Takes the place of a key that is not to be kept, such as a duplicate, until its mapping is complete."""


class _Reader:
    """One pass over one file. Split into methods by how often they run: `_values` is the hot loop."""

    def __init__(self, document: Document) -> None:
        import yaml  # noqa: PLC0415 - 20 ms that only reading YAML needs

        self.document = document
        self.marks = document.marks
        self.problems: list[Problem] = []
        self.scalars = CoreScalars()
        self.keys: dict[str, str] = {}
        self.anchors: dict[str, Any] = {}
        self.weights: dict[str, int] = {}
        self.open_anchors: dict[int, tuple[str, int]] = {}
        self.irregular: set[int] = set()
        self.aliases = 0
        self.expanded = 0
        self.nodes = 0
        self.skipped = False
        self.yaml = yaml
        self.next_event: Callable[[], Any] = yaml.CSafeLoader(document.text).get_event

    def read(self) -> list[Problem]:
        """Fill in the document's data; the problems met on the way."""
        yaml = self.yaml
        try:
            if self.document.text.count("\n%") > DIRECTIVES_MAX:
                message = "the file has too many lines that begin with %"
                raise self._stop(self.document.text.index("\n%") + 1, "yaml-syntax", message)
            self.next_event()  # the stream's start
            if type(self.next_event()) is yaml.StreamEndEvent:
                message = "the file holds nothing: a configuration begins with `version: 1`"
                raise self._stop(0, "yaml-empty", message)
            self.document.data = self._values()
            self.next_event()  # the document's end
            following = self.next_event()
            if type(following) is not yaml.StreamEndEvent:
                message = "a second YAML document begins here; a file holds one: put the other into a file of its own"
                raise self._stop(following.start_mark.index, "yaml-documents", message)
            self._lint()
        except _Stop:
            pass
        except yaml.YAMLError as error:
            if self.skipped:
                return self.problems  # what was passed over explains it
            self.problems.append(explain(self.document, error))
        return self.problems

    def _values(self) -> Any:  # noqa: C901, PLR0912, PLR0915 - the hot loop: calls would cost more than the work
        """The root value. The loop knows where it stands by `key`: None in a mapping is "a key comes next"."""
        yaml = self.yaml
        scalar_event, mapping_start = yaml.ScalarEvent, yaml.MappingStartEvent
        sequence_start, alias_event = yaml.SequenceStartEvent, yaml.AliasEvent
        next_event, scalars, keys, marks_of = self.next_event, self.scalars, self.keys, self.marks
        stack: list[tuple[Any, list[int]]] = []
        root: list[Any] = []
        container: Any = root
        marks: list[int] = []
        mapping = False
        key: Any = None
        key_index = 0
        while True:
            event = next_event()
            kind = type(event)
            self.nodes += 1
            if kind is scalar_event:
                index = event.start_mark.index
                value: Any = event.value
                if event.anchor is not None or event.tag is not None:
                    self._decorated(event, index)
                if mapping and key is None:
                    key = keys.setdefault(value, value)
                    key_index = index
                    if key in container or (key == "<<" and event.implicit[0]) or not key:
                        key = self._unusual_key(container, marks, key, index, plain=event.implicit[0])
                    continue
                if event.implicit[0]:
                    value = scalars[value]
                    if type(value) is Unrepresentable:
                        self._unrepresentable(index)
                    if event.anchor is not None:
                        self.anchors[event.anchor] = value
                elif "\0" in value:
                    self._nul(index)
            elif kind is mapping_start or kind is sequence_start:
                index = event.start_mark.index
                if mapping and key is None:
                    self._collection_as_key(container, index, flow=event.flow_style)
                    continue
                value = {} if kind is mapping_start else []
                if event.anchor is not None or event.tag is not None:
                    self._decorated(event, index)
                    if event.anchor is not None:
                        self.open_anchors[id(value)] = (event.anchor, self.nodes)
            elif kind is alias_event:
                index = event.start_mark.index
                value = self._alias(event.anchor, index)
                if mapping and key is None:
                    if not isinstance(value, str):
                        self._report_at(
                            index, "yaml-key", "this alias stands for a value that cannot be a key: write the key"
                        )
                        value = "*"
                    key, key_index = value, index
                    if key in container:
                        key = self._unusual_key(container, marks, key, index, plain=False)
                    continue
            else:  # the end of a mapping or a sequence
                self._complete(container, marks)
                marks_of[id(container)] = array("Q", marks)
                container, marks = stack.pop()
                if not stack:
                    return root[0]
                mapping, key = type(container) is dict, None
                continue

            if mapping:
                container[key] = value
                marks.append(key_index << INDEX_BITS | index)
                key = None
            else:
                container.append(value)
                marks.append(index)
            if kind is mapping_start or kind is sequence_start:
                stack.append((container, marks))
                if len(stack) > DEPTH_MAX:
                    message = f"values are nested more than {DEPTH_MAX} deep"
                    raise self._stop(index, "yaml-depth", message)
                container, marks, mapping = value, [], kind is mapping_start
            elif not stack:
                return root[0]

    # -- the rare cases, out of the loop's way -------------------------------------------------------------------

    def _decorated(self, event: Any, index: int) -> None:
        """Refuse a tag; remember a scalar's anchor (with its text: a plain one's value comes later)."""
        if event.tag is not None:
            self._report_at(index, "yaml-tag", "tags are not supported: remove this one, or quote the whole value")
        if event.anchor is not None and type(event) is self.yaml.ScalarEvent:
            self.anchors[event.anchor] = event.value
            self.weights[event.anchor] = 1

    def _unusual_key(self, container: dict[Any, Any], marks: list[int], key: str, index: int, *, plain: bool) -> Any:
        """A merge key, an empty key, or a key that the mapping has already: an object that stands in for it."""
        self.irregular.add(id(container))
        if key in container:
            first = marks[list(container).index(key)] >> INDEX_BITS
            place = self.document.place(first)
            message = f"the key `{key[:80]}` stands here a second time; the first is on line {place.line}"
            self._report_at(index, "duplicate-key", message, also=place)
            return _Dropped()
        if not key:
            self._report_at(index, "yaml-key", "a key is missing before this colon")
            return _Dropped()
        assert plain
        return _Merge()

    def _collection_as_key(self, container: dict[Any, Any], index: int, *, flow: bool) -> None:
        """Report a mapping or list where a key belongs, and pass over it and its value."""
        text = self.document.text
        if flow and index and text[index - 1 : index + 1] == "{{":
            message = "a template like {{conversation.id}} is read as a mapping here: put the value in quotes"
            self._report_at(index - 1, "unquoted-template", message)
        else:
            self._report_at(index, "yaml-key", "a mapping or a list cannot be a key: keys are plain text")
        self.skipped = True
        self._skip(1)
        self._skip(0)
        self.irregular.add(id(container))

    def _skip(self, depth: int) -> None:
        """Pass over the rest of a collection (`depth` 1) or over one whole value (0)."""
        yaml = self.yaml
        while True:
            event = self.next_event()
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    raise _Stop  # what was reported explains it, and the parser slows down with depth
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth <= 0:
                return

    def _alias(self, anchor: str, index: int) -> Any:
        """The value an alias names, after charging for what it stands for."""
        self.aliases += 1
        if self.aliases > ALIASES_MAX:
            raise self._stop(index, "yaml-aliases", f"the file uses more than {ALIASES_MAX:,} aliases")
        if anchor not in self.anchors:
            if any(anchor == name for name, _ in self.open_anchors.values()):
                raise self._stop(index, "yaml-alias", "this alias stands inside the value it names")
            if self.skipped:
                raise _Stop
            raise self._stop(
                index, "yaml-alias", "this alias names an anchor that is not set before it: quote it if it is text"
            )
        self.nodes += self.weights[anchor]
        self.expanded += self.weights[anchor]
        if self.expanded > EXPANSION_MAX:
            message = (
                f"the aliases of this file stand for more than {EXPANSION_MAX:,} values: write out what they repeat"
            )
            raise self._stop(index, "yaml-expansion", message)
        return self.anchors[anchor]

    def _complete(self, container: Any, marks: list[int]) -> None:
        """Settle what could not be settled while the container was open: its anchor, its merges, dropped keys."""
        if self.open_anchors:
            opened = self.open_anchors.pop(id(container), None)
            if opened is not None:
                anchor, before = opened
                self.anchors[anchor] = container
                self.weights[anchor] = self.nodes - before + 1
        if id(container) not in self.irregular:
            return
        self.irregular.discard(id(container))
        entries = list(zip(container.items(), marks, strict=True))
        container.clear()
        marks.clear()
        merged: list[tuple[Any, int]] = []
        for (key, value), mark in entries:
            if isinstance(key, _Merge):
                merged.append((value, mark))
            elif not isinstance(key, _Dropped):
                container[key] = value
                marks.append(mark)
        for value, mark in merged:
            self._merge(container, marks, value, mark & ((1 << INDEX_BITS) - 1))

    def _merge(self, container: dict[str, Any], marks: list[int], value: Any, index: int) -> None:
        """Add what a `<<` brings and the mapping does not say itself; of several sources the first wins."""
        for source in value if isinstance(value, list) else [value]:
            if not isinstance(source, dict):
                self._report_at(
                    index, "yaml-merge", "`<<` merges a mapping or a list of mappings, and this is neither"
                )
                return
            for (key, entry), mark in zip(source.items(), self.marks[id(source)], strict=True):
                if key not in container:
                    container[key] = entry
                    marks.append(mark)

    def _unrepresentable(self, index: int) -> None:
        self._report_at(
            index, "yaml-number", "this number is beyond what JSON can hold: put it in quotes if it is text"
        )

    def _nul(self, index: int) -> None:
        self._report_at(index, "control-character", "a NUL character stands in this text")

    def _lint(self) -> None:
        """Warn of plain scalars that a YAML 1.1 reader takes for something else; one more pass, only where needed."""
        suspects = self.scalars.suspects
        if not suspects or self.problems:
            return
        next_event: Callable[[], Any] = self.yaml.CSafeLoader(self.document.text).get_event
        scalar_event: Any = self.yaml.ScalarEvent
        while (event := next_event()) is not None and len(self.problems) < PROBLEMS_MAX:
            if type(event) is scalar_event and event.implicit[0] and event.value in suspects:
                reading = yaml11_reading(event.value)
                here = "a number" if type(self.scalars[event.value]) is int else "text"
                message = (
                    f"`{event.value[:40]}` is {here} here, and {reading} to tools that read YAML 1.1: quote text"
                )
                problem = self.document.problem(
                    event.start_mark.index, "yaml11-scalar", message, severity=Severity.WARNING
                )
                self.problems.append(problem)

    def _report_at(self, index: int, code: str, message: str, *, also: Any = None) -> None:
        self.problems.append(self.document.problem(index, code, message, also=also))
        if len(self.problems) >= PROBLEMS_MAX:
            raise _Stop

    def _stop(self, index: int, code: str, message: str) -> _Stop:
        self.problems.append(self.document.problem(index, code, message))
        return _Stop()
