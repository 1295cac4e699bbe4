"""Cloudflare tunnels of containers: the wish and the token are here, the program runs on the container's node (`agent.tunnels`).

The row is the truth; its node is told at once, and again by the sweep until it has heard: also after the container has moved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F, Q

from agent.protocol.tunnels import TunnelAsk, TunnelStart, TunnelState, TunnelStop
from audit.services import Actor, record
from containers import logs
from containers.models import Container, ContainerTunnel
from containers.services.locks import require_online
from containers.services.publish import announce, target
from lormas.common import clock
from lormas.common.crypto import WrongKey, decrypt, encrypt
from lormas.common.errors import Conflict, FieldError, Invalid, NodeSilent, NodeUnavailable, Problem, Refused

log = structlog.get_logger(__name__)
ASK_SECONDS = 5.0
TELL_SECONDS = 20.0
MOST_AT_ONCE = 200
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{16,4096}")
PASSING = ("starting", "waiting", "failed", "unknown")
"""States in which it is worth asking again soon."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What people are shown. `state`: off, waiting, starting, connected, failed, or unknown (its node does not answer; the rest is of then)."""

    configured: bool = False
    wanted: bool = False
    state: str = "off"
    detail: str = ""
    urls: list[str] = field(default_factory=list)
    connections: int = 0
    restarts: int = 0
    since: datetime | None = None
    checked_at: datetime | None = None

    @property
    def url(self) -> str:
        """The first one that can be opened; a wildcard can't."""
        return next((url for url in self.urls if "*" not in url), "")

    @property
    def is_passing(self) -> bool:
        return self.wanted and self.state in PASSING


def checked_token(text: str) -> str:
    """As Cloudflare gives it, or the whole command line that it shows with it. Raises ValueError with words for a person."""
    words = text.split()
    token = words[-1] if words else ""
    if not _TOKEN.fullmatch(token):
        raise ValueError("This is not a tunnel token: copy the long text behind --token from the tunnel's page at Cloudflare.")
    return token


def shown(container: Container, *, ask: bool = True) -> Tunnel:
    """Its state; with `ask` its node's own word, where the node answers soon. Never raises for a node that does not."""
    row = ContainerTunnel.objects.filter(pk=container.pk).first()
    if row is None:
        return Tunnel()
    silent = ""
    if ask and row.wanted:
        try:
            _take(row, _asked(container, "tunnel.state", TunnelAsk(), seconds=ASK_SECONDS))
        except Problem as problem:
            silent = problem.detail
    return _view(row, silent=silent)


def _view(row: ContainerTunnel, *, silent: str = "") -> Tunnel:
    state, detail = row.state, row.detail
    if silent:
        state, detail = "unknown", silent
    elif row.wanted and row.state == "off":
        state, detail = "starting", "Its node has not taken it up yet."
    elif not row.wanted and row.told_version != row.version:
        state, detail = "unknown", "Its node has not been told to stop it yet: it is told as soon as it answers."
    return Tunnel(
        configured=bool(row.sealed_token),
        wanted=row.wanted,
        state=state,
        detail=detail,
        urls=row.urls,
        connections=row.connections,
        restarts=row.restarts,
        since=row.state_since,
        checked_at=row.checked_at,
    )


def start(container: Container, *, token: str = "", actor: Actor) -> Tunnel:
    """Want it, from now on whenever the container runs. `token`: a new one; without it the kept one.

    Raises:
        Invalid `no_token`, `invalid_token`. Refused with the node's code (`unsupported`, `policy_denied`): it is not wanted then.
        NodeUnavailable: its node is offline.
    """
    node = require_online(container.node)
    if "tunnel" not in node.capabilities:
        raise Refused(f"Node {node.name} can't keep tunnels: its agent or its runtime is too old for that.", code="unsupported")
    with transaction.atomic():
        row = _locked(container)
        if token:
            row.sealed_token = _sealed(token)
        if not row.sealed_token:
            raise Invalid("There is no tunnel token yet.", code="no_token", errors=[FieldError("token", "Give the tunnel's token.", "required")])
        row.wanted, row.version = True, row.version + 1
        row.state, row.detail, row.urls, row.connections, row.restarts, row.state_since = "starting", "", [], 0, 0, clock.now()
        row.save()
        record("containers.tunnel_start", actor=actor, target=target(container), message="With a new token." if token else "")
        announce(container)
    try:
        _tell(container, row)
    except (NodeUnavailable, NodeSilent) as late:
        log.info("containers.tunnel_put_off", container=str(container.pk), reason=late.detail)
    except Problem as refused:
        with transaction.atomic():
            if ContainerTunnel.objects.filter(pk=row.pk, version=row.version).update(wanted=False, told_version=row.version, state="off"):
                record("containers.tunnel_stop", actor=actor, target=target(container), message=f"Its node refused it: {refused.detail[:200]}")
        raise
    return _view(row)


def stop(container: Container, *, actor: Actor, forget: bool = False) -> Tunnel:
    """End it. `forget`: its token too. An offline node is told when it is back. Raises Conflict `no_tunnel`."""
    with transaction.atomic():
        row = _locked(container)
        if not row.version or not (row.wanted or (forget and row.sealed_token)):
            raise Conflict(f"{container.name} has no tunnel that runs.", code="no_tunnel", extra={"state": "off", "allowed": ["start"]})
        row.version += 1
        row.wanted = False
        row.state, row.detail, row.urls, row.connections, row.state_since = "off", "", [], 0, clock.now()
        if forget:
            row.sealed_token = ""
        row.save()
        record("containers.tunnel_stop", actor=actor, target=target(container), message="Its token was forgotten." if forget else "")
        announce(container)
    try:
        _tell(container, row)
    except Problem as late:
        log.info("containers.tunnel_put_off", container=str(container.pk), reason=late.detail)
    return _view(row)


def keep_token(container: Container, token: str, *, actor: Actor) -> None:
    """Another token for the next start; an empty one forgets it. A tunnel that runs keeps its own until then. Raises Invalid `invalid_token`."""
    with transaction.atomic():
        row = _locked(container)
        row.sealed_token = _sealed(token) if token else ""
        row.save(update_fields=["sealed_token"])
        record("containers.tunnel_token", actor=actor, target=target(container), message="Kept." if token else "Forgotten.")


def settle() -> int:
    """Tell the nodes what they have not heard yet: wishes while they were away, tunnels of containers that have moved. Returns how many."""
    behind = ~Q(told_version=F("version")) | Q(wanted=True) & ~Q(told_epoch=F("container__epoch"))
    rows = ContainerTunnel.objects.filter(behind, version__gt=0, container__deleted_at=None, container__node__status="ACTIVE")
    told = 0
    for row in rows.select_related("container__node")[:MOST_AT_ONCE]:
        try:
            _tell(row.container, row)
            told += 1
        except Problem as problem:
            log.info("containers.tunnel_put_off", container=str(row.pk), reason=problem.detail)
            if isinstance(problem, Refused):
                ContainerTunnel.objects.filter(pk=row.pk, version=row.version).update(state="failed", detail=problem.detail[:500])
    return told


def _locked(container: Container) -> ContainerTunnel:
    ContainerTunnel.objects.get_or_create(pk=container.pk)
    return ContainerTunnel.objects.select_for_update().get(pk=container.pk)


def _sealed(token: str) -> str:
    try:
        return encrypt(checked_token(token), keys=settings.FIELD_KEYS)
    except ValueError as error:
        raise Invalid("The tunnel token is wrong.", code="invalid_token", errors=[FieldError("token", str(error), "invalid")]) from None


def _tell(container: Container, row: ContainerTunnel) -> None:
    if row.wanted:
        try:
            token = decrypt(row.sealed_token, keys=settings.FIELD_KEYS)
        except WrongKey:
            raise Refused("Its token can't be decrypted any more: give it again.", code="no_token") from None
        wish: msgspec.Struct = TunnelStart(token=token, version=row.version)
    else:
        wish = TunnelStop(version=row.version)
    answer = _asked(container, "tunnel.start" if row.wanted else "tunnel.stop", wish, seconds=TELL_SECONDS)
    row.told_version, row.told_epoch = row.version, container.epoch
    ContainerTunnel.objects.filter(pk=row.pk, version=row.version).update(told_version=row.version, told_epoch=container.epoch)
    _take(row, answer)


def _asked(container: Container, kind: str, question: msgspec.Struct, *, seconds: float) -> TunnelState:
    answer: dict[str, Any] = logs.ask(container, kind, question, timeout_seconds=seconds)
    try:
        return msgspec.convert(answer.get("tunnel", {}), TunnelState)
    except msgspec.ValidationError as error:
        raise NodeSilent(f"Its node's answer can't be read: {error}") from None


def _take(row: ContainerTunnel, said: TunnelState) -> None:
    """What the node says, if it speaks of the newest wish. One that knows an older one is told again by the sweep (its folder was lost)."""
    if said.version < row.version:
        ContainerTunnel.objects.filter(pk=row.pk, version=row.version).update(told_version=0)
        return
    row.state, row.detail, row.urls = said.state, said.detail[:500], [url for url in said.urls if url.startswith("https://")][:20]
    row.connections, row.restarts = min(said.connections, 1000), min(said.restarts, 10**9)
    row.state_since = datetime.fromtimestamp(said.since_unix, UTC) if 0 < said.since_unix < 32503680000 else row.state_since
    row.checked_at = clock.now()
    names = ("state", "detail", "urls", "connections", "restarts", "state_since", "checked_at")
    ContainerTunnel.objects.filter(pk=row.pk, version=row.version).update(**{name: getattr(row, name) for name in names})
