"""The panel as it is, but that its sockets look at the database every ten minutes only: what ends in between was told to (see test_real_losses)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

application = import_module("lormas.asgi").application  # first: it sets Django up
sockets: Any = import_module("containers.live.socket")
sockets.RECHECK_SECONDS = 600.0
