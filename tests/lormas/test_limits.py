"""Limits of the API: strangers and people apart, refusals counted too, told in headers, kept by a server that was killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from rest_framework.test import APIClient

from lormas.common import ratelimit
from lormas.common.ratelimit import Limit, LimiterDown
from lormas.quickstart.brokers import server_command

pytestmark = pytest.mark.redis
HEADERS = {"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"}


def test_a_stranger_is_counted_at_doors_that_are_shut_to_them_too(api: APIClient, db: None, settings: Any) -> None:
    """E07: 401s are requests; without that a stranger asks for ever."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (3, 900)}
    for left in (2, 1, 0):
        answer = api.get("/api/containers")
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (401, str(left))
    refused = api.get("/api/containers")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert set(refused.headers) >= HEADERS
    assert api.get("/api/auth/providers").status_code == 429, "one count for all that strangers ask"
    assert api.get("/api/v1/auth/providers").json()["statusCode"] == 429


@pytest.mark.parametrize("token", ["garbage", "lor_" + "a" * 51])
def test_a_wrong_token_is_a_strangers(api: APIClient, db: None, settings: Any, token: str) -> None:
    """E07."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (3, 900)}
    codes = [api.get("/api/containers", headers={"Authorization": f"Bearer {token}"}).status_code for _ in range(5)]
    assert codes == [401, 401, 401, 429, 429]


def test_a_person_is_counted_where_they_may_not_go_and_apart_from_strangers(api: APIClient, charlie: Any, settings: Any) -> None:
    """E09."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (2, 900), "person": (4, 60)}
    for _ in range(3):
        api.get("/api/auth/providers")
    api.force_authenticate(charlie)
    assert [api.get("/api/users").status_code for _ in range(5)] == [403, 403, 403, 403, 429]


def test_health_is_asked_as_often_as_one_likes(api: APIClient, db: None, settings: Any) -> None:
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (2, 900)}
    assert {api.get(path).status_code for path in ("/healthz", "/api/healthz") for _ in range(5)} == {200}


def test_of_a_burst_no_more_than_the_limit_gets_through(db: None, settings: Any) -> None:
    """E08: 200 at once through the whole stack."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (50, 900)}
    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(lambda _: APIClient().get("/api/auth/providers").status_code, range(200)))
    assert (codes.count(200), codes.count(429)) == (50, 150)


def test_without_redis_strangers_are_let_through_and_doors_with_secrets_stay_shut(api: APIClient, alice: Any, monkeypatch: Any) -> None:
    """R24: the panel answers; nobody guesses passwords."""

    def down(self: Limit, subject: str) -> Any:
        raise LimiterDown("away")

    monkeypatch.setattr(Limit, "hit", down)
    assert api.get("/api/auth/providers").status_code == 200
    answer = api.post("/api/auth/sign-in", {"email": "alice", "password": "x"}, format="json")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "3")


class Server:
    """The quick start's own Redis, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            from lormas.quickstart.brokers import _embedded_binary

            binary = _embedded_binary()
        assert binary is not None
        self.sock = folder / "r.sock"
        self.command = server_command(binary, self.sock, folder)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, eventually: Callable[..., Any]) -> None:
        self.sock.unlink(missing_ok=True)
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = redis.Redis(unix_socket_path=str(self.sock))

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

        eventually(answers, seconds=60, what="a Redis that answers")

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(30)


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="lormas-") as short:  # a socket's path holds about 100 characters, so not below tmp_path
        found = Server(Path(short))
        yield found
        found.kill()


def test_a_limit_outlives_a_server_that_was_killed(server: Server, settings: Any, monkeypatch: Any, eventually: Callable[..., Any]) -> None:
    """E10: with the quick start's options; also while 10,000 other names knock."""
    server.start(eventually)
    settings.REDIS_URL = f"unix://{server.sock}"
    client = redis.Redis.from_url(settings.REDIS_URL)
    monkeypatch.setattr(ratelimit, "client", lambda: client)
    limit = Limit("restart", 3, 900)
    assert [limit.hit("victim").allowed for _ in range(4)] == [True, True, True, False]
    with client.pipeline() as pipe:
        for number in range(10_000):
            pipe.set(limit._key(f"other {number}"), 1, ex=900)
        pipe.execute()
    server.kill()
    with pytest.raises(LimiterDown):
        limit.hit("victim")
    server.start(eventually)
    verdict = limit.hit("victim")
    assert (verdict.allowed, verdict.remaining) == (False, 0)
    assert 0 < verdict.reset_seconds <= 900, "and the window is the old one"
