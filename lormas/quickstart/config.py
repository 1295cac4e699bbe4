"""Supervisor's configuration for one process tree. Pure: takes what was found out, returns text."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 5
WEB_STOP_SECONDS = 9
"""It answers what it has begun first (`draining.DRAIN_SECONDS`)."""
"""How long a program may take to end before it is killed. Web, worker and agent end side by side, Redis after them: less than 10 s in all."""
KEPT_FOR_AGENT = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "TZ", "LOG_LEVEL", "LOG_FORMAT", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH",
)  # fmt: skip
"""The agent gets these variables and no other: the panel's secrets are none of its business, nor of the processes it starts."""


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised program. `group`: those of one group are stopped side by side; groups one after the other, the highest priority first."""

    name: str
    command: Sequence[str]
    priority: int
    autostart: bool = False
    restart: bool = True
    to_terminal: bool = False
    only_env: Mapping[str, str] | None = None
    stop_seconds: int = STOP_SECONDS


STILL_THERE = '[ "$PPID" = "$0" ] && exec "$@"'
"""For sh: becomes its arguments if its parent is the given one. A parent that died before the leash was on sends no signal any more."""


def leash(parent: int) -> list[str]:
    """Words in front of a command that make it end when its parent, the supervisor of this pid, dies, even by SIGKILL and amid its start."""
    setpriv = shutil.which("setpriv")
    if setpriv:
        return [setpriv, "--pdeathsig", "TERM", "--", "/bin/sh", "-c", STILL_THERE, str(parent)]
    return [sys.executable, "-m", "lormas.quickstart.leash", str(parent)]


def _command(program: Program, prefix: Sequence[str]) -> str:
    words = list(prefix)
    if program.only_env is not None:
        words += ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in program.only_env.items())]
    return shlex.join([*words, *program.command]).replace("%", "%%")


def render(programs: Sequence[Program], *, run: Path, logs: Path, directory: Path, socket: Path, open_files: int, prefix: Sequence[str]) -> str:
    """The configuration file."""

    def plain(path: Path) -> str:
        return str(path).replace("%", "%%")

    parts = [
        f"""; Made anew at each start by lormas.quickstart.launch: changes are lost.
[supervisord]
nodaemon = true
silent = true
logfile = {plain(logs)}/supervisord.log
logfile_maxbytes = 2MB
logfile_backups = 1
pidfile = {plain(run)}/supervisord.pid
childlogdir = {plain(logs)}
directory = {plain(directory)}
minfds = {open_files}
umask = 077

[unix_http_server]
file = {plain(socket)}
chmod = 0600

[supervisorctl]
serverurl = unix://{plain(socket)}

[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
"""
    ]
    for program in programs:
        output = (
            "stdout_logfile = /dev/fd/1\nstdout_logfile_maxbytes = 0"
            if program.to_terminal
            else f"stdout_logfile = {plain(logs)}/{program.name}.log\nstdout_logfile_maxbytes = 5MB\nstdout_logfile_backups = 3"
        )
        parts.append(
            f"""
[program:{program.name}]
command = {_command(program, prefix)}
priority = {program.priority}
autostart = {str(program.autostart).lower()}
autorestart = {str(program.restart).lower()}
startsecs = {1 if program.restart else 0}
startretries = 5
stopsignal = TERM
stopwaitsecs = {program.stop_seconds}
redirect_stderr = true
{output}
"""
        )
    together = [program for program in programs if program.name in ("web", "worker", "agent")]
    if together:
        parts.append(f"\n[group:lormas]\nprograms = {','.join(p.name for p in together)}\npriority = {together[0].priority}\n")
    return "".join(parts)
