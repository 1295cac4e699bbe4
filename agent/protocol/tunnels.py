"""Questions about a container's Cloudflare tunnel. See `agent.protocol.commands.RPCS`."""

from __future__ import annotations

from typing import Literal

from agent.protocol.parts import Part


class TunnelState(Part, frozen=True):
    """How a tunnel is. `waiting`: it begins with its container; `failed`: its program ended and is tried again."""

    state: Literal["off", "waiting", "starting", "connected", "failed"] = "off"
    detail: str = ""
    """In words, for people: why it failed or waits."""
    urls: list[str] = []
    """Under which addresses its account publishes it, as far as the program told."""
    connections: int = 0
    restarts: int = 0
    """How often its program had to be started again since somebody started the tunnel."""
    since_unix: float = 0
    """When it came into this state."""
    version: int = 0
    """Of the wish that this is about."""


class TunnelStart(Part, frozen=True):
    """`tunnel.start` -> {"tunnel": TunnelState}: keep a tunnel beside the container whenever it runs. Kept over restarts of the agent.

    Errors `unsupported`, `policy_denied`. `version` grows with each wish: one that is older than what is known changes nothing.
    """

    token: str
    version: int


class TunnelStop(Part, frozen=True):
    """`tunnel.stop` -> {"tunnel": TunnelState}: end it and forget its token."""

    version: int


class TunnelAsk(Part, frozen=True):
    """`tunnel.state` -> {"tunnel": TunnelState}."""


TUNNEL_RPCS: dict[str, type[Part]] = {"tunnel.start": TunnelStart, "tunnel.stop": TunnelStop, "tunnel.state": TunnelAsk}
