from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework.test import APIClient


@pytest.fixture
def api() -> APIClient:
    return APIClient()


@pytest.fixture
def sample(settings: Any) -> Iterator[list[Any]]:
    """The sample routes; yields what their bodies were."""
    from tests.lormas.sample_urls import RUNS

    settings.ROOT_URLCONF = "tests.lormas.sample_urls"
    RUNS.clear()
    yield RUNS
    RUNS.clear()
