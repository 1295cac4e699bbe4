"""Every request: an id in and out, the client's true address, both spellings of a path, private answers, a limit for strangers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.test import APIClient

from lormas.common.addresses import client_address
from lormas.common.ratelimit import Limit


def test_a_request_id_comes_back_and_a_bad_one_is_replaced(api: APIClient, sample: Any) -> None:
    assert api.get("/api/echo", headers={"X-Request-ID": "abc.DEF-1_2"}).headers["X-Request-ID"] == "abc.DEF-1_2"
    for bad in ("a b", "x" * 65, "<script>", ""):
        assert api.get("/api/echo", headers={"X-Request-ID": bad}).headers["X-Request-ID"] not in (bad, "")


def test_both_spellings_of_a_path_reach_the_view_without_a_redirect(api: APIClient, sample: Any) -> None:
    for path in ("/api/echo", "/api/echo/", "/api/v1/echo", "/api/v1/echo/"):
        assert api.post(path, {"name": "a"}, format="json").status_code == 201


def test_answers_are_private_and_not_sniffed(api: APIClient, sample: Any) -> None:
    """H03, H04."""
    headers = api.get("/api/echo").headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert {"Accept", "Authorization", "Cookie"} <= {part.strip() for part in headers["Vary"].split(",")}


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "expected"),
    [
        ([], "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        (["10.0.0.0/8"], "198.51.100.7", "203.0.113.9", "198.51.100.7"),
        (["10.0.0.0/8"], "10.1.1.1", "203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.1.1", "1.2.3.4, 203.0.113.9", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.1.1", "203.0.113.9, 10.2.2.2", "203.0.113.9"),
        (["10.0.0.0/8"], "10.1.1.1", "rubbish", "10.1.1.1"),
        (["10.0.0.0/8"], "10.1.1.1", "", "10.1.1.1"),
        (["::1"], "::1", "::ffff:203.0.113.9", "203.0.113.9"),
        ([], "", "203.0.113.9", None),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    settings: Any, proxies: list[str], peer: str, forwarded: str, expected: str | None
) -> None:
    """E07: a rotated X-Forwarded-For buys no fresh limit."""
    settings.TRUSTED_PROXIES = proxies
    assert client_address(RequestFactory().get("/", REMOTE_ADDR=peer, headers={"X-Forwarded-For": forwarded})) == expected


@pytest.mark.redis
def test_a_stranger_has_100_requests_and_then_waits(api: APIClient, sample: Any, fresh_limits: None) -> None:
    for left in range(99, -1, -1):
        response = api.get("/api/throttled")
        assert (response.status_code, response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == (200, "100", str(left))
    refused = api.get("/api/throttled", headers={"X-Forwarded-For": "203.0.113.9"})
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 900
    assert refused.headers["X-RateLimit-Remaining"] == "0"


@pytest.mark.redis
def test_one_flood_closes_no_other_door(api: APIClient, sample: Any, fresh_limits: None, alice: Any) -> None:
    """E09."""
    for _ in range(101):
        api.get("/api/throttled")
    assert api.get("/api/throttled", REMOTE_ADDR="198.51.100.7").status_code == 200
    api.force_authenticate(alice)
    assert api.get("/api/throttled").status_code == 200


@pytest.mark.redis
def test_exactly_the_limit_passes_however_many_knock_at_once(fresh_limits: None) -> None:
    """E08: 200 parallel tries, 20 allowed."""
    limit = Limit("burst", 20, 60)
    with ThreadPoolExecutor(40) as pool:
        verdicts = list(pool.map(lambda _: limit.hit("subject"), range(200)))
    assert sum(verdict.allowed for verdict in verdicts) == 20


@pytest.mark.redis
def test_giving_back_frees_one_hit_and_never_makes_credit(fresh_limits: None) -> None:
    """E10."""
    limit = Limit("credit", 2, 60)
    for _ in range(5):
        limit.give_back("subject")
    assert [limit.hit("subject").allowed for _ in range(3)] == [True, True, False]
