"""The web program: daphne on an uvloop, and an answer that proves to the quick start that it is this very run which answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from lormas.quickstart.config import STOP_SECONDS
from lormas.quickstart.leash import never_outlive_supervisor

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

PROBE_HEADER = b"x-lormas-probe"
WEBSOCKET_PING_SECONDS = 20


class Identified:
    """Echoes the run's id to whoever already knows it: another panel on this port can't, so nobody says 'ready' in its place."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]], run_id: str) -> None:
        self._application = application
        self._run_id = run_id.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/healthz" and (PROBE_HEADER, self._run_id) in scope["headers"]:
            inner = send

            async def send(message: dict[str, Any]) -> None:
                if message["type"] == "http.response.start":
                    message = {**message, "headers": [*message.get("headers", []), (PROBE_HEADER, self._run_id)]}
                await inner(message)

        await self._application(scope, receive, send)


def main() -> None:
    never_outlive_supervisor(grace=STOP_SECONDS)
    try:
        import uvloop
    except ImportError:
        pass
    else:
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())  # before daphne.server makes its loop
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    from daphne.endpoints import build_endpoint_description_strings

    from lormas.asgi import application

    run_id = os.environ.get("LORMAS_RUN_ID", "")
    from django.conf import settings

    from audit.sealer import Sealer  # apps are loaded by now
    from lormas.quickstart.draining import DrainingServer

    Sealer().start()
    DrainingServer(
        application=Identified(application, run_id) if run_id else application,
        endpoints=build_endpoint_description_strings(host=settings.HOST, port=settings.PORT),
        signal_handlers=True,
        action_logger=None,  # daphne's own access log prints query strings; django-structlog logs requests
        ping_interval=WEBSOCKET_PING_SECONDS,
        ping_timeout=2 * WEBSOCKET_PING_SECONDS,
        websocket_timeout=-1,  # an idle socket of an agent lives
        websocket_connect_timeout=10,
        application_close_timeout=3,
        server_name="lormas",
    ).run()


if __name__ == "__main__":
    main()
