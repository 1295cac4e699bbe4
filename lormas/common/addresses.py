"""Where a request comes from."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from django.conf import settings
from django.http import HttpRequest

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=8)
def _networks(entries: tuple[str, ...]) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(entry, strict=False) for entry in entries)


def _clean(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text.strip().removeprefix("[").split("%")[0].split("]")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _trusted(address: str, proxies: Sequence[_Network]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in proxies)


def client_address(request: HttpRequest) -> str | None:
    """The peer's address; `X-Forwarded-For` is believed only as far as it was written by `TRUSTED_PROXIES` (E07).

    Read from the right: the first address that is no trusted proxy is the client. None where the peer has none (unix socket).
    """
    return address_of(str(request.META.get("REMOTE_ADDR") or ""), forwarded=request.headers.get("X-Forwarded-For", ""))


def address_of(peer_address: str, *, forwarded: str) -> str | None:
    """The same for callers without a request: sockets. `forwarded`: the header's value, or ""."""
    peer = _clean(peer_address)
    if peer is None:
        return None
    proxies = _networks(tuple(settings.TRUSTED_PROXIES))
    if not proxies or not _trusted(peer, proxies):
        return peer
    for hop in reversed(forwarded.split(",")[-16:]):
        address = _clean(hop)
        if address is None:
            return peer
        peer = address
        if not _trusted(address, proxies):
            return address
    return peer
