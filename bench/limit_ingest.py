"""The first half of the limit: a bare Starlette route that parses the event and answers 202."""

from __future__ import annotations

import sys
import threading

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002 - Starlette looks at the signature
from starlette.responses import Response
from starlette.routing import Route
from wire import tell

ANSWER = b'{"accepted":1}'


async def accept(request: Request) -> Response:
    """Parse, look at one field, answer."""
    event = orjson.loads(await request.body())
    assert event["conversation"]["botId"]
    return Response(ANSWER, status_code=202, media_type="application/json")


def main() -> None:
    """Serve until stdin ends."""
    app = Starlette(routes=[Route("/api/v1/events", accept, methods=["POST"])])
    config = uvicorn.Config(app, host="127.0.0.1", port=0, loop="uvloop", http="httptools", log_level="warning")
    config.access_log = False
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    tell({"port": socket.getsockname()[1]})

    def stop_at_end_of_input() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_at_end_of_input, daemon=True).start()
    server.run(sockets=[socket])


if __name__ == "__main__":
    main()
