"""Lists: one shape, bounded pages, and only declared names in `?ordering=` and `?search=`."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient


@pytest.fixture
def many(roles: Any) -> None:
    from accounts.models import Role

    Role.objects.bulk_create(Role(slug=f"extra-{number:03}", name=str(number)) for number in range(56))


def test_a_list_has_counts_links_and_25_entries(api: APIClient, sample: Any, many: None) -> None:
    body = api.get("/api/roles").json()
    assert {key: body[key] for key in ("count", "page", "page_size", "total_pages", "previous")} == {
        "count": 60, "page": 1, "page_size": 25, "total_pages": 3, "previous": None,
    }  # fmt: skip
    assert len(body["results"]) == 25
    assert body["next"].endswith("/api/roles?page=2")
    assert body["results"][0]["created_at"].endswith("Z")


def test_following_next_meets_every_entry_once(api: APIClient, sample: Any, many: None) -> None:
    seen: list[str] = []
    url: str | None = "/api/roles?page_size=7&ordering=-created"
    while url:
        body = api.get(url).json()
        seen += [row["slug"] for row in body["results"]]
        url = body["next"]
    assert len(seen) == len(set(seen)) == 60


@pytest.mark.parametrize(
    "query", ["page=0", "page=-1", "page=x", "page=1e18", "page=9999999999999999999", "page_size=201", "page_size=0", "page_size=1e9", "page=٣"]
)
def test_a_page_out_of_bounds_is_400(api: APIClient, sample: Any, many: None, query: str) -> None:
    """J02."""
    assert api.get(f"/api/roles?{query}").json()["code"] == "invalid"


def test_a_page_past_the_end_is_404(api: APIClient, sample: Any, many: None) -> None:
    assert api.get("/api/roles?page=4").status_code == 404


@pytest.mark.parametrize("name", ["users__password", "-users__password", "pk", "%3F", "created_at", "capabilities", "slug__x"])
def test_only_declared_names_order_a_list(api: APIClient, sample: Any, many: None, name: str) -> None:
    """C11: no look-up through relations."""
    response = api.get(f"/api/roles?ordering={name}")
    assert (response.status_code, response.json()["errors"][0]["field"]) == (400, "ordering")


def test_search_looks_at_declared_fields_and_takes_no_novel(api: APIClient, sample: Any, many: None) -> None:
    assert api.get("/api/roles?search=extra-00").json()["count"] == 10
    assert api.get("/api/roles?search=" + "a" * 201).status_code == 400
    assert api.get("/api/roles?users__password__startswith=a").json()["count"] == 60
