"""The application around its doors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Message


@pytest.mark.parametrize("path", ["/api/v1/events", "trigger", "/api/v1/apply"])
def test_a_request_that_is_cut_off_is_told_to_come_back(web: Callable[..., None], path: str) -> None:
    """When the server stops waiting for a body: 503 with Retry-After, a line in the log, no exception."""

    async def body(web: Any) -> None:
        waiting = asyncio.Event()
        sent: list[Message] = []

        async def receive() -> Message:
            waiting.set()
            await asyncio.Event().wait()
            raise AssertionError("nobody sets that event")

        async def send(message: Message) -> None:
            sent.append(message)

        wanted = await web.services.trigger_path("support/published") if path == "trigger" else path
        scope = {
            "type": "http",
            "method": "POST",
            "path": wanted,
            "raw_path": wanted.encode(),
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer admin-token-1")],
        }
        with capture_logs() as logs:
            task = asyncio.ensure_future(web.call.app(scope, receive, send))
            await waiting.wait()
            task.cancel()
            await task
        assert [line["event"] for line in logs] == ["request.cut-off"]
        assert [message.get("status") for message in sent] == [503, None]
        assert b"retry-after" in dict(sent[0]["headers"])

    web(body)
