"""Each service of a Compose file that names an image becomes an egg; what can't be kept is a warning."""

from __future__ import annotations

import json
from typing import Any

import pytest

from eggs.formats import EggRefused, parse_all
from eggs.rendering import render


def read(text: str | dict[str, Any]) -> Any:
    data = text if isinstance(text, str) else json.dumps(text)
    return parse_all(data.encode(), filename="compose.yaml" if isinstance(text, str) else "compose.json")


def one(**service: Any) -> Any:
    return read({"services": {"web": {"image": "nginx:1", **service}}}).eggs[0]


def codes(found: Any) -> list[str]:
    return sorted(warning.code for warning in found.warnings)


FILE = """
name: shop
x-base: &base {restart: always, stop_grace_period: 1m30s}
services:
  web:
    <<: *base
    image: "nginx:${TAG:-1.27}"
    entrypoint: /entry.sh
    command: ["run", "--name", "${NAME:-shop}", "$$HOME"]
    ports: ["80", "53/udp", {target: 443}]
    environment: {A: 1, B: "${B:?say it}", C: "a$$b", D: null}
    volumes: ["data:/srv/data"]
    tmpfs: /tmp
    healthcheck: {test: "curl -f localhost || exit 1", interval: 10s, timeout: 2s, retries: 5, start_period: 1m}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M, pids: 99}}}
    user: "1000:1000"
    working_dir: /srv
    stop_signal: SIGINT
    tty: true
  db: {image: postgres:16}
volumes: {data: {}}
"""


def test_a_file_comes_in_service_by_service() -> None:
    found = read(FILE)
    assert [egg.definition.name for egg in found.eggs] == ["shop web", "shop db"]
    assert {egg.version for egg in found.eggs} == {"COMPOSE"}
    egg = found.eggs[0].definition
    assert codes(found.eggs[0]) == ["W_IGNORED", "W_INTERPOLATED"], "restart is chosen with the container"
    assert (egg.runs, egg.default_image, egg.entrypoint) == ("image", "nginx:1.27", ["/entry.sh"])
    assert egg.command == ["run", "--name", "{{NAME}}", "$HOME"]
    assert [(port.container, port.protocol) for port in egg.ports] == [(80, "tcp"), (53, "udp"), (443, "tcp")]
    assert (egg.data_target, egg.tmpfs, egg.user, egg.working_dir, egg.tty) == ("/srv/data", ["/tmp"], "1000:1000", "/srv", True)
    assert (egg.stop, egg.grace_seconds) == ("^SIGINT", 90)
    assert (egg.limits.cpus, egg.limits.memory_bytes, egg.limits.pids) == (0.5, 64 * 1024**2, 99)
    assert egg.health is not None
    assert (egg.health.test, egg.health.interval_seconds, egg.health.timeout_seconds, egg.health.retries, egg.health.start_seconds) == (
        ["CMD-SHELL", "curl -f localhost || exit 1"], 10, 2, 5, 60,
    )  # fmt: skip
    assert [(v.env_variable, v.default_value, v.rules[0]) for v in egg.variables] == [
        ("A", "1", "nullable"), ("B", "", "required"), ("C", "a$b", "nullable"), ("D", "", "nullable"), ("NAME", "shop", "nullable"),
    ]  # fmt: skip
    made = render(egg, values={"NAME": "a b; $(id)", "B": "x"}, privileged=False)
    assert made.errors == []
    assert made.command == ["run", "--name", "a b; $(id)", "$HOME"], "C01: a value is one argument, no shell takes part"
    assert "D" not in made.env, "what nobody gave is the image's to set"
    assert [error.field for error in render(egg, values={}, privileged=False).errors] == ["variables.B"]


def test_the_same_file_again_is_the_same_egg() -> None:
    assert [egg.definition.uuid for egg in read(FILE).eggs] == [egg.definition.uuid for egg in read(FILE.replace("1.27", "1.28")).eggs]
    assert read({"services": {"a": {"image": "x"}}}).eggs[0].definition.uuid == "", "without a project's name it could be anybody's"


def test_what_asks_for_the_machine_is_a_wish_with_a_warning() -> None:
    """A01, A05, A06, A07."""
    found = one(
        privileged=True, network_mode="host", devices=["/dev/dri:/dev/dri:rwm"], cap_add=["NET_ADMIN", "CAP_SYS_PTRACE"],
        volumes=["/:/host", {"type": "bind", "source": "/var/run/docker.sock", "target": "/s", "read_only": True}],
    )  # fmt: skip
    assert [(wish.kind, wish.value) for wish in found.definition.privileges] == [
        ("bind", "/:/host"), ("bind", "/var/run/docker.sock:/s:ro"), ("privileged", ""), ("host_network", ""), ("device", "/dev/dri"),
        ("capability", "NET_ADMIN"), ("capability", "SYS_PTRACE"),
    ]  # fmt: skip
    assert codes(found) == ["W_PRIVILEGED"]


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ({"pid": "host"}, "W_NAMESPACE"),
        ({"ipc": "host", "uts": "host"}, "W_NAMESPACE"),
        ({"userns_mode": "host"}, "W_NAMESPACE"),
        ({"cgroup_parent": "/"}, "W_NAMESPACE"),
        ({"volumes_from": ["other"]}, "W_NAMESPACE"),
        ({"network_mode": "container:other"}, "W_NETWORK"),
        ({"network_mode": "service:db"}, "W_NETWORK"),
        ({"security_opt": ["seccomp:unconfined"]}, "W_IGNORED"),
        ({"sysctls": {"kernel.core_pattern": "|/x"}}, "W_IGNORED"),
        ({"logging": {"driver": "syslog"}}, "W_IGNORED"),
        ({"runtime": "sysbox"}, "W_IGNORED"),
        ({"extra_hosts": ["a:1.2.3.4"]}, "W_IGNORED"),
        ({"secrets": ["x"]}, "W_IGNORED"),
        ({"restart": "unless-stopped"}, "W_IGNORED"),
        ({"platform": "linux/arm64"}, "W_IGNORED"),
        ({"deploy": {"replicas": 3}}, "W_IGNORED"),
        ({"deploy": {"resources": {"reservations": {"devices": [{"capabilities": ["gpu"]}]}}}}, "W_IGNORED"),
        ({"depends_on": ["db"]}, "W_IGNORED"),
        ({"labels": {"a": "b"}}, "W_LABELS"),
        ({"env_file": ".env"}, "W_ENV_FILE"),
        ({"build": "."}, "W_BUILD"),
        ({"ports": ["8080:80"]}, "W_HOST_PORT"),
        ({"ports": ["0.0.0.0:22:22"]}, "W_HOST_PORT"),
        ({"volumes": ["./conf:/etc/nginx"]}, "W_FILES"),
        ({"volumes": ["a:/a", "b:/b"]}, "W_VOLUMES"),
        ({"volumes": ["a:relative"]}, "W_VOLUME"),
        ({"stop_signal": "SIGQUIT"}, "W_STOP_SIGNAL"),
        ({"user": "a b"}, "W_USER"),
        ({"healthcheck": {"test": ["sh", "x"]}}, "W_HEALTHCHECK"),
        ({"environment": ["A B=1"]}, "W_ENV"),
        ({"devices": ["/etc/passwd"]}, "W_LEFT_OUT"),
        ({"cap_add": ["x y"]}, "W_LEFT_OUT"),
    ],
)
def test_what_is_not_kept_is_told(service: dict[str, Any], code: str) -> None:
    """A06, A10, A12 among them: joined namespaces, log drivers, host ports never come in."""
    found = one(**service)
    assert codes(found) == [code]
    assert found.definition.privileges == []


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ({"build": "."}, "E_NEEDS_BUILD"),
        ({"extends": {"file": "a.yml", "service": "x"}}, "E_NEEDS_GIT"),
        ({}, "E_IMAGES"),
        ({"image": "a b"}, "E_IMAGE_REF"),
        ({"image": "${NOPE}"}, "E_IMAGES"),
        ({"image": "x", "command": "a 'b"}, "E_STARTUP"),
        (["x"], "E_NOT_MAPPING"),
    ],
)
def test_a_service_that_can_not_run_is_left_out_and_the_rest_comes_in(service: Any, code: str) -> None:
    found = read({"services": {"bad": service, "good": {"image": "nginx"}}})
    assert [egg.definition.name for egg in found.eggs] == ["good"]
    assert [(skipped.name, skipped.code) for skipped in found.skipped] == [("bad", code)]
    with pytest.raises(EggRefused) as refused:
        read({"services": {"bad": service}})
    assert refused.value.code == code


BASE = {
    "image": "app:1", "environment": {"A": "1", "B": "2"}, "ports": ["80"], "volumes": ["data:/data", "/srv:/srv"], "command": ["a"],
    "healthcheck": {"test": ["CMD", "a"], "interval": "5s"}, "deploy": {"resources": {"limits": {"cpus": "1", "memory": "64M"}}},
}  # fmt: skip


def test_a_service_that_extends_one_of_its_file_is_written_out() -> None:
    own = {
        "extends": {"service": "base"}, "environment": ["B=3", "C"], "ports": ["81"], "volumes": ["other:/data"], "command": "b",
        "healthcheck": {"test": "c"}, "deploy": {"resources": {"limits": {"cpus": "2"}}},
    }  # fmt: skip
    egg = read({"services": {"web": own, "top": {"extends": "web", "image": "top:1"}, "base": BASE}}).eggs
    assert [found.definition.default_image for found in egg] == ["app:1", "top:1", "app:1"]
    for found in egg[:2]:
        made = found.definition
        assert [(v.env_variable, v.default_value) for v in made.variables] == [("A", "1"), ("B", "3"), ("C", "")]
        assert ([port.container for port in made.ports], made.command, made.data_target) == ([80, 81], ["b"], "/data")
        assert [wish.value for wish in made.privileges] == ["/srv:/srv"], "A07: what is extended is asked for just the same"
        assert made.health is not None
        assert (made.health.test, made.health.interval_seconds) == (["CMD-SHELL", "c"], 5)
        assert (made.limits.cpus, made.limits.memory_bytes) == (2, 64 * 1024**2)


def test_extending_has_an_end() -> None:
    """C09: a circle, a stranger, and what would be put together without end."""
    found = read({"services": {"good": BASE, "a": {"extends": "b"}, "b": {"extends": "a"}, "c": {"extends": {"service": "nope"}}}})
    assert [(skipped.name, skipped.code) for skipped in found.skipped] == [("a", "E_EXTENDS"), ("b", "E_EXTENDS"), ("c", "E_EXTENDS")]
    many = {"image": "a", "environment": {f"N{number}": "" for number in range(1900)}}
    found = read({"services": {"base": many} | {f"s{number}": {"extends": "base", "environment": ["X"]} for number in range(50)}})
    assert {skipped.code for skipped in found.skipped} == {"E_EXTENDS"}
    assert 10 < len(found.eggs) < 40


def test_a_file_of_forty_services_may_share_by_anchors() -> None:
    lines = "".join(f"  s{number}: {{<<: *base, environment: *env}}\n" for number in range(40))
    found = read(f"x-base: &base {{image: app}}\nx-env: &env {{A: '1'}}\nservices:\n{lines}")
    assert len(found.eggs) == 40


@pytest.mark.parametrize(
    ("written", "image"),
    [
        ("a:${T:-1}", "a:1"), ("a:${T-${U:-2}}", "a:2"), ("${R:-reg:5000/}a", "reg:5000/a"), ("a${T:+:1}", "a"), ("${IMAGE:-a:${T:-3}}", "a:3"),
        ("$$a", ""), ("a:$T", ""),
    ],
)  # fmt: skip
def test_defaults_may_hold_a_name_with_a_default(written: str, image: str) -> None:
    found = read({"services": {"web": {"image": written}, "good": {"image": "x"}}})
    assert [egg.definition.default_image for egg in found.eggs] == ([image] if image else []) + ["x"]


def test_names_stand_where_an_egg_can_not_ask_and_where_it_can() -> None:
    found = one(
        command=["${A}", "x${B:+y}", "${C:-${D:-d}}"], environment={"E": "${F:+no}", "G": "${H:-${I:-i}}"}, mem_limit="${M:-64m}", user="${U:-1000}",
        deploy={"resources": {"limits": {"pids": "${P:-7}"}}}, healthcheck={"test": ["CMD", "$$X", "${Y:-y}"], "interval": "${S:-3s}"},
        volumes=["${V:-data}:/v"],
    ).definition  # fmt: skip
    assert found.command == ["{{A}}", "x", "{{C}}"]
    assert {v.env_variable: v.default_value for v in found.variables} == {"E": "", "G": "i", "A": "", "C": "d"}
    assert (found.limits.memory_bytes, found.limits.pids, found.user, found.data_target) == (64 * 1024**2, 7, "1000", "/v")
    assert found.health is not None
    assert (found.health.test, found.health.interval_seconds) == (["CMD", "$X", "y"], 3)
    off = one(healthcheck={"disable": True}).definition.health
    assert off is not None
    assert off.test == ["NONE"], "the image's own is off as well"


def test_a_file_without_services_is_none() -> None:
    for raw in ({"services": {}}, {"services": []}, {"version": "3"}):
        with pytest.raises(EggRefused):
            read(raw)
