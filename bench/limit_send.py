"""The second half of the limit: a bare aiohttp loop that signs the body and posts it."""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import hmac
import os
import time
from typing import TYPE_CHECKING

import aiohttp
import uvloop
from wire import event, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
KEY = bytes(range(32))
DELIVERY_ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def signed(body: bytes) -> dict[str, str]:
    """The headers of a delivery, both signatures included."""
    now_s = int(time.time())  # noqa: TID251 - a measurement stands outside the program's rule
    content = f"{DELIVERY_ID}.{now_s}.".encode() + body
    return {
        "Content-Type": "application/json",
        "User-Agent": "bench",
        "X-Secret-Key": SECRET,
        "X-ChatThing-Signature": "sha256=" + hmac.digest(SECRET.encode(), body, hashlib.sha256).hex(),
        "X-ChatThing-Delivery-Id": DELIVERY_ID,
        "X-ChatThing-Event": "conversation.started",
        "webhook-id": DELIVERY_ID,
        "webhook-timestamp": str(now_s),
        "webhook-signature": "v1," + base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode(),
    }


async def main() -> None:
    """Send everything with the given number of requests in flight, then report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    head, tail = event(0)
    warm_up = options.events // 10
    url = f"http://127.0.0.1:{options.port}/hooks/0"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:

        async def post_on(numbers: Iterator[int]) -> None:
            for number in numbers:
                body = head + b"%08d" % number + tail
                async with session.post(url, data=body, headers=signed(body), allow_redirects=False) as answer:
                    await answer.read()
                    assert answer.status == 200

        async def post(events: int) -> None:
            numbers = iter(range(events))
            async with asyncio.TaskGroup() as tasks:
                for _ in range(options.in_flight):
                    tasks.create_task(post_on(numbers))

        await post(warm_up)
        started, cpu = time.monotonic(), os.times()
        await post(options.events)
        spent = os.times()
        tell(
            {
                "seconds": time.monotonic() - started,
                "cpu_s": spent.user + spent.system - cpu.user - cpu.system,
            }
        )


if __name__ == "__main__":
    uvloop.run(main())
