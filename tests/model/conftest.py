"""A small fleet to fan events out to."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from reconciler.model.hook import DataSource, EventType, OutgoingHook, Retry, SigningSecrets
from reconciler.model.snapshot import Bot, Snapshot
from reconciler.model.template import Template

if TYPE_CHECKING:
    from collections.abc import Callable


def hook(hook_id: str, event: EventType, *, data_source: str | None = None, enabled: bool = True) -> OutgoingHook:
    """An outgoing webhook of the bot `support`."""
    return OutgoingHook(
        id=hook_id,
        address=f"support/{hook_id}",
        type=event,
        enabled=enabled,
        bot="support",
        data_source=data_source,
        url=Template.parse("https://receiver.example/"),
        timeout_ms=10_000,
        retry=Retry(attempts=5, schedule_ms=(30_000,), jitter=0.1),
        concurrency=8,
        secret_header=True,
        standard_webhooks=True,
        custom=None,
        secrets=SigningSecrets(current="s"),
    )


def source(handle: str, source_id: str, name: str) -> DataSource:
    """A data source of the bot `support`."""
    return DataSource(
        address=f"support/{handle}", bot="support", id=source_id, name=name, sync=None, timeout_ms=1_000
    )


@pytest.fixture
def support() -> Bot:
    """A bot with three data sources, two of one name, and hooks of two types."""
    success, started = EventType.SYNC_SUCCESS, EventType.CONVERSATION_STARTED
    return Bot(
        handle="support",
        id="def-456",
        name="My Bot",
        data_sources={
            "docs": source("docs", "ds-1", "Data source one"),
            "faq": source("faq", "ds-2", "Twin"),
            "blog": source("blog", "ds-3", "Twin"),
        },
        hooks={
            success: (
                hook("docs-only", success, data_source="support/docs"),
                hook("faq-only", success, data_source="support/faq"),
                hook("any", success),
                hook("off", success, enabled=False),
            ),
            started: (hook("chat", started), hook("chat-off", started, enabled=False)),
        },
    )


@pytest.fixture
def snapshot(support: Bot) -> Snapshot:
    """The bot `support` among bots that share a name."""
    twins = tuple(
        Bot(handle=handle, id=bot_id, name="Twin", data_sources={}, hooks={})
        for handle, bot_id in [("left", "l-1"), ("right", "r-1")]
    )
    bots = (support, *twins)
    return Snapshot(
        generation=1,
        lineage="l",
        serial=1,
        bots={bot.handle: bot for bot in bots},
        bots_by_id={bot.id: bot for bot in bots},
        bots_by_name={"My Bot": (support,), "Twin": twins},
    )


@pytest.fixture
def new_id() -> Callable[[], str]:
    """Ids that count up."""
    numbers = count(1)
    return lambda: f"id-{next(numbers)}"
