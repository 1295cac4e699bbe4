"""From a `ContainerSpec` to argv, environment and working folder of a plain process. Pure but for the folder that is named.

Nothing can be published or translated here, so the process itself must listen on the host port: an environment entry `PORT` or
`SERVER_PORT` whose value is a container port of the spec gets the host port instead, and both are set to the first host port where the
spec does not name them. `SERVER_IP` becomes the first port's host address. `LORMAS_PORT_<container port>` holds each host port.
"""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

from agent.protocol.messages import ContainerSpec
from agent.runtimes.policy import invalid

PORT_NAMES = ("PORT", "SERVER_PORT")
MARK = "LORMAS_CONTAINER_ID"
"""In the environment of all that a container starts: finds what outlived its supervisor."""
_PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "JAVA_HOME")
"""Of the agent's own environment; all else (its token!) stays away."""


def argv_of(spec: ContainerSpec) -> list[str]:
    """Raises `invalid_spec` if the spec has no command of its own: there is no image to ask."""
    argv = list(spec.process_command) or list(spec.shell) or [*(spec.entrypoint or []), *spec.command]
    if not argv:
        raise invalid("Under the process runtime a container needs a command of its own: there is no image that has one.")
    return argv


def environment_of(spec: ContainerSpec, data: Path, temporary: Path) -> dict[str, str]:
    made = {name: os.environ[name] for name in _PASSED if name in os.environ}
    made |= {"TERM": "xterm-256color" if spec.tty else "dumb", "USER": "container"}
    made |= spec.env
    made["PATH"] = made.get("PATH", "") or os.defpath
    made |= {"HOME": str(data), "TMPDIR": str(temporary), "LORMAS_DATA_DIR": str(data), MARK: spec.container_id}
    if "SERVER_IP" in spec.env and spec.ports:
        made["SERVER_IP"] = spec.ports[0].host_ip
    hosts = {str(port.container_port): str(port.host_port) for port in reversed(spec.ports)}
    for name in PORT_NAMES:
        if name in spec.env:
            made[name] = hosts.get(spec.env[name], spec.env[name])
        elif spec.ports:
            made[name] = str(spec.ports[0].host_port)
    for inside, outside in hosts.items():
        made[f"LORMAS_PORT_{inside}"] = outside
    return made


def folder_of(spec: ContainerSpec, data: Path, working_dir: str = "") -> Path:
    """A working folder under a `data` mount's target is the same folder under the container's data; any other is the data itself."""
    wanted = working_dir or spec.working_dir
    if not wanted:
        return data
    if not wanted.startswith("/"):
        wanted = posixpath.join(spec.working_dir or "/", wanted)
    wanted = posixpath.normpath(wanted)
    for mount in spec.mounts:
        if mount.kind == "data":
            target = posixpath.normpath(mount.target)
            if wanted == target or wanted.startswith(target + "/"):
                return data / wanted[len(target) :].lstrip("/")
    return data
