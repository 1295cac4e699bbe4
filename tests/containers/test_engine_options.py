"""A01-A13, SECURITY section 4 no. 1: what an engine would take without a word reaches it by none of our doors, whoever asks.

The names are the engine's own and those of Compose. Each door names what it does not know; what a file asks for comes in as a wish that an
administrator must approve, with a warning, or not at all; and the builder that makes the engine's options has a closed list of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest
from rest_framework.test import APIClient

from agent.protocol.messages import ContainerSpec
from agent.runtimes.docker import options
from agent.runtimes.policy import LimitDefaults, LocalPolicy
from containers.models import Container
from containers.services import NewContainer, create_container
from containers.spec import Asked
from eggs.formats import parse_all
from eggs.services import import_egg
from lormas.common.errors import Refused
from nodes.models import Node

pytestmark = pytest.mark.django_db

ENGINE: dict[str, Any] = {
    "Privileged": True, "CapAdd": ["ALL"], "CapDrop": [], "Binds": ["/:/host"], "Mounts": [{"Type": "bind", "Source": "/", "Target": "/host"}],
    "VolumesFrom": ["other"], "VolumeDriver": "local", "PidMode": "host", "IpcMode": "host", "UTSMode": "host", "UsernsMode": "host",
    "CgroupnsMode": "host", "NetworkMode": "container:other", "Devices": [{"PathOnHost": "/dev/sda"}], "DeviceCgroupRules": ["a *:* rwm"],
    "DeviceRequests": [{"Driver": "nvidia"}], "SecurityOpt": ["seccomp=unconfined"], "MaskedPaths": [], "ReadonlyPaths": [],
    "CgroupParent": "../..", "Cgroup": "x", "Sysctls": {"kernel.core_pattern": "|/x"}, "Runtime": "other", "OomScoreAdj": -1000,
    "OomKillDisable": True, "PidsLimit": -1, "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 1}],
    "LogConfig": {"Type": "syslog", "Config": {"syslog-address": "udp://198.51.100.1:514"}}, "PortBindings": {"22/tcp": [{"HostPort": "22"}]},
    "PublishAllPorts": True, "ExtraHosts": ["panel:198.51.100.1"], "Dns": ["198.51.100.1"], "DnsOptions": ["x"], "DnsSearch": ["x"],
    "GroupAdd": ["0"], "Links": ["other:x"], "ShmSize": 1 << 40, "StorageOpt": {"size": "1T"}, "Tmpfs": {"/x": "rw"}, "Isolation": "process",
    "RestartPolicy": {"Name": "always"}, "AutoRemove": True, "ReadonlyRootfs": False, "Init": True, "ContainerIDFile": "/etc/x",
    "CpusetCpus": "0", "CpusetMems": "0", "CpuRealtimeRuntime": 950_000, "CpuShares": 1 << 18, "KernelMemory": 0, "Memory": 0, "MemorySwap": -1,
    "NanoCpus": 0, "BlkioDeviceReadBps": [], "HostConfig": {"Privileged": True}, "NetworkingConfig": {}, "Volumes": {"/": {}},
    "Domainname": "x", "MacAddress": "02:42:ac:11:00:02", "StopSignal": "SIGKILL", "OnBuild": ["x"], "Shell": ["x"], "User": "0", "Hostname": "x",
}  # fmt: skip
COMPOSE: dict[str, Any] = {
    "privileged": True, "cap_add": ["ALL"], "cap_drop": ["X"], "devices": ["/dev/sda:/dev/sda"], "device_cgroup_rules": ["a *:* rwm"],
    "security_opt": ["apparmor:unconfined"], "pid": "host", "ipc": "host", "uts": "host", "userns_mode": "host", "cgroup": "host",
    "cgroup_parent": "/", "network_mode": "host", "volumes": ["/:/host", "/var/run/docker.sock:/s"], "volumes_from": ["x"], "gpus": "all",
    "sysctls": {"kernel.core_pattern": "|/x"}, "runtime": "x", "oom_score_adj": -1000, "oom_kill_disable": True, "ulimits": {"nofile": 1},
    "logging": {"driver": "gelf"}, "extra_hosts": ["a:1.2.3.4"], "dns": ["198.51.100.1"], "dns_search": ["x"], "group_add": ["0"],
    "links": ["x"], "external_links": ["x"], "shm_size": "1t", "storage_opt": {"size": "1T"}, "isolation": "process", "init": True,
    "mac_address": "02:42:ac:11:00:02", "credential_spec": {"file": "x"}, "blkio_config": {"weight": 1}, "pids_limit": -1, "use_api_socket": True,
    "labels": {"lormas.instance": "forged"}, "hostname": "x", "domainname": "x", "annotations": {"a": "b"}, "post_start": [{"command": "x"}],
}  # fmt: skip
ALLOWED = {
    "AutoRemove", "Init", "RestartPolicy", "LogConfig", "NetworkMode", "Privileged", "SecurityOpt", "CapDrop", "CapAdd", "Devices", "IpcMode",
    "PidsLimit", "Memory", "NanoCpus", "OomKillDisable", "Mounts", "PortBindings", "MemorySwap", "BlkioWeight", "ReadonlyRootfs", "Tmpfs",
}  # fmt: skip
TOP = {
    "Image", "Env", "Tty", "OpenStdin", "StdinOnce", "AttachStdin", "AttachStdout", "AttachStderr", "Labels", "ExposedPorts", "HostConfig", "Cmd",
    "Entrypoint", "Healthcheck", "WorkingDir", "User", "Hostname",
}  # fmt: skip


def batched(items: Iterable[Any], size: int) -> Iterator[tuple[Any, ...]]:
    left = iter(items)
    while part := tuple(islice(left, size)):
        yield part


def client(user: Any) -> APIClient:
    made = APIClient()
    made.force_authenticate(user)
    return made


def test_every_door_of_the_api_names_every_option_it_does_not_know(running: Container, alice: Any, olga: Any, root: Any, node: Node) -> None:
    """A01-A06, A10, A12: in the body, among the limits and in a port; for the owner, an operator and an administrator; nothing is done."""
    one = f"/api/containers/{running.pk}"
    before = Container.objects.values().get(pk=running.pk)
    doors: list[tuple[str, str, dict[str, Any]]] = [
        ("post", "/api/containers", {"name": "x", "image": "busybox:stable"}), ("patch", one, {}), ("put", one, {"name": "web"}),
        ("post", f"{one}/start", {}), ("post", f"{one}/stop", {}), ("put", f"{one}/settings", {}), ("post", f"{one}/duplicate", {"name": "y"}),
        ("post", f"{one}/exec", {"command": ["true"]}),
    ]  # fmt: skip
    some = [dict(pairs) for pairs in batched(ENGINE.items(), 15)]  # an answer names up to twenty
    for user in (alice, olga, root):
        asked = client(user)
        for options_ in some:
            for method, path, body in doors:
                answer = getattr(asked, method)(path, {**body, **options_}, format="json")
                named = {error["field"] for error in answer.json().get("errors", [])}
                assert answer.status_code == 400, (user, method, path, answer.json())
                assert set(options_) <= named, (method, path, set(options_) - named)
            limits = asked.patch(one, {"limits": options_}, format="json")
            assert limits.status_code == 400
            assert {f"limits.{name}" for name in options_} <= {error["field"] for error in limits.json()["errors"]}
        port = {"name": "x", "image": "a", "ports": [{"container": 1, **ENGINE}]}
        assert asked.post("/api/containers", port, format="json").status_code == 400
    assert Container.objects.count() == 1
    assert Container.objects.values().get(pk=running.pk) == before


QUIET = {"hostname", "init", "our own extension", "pids_limit", "cap_drop", "annotations"}
"""Kept, or of no consequence."""


def file_with(name: str) -> tuple[bytes, str]:
    if name != "our own extension":
        return json.dumps({"services": {"web": {"image": "busybox:1", name: COMPOSE[name]}}}).encode(), "compose.yaml"
    plain = {
        "meta": {"version": "PTDL_v2"}, "name": "x", "author": "a@b.example", "docker_images": {"a": "busybox:1"}, "startup": "x", "variables": [],
        "config": {"files": "{}", "startup": "{}", "stop": "^C"}, "lormas": {**ENGINE, **COMPOSE}, **ENGINE,
    }  # fmt: skip
    return json.dumps(plain).encode(), "egg.json"


def test_what_a_file_asks_for_is_a_wish_or_told_to_be_left_out(alice: Any, root: Any, node: Node) -> None:
    """A03, A05, A07: an import by anybody makes nothing that runs with it, and what runs has the options of the builder's own list."""
    wishes = set()
    for number, name in enumerate([*COMPOSE, "our own extension"]):
        data, filename = file_with(name)
        [found] = parse_all(data, filename=filename).eggs
        assert found.warnings or name in QUIET, f"{name} is not kept, and nobody is told"
        egg = import_egg(data, filename=filename).eggs[0]
        new = NewContainer(name=f"c{number}", egg=egg, asked=Asked(cpus=0.01, memory_bytes=16 << 20))
        if found.definition.privileges:
            wishes.add(name)
            for user in (alice, root):
                with pytest.raises(Refused) as refused:
                    create_container(user=user, actor=user.as_actor(), data=new)
                assert refused.value.code == "needs_approval"
            continue
        container, _ = create_container(user=alice, actor=alice.as_actor(), data=new)
        spec = msgspec.convert(container.spec, ContainerSpec)
        facts = options.EngineFacts(memory_bytes=8 << 30)
        body = options.build(spec, instance="i", epoch=1, operation_id="o", policy=LocalPolicy(), defaults=LimitDefaults(), facts=facts)
        host = body["HostConfig"]
        assert set(body) <= TOP, name
        assert set(host) <= ALLOWED, name
        kept = (host["Privileged"], host["CapAdd"], host["Devices"], host["NetworkMode"], host["IpcMode"], host["SecurityOpt"])
        assert kept == (False, [], [], "lormas", "private", ["no-new-privileges"]), name
        assert min(host["PidsLimit"], host["Memory"], host["NanoCpus"]) > 0, name
        assert host["LogConfig"]["Type"] == "json-file", name
        assert all(mount["Type"] in ("volume", "tmpfs") for mount in host["Mounts"]), name
        assert body["Labels"]["lormas.instance"] == "i", name
    assert wishes == {"privileged", "cap_add", "devices", "network_mode", "volumes"}
