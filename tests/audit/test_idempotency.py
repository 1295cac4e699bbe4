"""The same Idempotency-Key acts once: it replays, refuses another body, and tells of a first request that still runs (SECURITY R36)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from rest_framework.test import APIClient

from audit.idempotency import forget_expired
from audit.models import StoredResponse
from lormas.common import clock
from tests.lormas.sample_urls import RUNS

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(settings: Any) -> APIClient:
    settings.ROOT_URLCONF = "tests.lormas.sample_urls"
    RUNS.clear()
    return APIClient()


def send(api: APIClient, key: str, body: dict[str, Any], path: str = "/api/echo") -> Any:
    return api.post(path, body, format="json", headers={"Idempotency-Key": key})


def test_the_same_request_again_gets_the_same_answer_and_acts_once(api: APIClient) -> None:
    """R36."""
    first, again = send(api, "k1", {"name": "a"}), send(api, "k1", {"name": "a"})
    assert (again.status_code, again.json(), again.headers["Location"]) == (first.status_code, first.json(), first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert len(RUNS) == 1


def test_another_body_or_route_under_the_same_key_is_422(api: APIClient) -> None:
    send(api, "k1", {"name": "a"})
    for answer in (send(api, "k1", {"name": "b"}), send(api, "k1", {"name": "a"}, path="/api/v1/echo")):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(RUNS) == 1


def test_a_refused_request_leaves_its_key_free(api: APIClient) -> None:
    assert send(api, "k1", {"name": "far too long a name"}).status_code == 400
    assert send(api, "k1", {"name": "a"}).status_code == 201


def test_keys_belong_to_their_caller(api: APIClient, alice: Any, bob: Any) -> None:
    for person in (alice, bob, None):
        api.logout()
        if person:
            api.force_login(person)
        answer = send(api, "k1", {"name": "a"})
        assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, None)
    assert len(RUNS) == 3


def _row(api: APIClient, age: timedelta, status: int | None = None) -> None:
    send(api, "k1", {"name": "a"})
    RUNS.clear()
    StoredResponse.objects.update(status_code=status, created_at=clock.now() - age)


def test_while_the_first_runs_the_second_is_told_so(api: APIClient) -> None:
    _row(api, timedelta(seconds=1))
    answer = send(api, "k1", {"name": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_in_flight")
    assert RUNS == []


def test_a_first_request_that_died_is_never_run_again_by_itself(api: APIClient) -> None:
    """R01: whether it took effect is unknown, so only a person may decide."""
    _row(api, timedelta(minutes=10))
    answer = send(api, "k1", {"name": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_outcome_unknown")
    assert RUNS == []


def test_after_a_day_the_key_is_new_again(api: APIClient) -> None:
    _row(api, timedelta(hours=25), status=201)
    assert send(api, "k1", {"name": "a"}).headers.get("Idempotency-Replayed") is None
    assert len(RUNS) == 1
    StoredResponse.objects.update(created_at=clock.now() - timedelta(hours=25))
    assert forget_expired() == 1


def test_stored_answers_are_not_readable_in_the_database(api: APIClient) -> None:
    """I03: an answer may have shown a token."""
    send(api, "k1", {"name": "a", "labels": {"k": "CANARY"}})
    assert "CANARY" not in StoredResponse.objects.get().body


@pytest.mark.parametrize("key", ["", "x" * 256, "a\x7fb"])
def test_a_key_that_is_none_is_400(api: APIClient, key: str) -> None:
    assert send(api, key, {"name": "a"}).json()["code"] == "idempotency_key_invalid"


def test_reading_ignores_the_header(api: APIClient) -> None:
    assert api.get("/api/echo", headers={"Idempotency-Key": "k1"}).status_code == 200
    assert not StoredResponse.objects.exists()
