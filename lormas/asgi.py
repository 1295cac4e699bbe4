"""The ASGI application: HTTP by Django, the agents' socket by its gateway, browsers' sockets behind Channels' session middleware."""

from __future__ import annotations

import os
from typing import Any

from lormas.common import collector, handler

collector.loading()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
http = handler.application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - apps must be loaded first
from django.urls import get_resolver  # noqa: E402

from containers.live.socket import client_socket  # noqa: E402
from lormas.common import bodies, patience  # noqa: E402
from nodes import gateway, warden  # noqa: E402
from reservations import keeper  # noqa: E402

bodies.install()
patience.install()
client = AuthMiddlewareStack(client_socket)
get_resolver().url_patterns  # noqa: B018 - all views, now and not with somebody's first request
collector.loaded()


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Agents have a route of their own: they send no Origin and carry no cookie."""
    warden.ensure_started()
    keeper.ensure_started()
    if scope["type"] != "websocket":
        await http(scope, bodies.receiving(scope, receive), bodies.sending(scope, send))
        return
    path = scope["path"].rstrip("/")
    if path == "/api/ws/nodes":
        await gateway.application(scope, receive, send)
    elif path.startswith("/api/ws/nodes/streams/"):
        await gateway.bulk_application(scope, receive, send)
    elif path == "/ws":
        await client(scope, receive, send)
    else:
        await receive()
        await send({"type": "websocket.close", "code": 4404})
