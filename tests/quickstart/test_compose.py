"""docker-compose.yml and the Dockerfile, as far as they can be judged without a registry."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from lormas.env import VARIABLES

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return YAML(typ="safe").load((ROOT / "docker-compose.yml").read_text())


def test_the_topology_is_the_one_of_the_quick_start_with_real_servers(compose) -> None:
    assert set(compose["services"]) == {"setup", "web", "worker", "beat", "postgres", "redis"}
    for name in ("web", "worker", "beat"):
        assert compose["services"][name]["depends_on"] == {"setup": {"condition": "service_completed_successfully"}}
    for service in compose["services"].values():
        assert set(service.get("networks", [])) <= set(compose["networks"])
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in compose["volumes"]


def test_only_the_console_is_published_and_only_on_loopback_by_default(compose) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert list(published) == ["web"]
    assert published["web"] == ["${BIND:-127.0.0.1}:${PORT:-8000}:8000"]
    assert compose["networks"]["inside"]["internal"] is True


def test_every_lasting_service_has_a_health_check(compose) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "HEALTHCHECK" in dockerfile  # for web
    for name in ("worker", "beat", "postgres", "redis"):
        assert "test" in compose["services"][name]["healthcheck"], name


def test_no_secret_has_a_default_and_none_is_in_argv(compose) -> None:
    """E05, S04."""
    text = (ROOT / "docker-compose.yml").read_text()
    for secret in ("SECRET_KEY", "POSTGRES_PASSWORD", "REDIS_PASSWORD"):
        assert re.search(rf"\$\{{{secret}:\?", text)
        assert not re.search(rf"\$\{{{secret}:-", text)
    assert "--requirepass" not in str(compose["services"]["redis"]["command"])
    assert compose["services"]["web"]["environment"]["SIGNUP_ENABLED"] == "${SIGNUP_ENABLED:-false}"


def test_every_variable_it_sets_is_one_that_the_panel_knows(compose) -> None:
    assert set(compose["services"]["web"]["environment"]) <= {variable.name for variable in VARIABLES}


def test_the_panel_never_sees_an_engine_and_runs_as_nobody_special(compose) -> None:
    assert "docker.sock" not in (ROOT / "docker-compose.yml").read_text()
    assert re.search(r"^USER lormas$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert compose["services"]["web"]["cap_drop"] == ["ALL"]


def test_each_stage_that_is_copied_from_exists() -> None:
    text = (ROOT / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM .* AS (\w+)$", text, re.MULTILINE))
    assert set(re.findall(r"--from=(\w+)", text)) <= stages
    for source in re.findall(r"^COPY (requirements/\S+)", text, re.MULTILINE):
        assert (ROOT / source).exists()
