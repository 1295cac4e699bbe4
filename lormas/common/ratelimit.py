"""Counters that limit how often something happens: in Redis, so that all processes share them and a restart forgets nothing.

Atomic: under any concurrency at most `limit` hits of a window are allowed (E08). Each subject has a key of its own, so one flood
never closes the door to others (E09).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import redis
import structlog
from django.conf import settings

log = structlog.get_logger(__name__)


class LimiterDown(Exception):
    """Redis does not answer. The caller decides: doors that guard secrets refuse, others let pass."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to one hit."""

    allowed: bool
    limit: int
    remaining: int
    reset_seconds: int


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `limit` hits in `window_seconds`, counted from the first."""

    name: str
    limit: int
    window_seconds: int

    def _key(self, subject: str) -> str:
        # Hashed: subjects are names and addresses that people typed; they must neither be long nor be read in a dump.
        return f"{settings.RATE_LIMIT_PREFIX}:{self.name}:{hashlib.blake2s(subject.encode(errors='replace')).hexdigest()}"

    def hit(self, subject: str) -> Verdict:
        """Count one. Raises LimiterDown."""
        key = self._key(subject)
        try:
            with client().pipeline(transaction=True) as pipe:
                pipe.set(key, 0, nx=True, ex=self.window_seconds)
                pipe.incr(key)
                pipe.pttl(key)
                _, count, left_ms = pipe.execute()
        except redis.RedisError as error:
            log.warning("ratelimit.down", error=str(error))
            raise LimiterDown(str(error)) from error
        count = int(count)
        reset = max(1, -(-int(left_ms) // 1000)) if int(left_ms) > 0 else self.window_seconds
        return Verdict(count <= self.limit, self.limit, max(0, self.limit - count), reset)

    def give_back(self, subject: str) -> None:
        """Take one hit back (it turned out to be none). Never opens a window that a flood closed: earlier hits stay counted (E10)."""
        key = self._key(subject)
        try:
            if int(client().decr(key)) < 0:
                client().delete(key)  # the window ended in between: DECR made a key without expiry
        except redis.RedisError as error:
            log.warning("ratelimit.down", error=str(error))

    def forget(self, subject: str) -> None:
        """Drop the count (an administrator's act)."""
        try:
            client().delete(self._key(subject))
        except redis.RedisError as error:
            log.warning("ratelimit.down", error=str(error))


@lru_cache(maxsize=1)
def client() -> redis.Redis:
    """The connection that counts. Its calls raise redis.RedisError within 2 s where no server is."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2, health_check_interval=30)
