"""Logs: JSON lines for machines, colours for a terminal, and neither a secret nor a flood in either.

Whatever is logged, by this program or by a library through the standard library's logging, becomes one line of text
and passes one last filter that blanks everything shaped like a secret. Nothing should ever reach that filter; it is
there for the day on which something does.

What happens a thousand times a minute is told ten times and counted: a store that is away, or a receiver that fails,
must not fill the disk with the news of it. Debugging is exempt.
"""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO, TypeAlias, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, MutableMapping

    from structlog.typing import Processor

__all__ = ["FEW", "MANY", "WINDOW_S", "Dam", "LogFormat", "configure_logs", "redact"]

LogFormat: TypeAlias = Literal["auto", "json", "console"]

WINDOW_S = 60.0
FEW = 10
"""Lines of one event about one webhook, data source or nothing in particular that pass in a window."""
MANY = 200
"""Lines of one event about all of them that do."""
_SUBJECTS = ("hook", "data_source", "logger", "code")
_SUBJECTS_MAX = 10_000

_SECRETS = (
    (re.compile(r"(?<!/api/v1)(/hooks/[^/\s\"'?#]+/)[^/\s\"'?#\\]+"), r"\1[redacted]"),
    (re.compile(r"whsec_[A-Za-z0-9+/_=-]{8,}"), "whsec_[redacted]"),
    (re.compile(r"(?i)\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{6,}"), r"\1\2[redacted]"),
    (re.compile(r"(?i)(x-secret-key[\"']?\s*[:=,]\s*b?[\"']?)[^\s\"',)]+"), r"\1[redacted]"),
)
"""Trigger URLs, generated signing secrets, credentials of an Authorization header, the reference's secret header."""


def redact(text: str) -> str:
    """`text` with everything that is shaped like a secret blanked."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class _Lossy:
    """A stream that drops what it cannot write.

    The log often shares a disk with the store. When that disk is full, or whoever read the log has gone, a line is
    lost; it must not raise where it was logged, since there the daemon has an answer to give.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


@dataclass(slots=True)
class _Window:
    """What has passed and what has not since `started_s`."""

    started_s: float
    passed: int = 0
    held: int = 0


class Dam:
    """Lets the first lines of a kind pass and holds back the others; the first one afterwards says how many."""

    def __init__(self, monotonic_s: Callable[[], float]) -> None:
        self._monotonic_s = monotonic_s
        self._windows: dict[Hashable, _Window] = {}

    def passes(self, event: str, subject: str) -> tuple[bool, int]:
        """Whether a line passes now, and how many of its kind were held back in the window before."""
        now_s = self._monotonic_s()
        if len(self._windows) > _SUBJECTS_MAX:
            self._windows = {key: one for key, one in self._windows.items() if now_s - one.started_s < WINDOW_S}
        own, held = self._window((event, subject), now_s)
        all_, _ = self._window(event, now_s)
        if own.passed >= FEW or all_.passed >= MANY:
            own.held += 1
            return False, 0
        own.passed += 1
        all_.passed += 1
        return True, held

    def _window(self, key: Hashable, now_s: float) -> tuple[_Window, int]:
        """The window that is open, and what was held back in one that has just ended."""
        window = self._windows.get(key)
        if window is not None and now_s - window.started_s < WINDOW_S:
            return window, 0
        self._windows[key] = opened = _Window(now_s)
        return opened, 0 if window is None else window.held

    def __call__(
        self, _logger: object, method: str, event: MutableMapping[str, object]
    ) -> MutableMapping[str, object]:
        """The dam as a processor of structlog's."""
        from structlog import DropEvent  # noqa: PLC0415 - only a process that logs pays for it

        if method != "debug":
            subject = next((str(event[name]) for name in _SUBJECTS if name in event), "")
            passes, held = self.passes(str(event.get("event", "")), subject)
            if not passes:
                raise DropEvent
            if held:
                event["left_out"] = held
        return event

    def filter(self, record: logging.LogRecord) -> bool:
        """The dam as a filter of the standard library's, for what others log."""
        return self.passes(record.name, str(record.msg))[0]


class _Redacted:
    """A renderer whose line has passed the filter."""

    def __init__(self, render: Processor) -> None:
        self._render = render

    def __call__(self, logger: object, method: str, event: MutableMapping[str, object]) -> str:
        return redact(str(self._render(logger, method, event)))


def configure_logs(*, level: str = "info", format: LogFormat = "auto", stream: TextIO | None = None) -> None:  # noqa: A002 - the flag's name
    """Send every log line of the process to `stream` (stderr), from `level` on.

    `auto` writes JSON lines unless the stream is a terminal. Calling it again replaces the former set-up.
    """
    import structlog  # noqa: PLC0415 - only a process that logs pays for it

    watched = stream or sys.stderr
    colors = watched.isatty()
    target = cast("TextIO", _Lossy(watched))  # a logger only writes and flushes
    as_json = format == "json" or (format == "auto" and not colors)
    dam = Dam(time.monotonic)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    ending = _ending(as_json=as_json, colors=colors)
    structlog.configure(
        processors=[dam, *shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(target),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(target)
    handler.addFilter(dam.filter)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.captureWarnings(capture=True)
    root = logging.getLogger()
    for former in list(root.handlers):
        if isinstance(former.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(max(threshold, logging.INFO))


def _ending(*, as_json: bool, colors: bool) -> list[Processor]:
    import structlog  # noqa: PLC0415 - only a process that logs pays for it

    if as_json:
        return [structlog.processors.format_exc_info, _Redacted(structlog.processors.JSONRenderer())]
    console = structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    return [_printable, _Redacted(console)]


def _printable(_logger: object, _method: str, event: MutableMapping[str, object]) -> MutableMapping[str, object]:
    """Escape what a terminal would obey: a sync's last words, say, come from somebody we do not know.

    JSON escapes by itself.
    """
    for name, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[name] = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)
    return event
