"""Logs: one JSON object a line, from whoever logs, and no secret in any."""

from __future__ import annotations

import errno
import io
import json
import logging
import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import structlog

from reconciler.logs import FEW, MANY, WINDOW_S, Dam, configure_logs, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "14e6c7131ce0465cb46ec109e7de0719"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw/+=="


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


class Full(io.StringIO):
    """A stream on a full disk, until there is room again."""

    room = False

    def write(self, text: str) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)

    def flush(self) -> None:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging as it was, afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def test_lines_are_json_when_nobody_watches() -> None:
    """Event, level and time on each, and the fields that were given."""
    stream = io.StringIO()
    configure_logs(stream=stream)
    structlog.get_logger("reconciler.x").info("delivery.done", delivery_id="d", attempts=2)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["delivery_id"], line["attempts"]) == ("delivery.done", "info", "d", 2)
    assert line["timestamp"].endswith("Z")


def test_lines_are_for_people_on_a_terminal() -> None:
    """Unless JSON is asked for."""
    stream = Terminal()
    configure_logs(stream=stream)
    structlog.get_logger().info("serving", url="http://127.0.0.1:8080")
    assert "serving" in stream.getvalue()
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(stream.getvalue())
    stream = Terminal()
    configure_logs(stream=stream, format="json")
    structlog.get_logger().info("serving")
    assert json.loads(stream.getvalue())["event"] == "serving"


def test_no_line_commands_a_terminal() -> None:
    """Escape sequences, line breaks and bidirectional overrides in a value show as what they are."""
    stream = Terminal()
    configure_logs(stream=stream)
    structlog.get_logger("x").warning("sync\x1b[2J", reason="\x1b]0;owned\x07", more="\x9b31m", name="a\u202eb\nc")
    logging.getLogger("y").warning("\x1b[31m%s", "\x1b[1A")
    written = stream.getvalue()
    for shown in (r"sync\x1b[2J", r"\x1b]0;owned\x07", r"\x9b31m", r"a\u202eb", r"\x1b[31m\x1b[1A"):
        assert shown in written
    assert written.count("\n") == 2
    without_colours = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert without_colours.replace("\n", "").isprintable()


def test_the_level_holds_for_everybody() -> None:
    """Own lines and libraries' below it are dropped; libraries' debugging always is."""
    stream = io.StringIO()
    configure_logs(stream=stream, level="warning")
    structlog.get_logger().info("own")
    logging.getLogger("uvicorn.error").info("library")
    logging.getLogger("uvicorn.error").warning("kept %s", 1)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert (line["event"], line["logger"]) == ("kept 1", "uvicorn.error")
    stream = io.StringIO()
    configure_logs(stream=stream, level="debug")
    logging.getLogger("asyncio").debug("chatter")
    structlog.get_logger().debug("own")
    assert [json.loads(text)["event"] for text in stream.getvalue().splitlines()] == ["own"]


def test_setting_up_twice_logs_once() -> None:
    """The former set-up is replaced."""
    first, second = io.StringIO(), io.StringIO()
    configure_logs(stream=first)
    configure_logs(stream=second)
    logging.getLogger("x").warning("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_a_line_is_lost_rather_than_raised_when_the_disk_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever logs goes on with its work, and later lines are written again."""
    stream = Full()
    configure_logs(stream=stream)
    structlog.get_logger().error("store.unavailable")
    logging.getLogger("uvicorn.error").error("library")
    stream.room = True
    structlog.get_logger().info("room again")
    logging.getLogger("uvicorn.error").warning("and here")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["room again", "and here"]
    assert capsys.readouterr().err == ""


class Watch:
    """Time that moves when it is told to."""

    def __init__(self) -> None:
        self.s = 1_000.0

    def __call__(self) -> float:
        return self.s


def test_a_flood_is_held_back_and_counted() -> None:
    """Ten lines of a kind about one webhook pass in a minute; the first one of the next says how many did not."""
    watch = Watch()
    dam = Dam(watch)
    told = [dam.passes("attempt.failed", "bot/a") for _ in range(50)]
    assert told == [(True, 0)] * FEW + [(False, 0)] * (50 - FEW)
    assert dam.passes("attempt.failed", "bot/b") == (True, 0)
    assert dam.passes("lease.lost", "bot/a") == (True, 0)
    watch.s += WINDOW_S
    assert dam.passes("attempt.failed", "bot/a") == (True, 50 - FEW)
    assert dam.passes("attempt.failed", "bot/a") == (True, 0)


def test_a_flood_about_everybody_is_held_back_too() -> None:
    """A thousand receivers that fail at once are a flood, though each fails little; memory of them is bounded."""
    watch = Watch()
    dam = Dam(watch)
    assert sum(dam.passes("attempt.failed", f"bot/{number}")[0] for number in range(1_000)) == MANY
    for number in range(30_000):
        watch.s += 0.1
        dam.passes("attempt.failed", f"other/{number}")
    assert len(dam._windows) <= 10_002


def test_what_is_logged_passes_the_dam() -> None:
    """Own lines by webhook, libraries' by their message; debugging is exempt."""
    stream = io.StringIO()
    configure_logs(stream=stream, level="debug")
    log = structlog.get_logger()
    for number in range(40):
        log.warning("attempt.failed", hook="bot/a", number=number)
        log.debug("delivery.delivered", hook="bot/a")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request received: %s", number)
    log.warning("attempt.failed", hook="bot/b")
    events = Counter(json.loads(line)["event"].partition(":")[0] for line in stream.getvalue().splitlines())
    assert events == {"attempt.failed": FEW + 1, "delivery.delivered": 40, "Invalid HTTP request received": FEW}


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_passes_the_last_filter(form: str) -> None:
    """Trigger URLs, signing secrets and credentials, in fields, messages, tracebacks and warnings."""
    stream = io.StringIO()
    configure_logs(stream=stream, format=form)  # type: ignore[arg-type] # one of the literals
    url = f"http://h/api/public/hooks/38362dae-a2b4-4484-8ced-920082a40b45/{SECRET}?x=1"
    log = structlog.get_logger()
    log.info("called", url=url, nested={"deep": [SIGNING, {"headers": {"X-Secret-Key": SECRET}}]})
    log.warning("with Authorization: Bearer %s", SECRET)
    logging.getLogger("aiohttp").error("GET %s failed", url)
    error = RuntimeError(f"no route to {url} with {SIGNING}")
    log.error("failed", exc_info=error)
    logging.getLogger("asyncio").error("also failed", exc_info=error)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)  # pytest has put its own capturing over ours
        warnings.warn(f"deprecated {url}", UserWarning, stacklevel=1)
    text = stream.getvalue()
    assert text.count("[redacted]") >= 8
    assert SECRET not in text
    assert SIGNING[6:] not in text
    assert "38362dae-a2b4-4484-8ced-920082a40b45" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/hooks/",
        "https://crm.example.com/hooks/crm",
        "/api/v1/hooks/support-bot/crm-new-chat",
        "whsec_",
        "the bearer of news",
        "basic idea",
        'X-Secret-Key: "',
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """The filter knows shapes, and blanks nothing else."""
    assert redact(text) == text
