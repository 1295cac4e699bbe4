"""`lormas doctor`: looks at this machine and names, for everything that is wrong, the command that mends it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lormas.env import Env, EnvError
from lormas.quickstart import brokers, config, engine
from lormas.quickstart.bootstrap import installed
from lormas.quickstart.launch import port_is_free, public_url
from lormas.quickstart.places import ROOT, Places, running_instance
from lormas.quickstart.say import Trouble, line

LEAST_DISK_BYTES = 2 * 1024**3
LEAST_MEMORY_BYTES = 1024**3
LARGEST_CLOCK_SKEW_SECONDS = 30
EARLIEST_YEAR = 2026
Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report. `remedy` is a command or a short instruction; empty where all is well."""

    check: str
    level: Level
    text: str
    remedy: str = ""


def check_python(env: Env) -> Iterator[Finding]:
    version = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 - said in words instead of a syntax error
        yield Finding("python", "problem", f"Python {version} is too old, 3.11 is needed", "sudo apt-get install python3.11 python3.11-venv")
    else:
        yield Finding("python", "ok", f"Python {version}")
    folder = Path(sys.prefix)
    if folder.parent == ROOT and not any(installed(folder, ROOT / "requirements" / name) for name in ("dev.lock", "panel.lock")):
        yield Finding("packages", "problem", f"what is installed in {folder.name} is not what the lock says", "make env")
    else:
        yield Finding("packages", "ok", "installed as locked" if folder.parent == ROOT else f"from {folder}")


def check_settings(env: Env) -> Iterator[Finding]:
    try:
        env.check()
    except EnvError as error:
        yield Finding("settings", "problem", str(error), "correct it in the environment or in .env")
    else:
        yield Finding("settings", "ok", "every variable can be read")


def check_port(env: Env) -> Iterator[Finding]:
    running = running_instance(Places.of(env))
    if running is not None:
        yield Finding("port", "ok", f"Lormas runs at {running.get('url', public_url(env))}")
        return
    try:
        port_is_free(env["HOST"], env["PORT"])
    except Trouble as error:
        yield Finding("port", "problem", str(error), f"PORT={env['PORT'] + 1} make run")
    else:
        yield Finding("port", "ok", f"{env['HOST']}:{env['PORT']} is free")


def check_data(env: Env) -> Iterator[Finding]:
    folder = Places.of(env).data
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(nearest, os.W_OK):
        yield Finding("data", "problem", f"{nearest} can't be written", f'sudo chown "$USER" {nearest}')
        return
    if folder.exists() and folder.stat().st_mode & 0o077:
        yield Finding("data", "problem", f"others can look into {folder}", f"chmod 700 {folder}")
    else:
        yield Finding("data", "ok", str(folder))
    free = shutil.disk_usage(nearest).free
    if free < LEAST_DISK_BYTES:
        yield Finding("disk", "warning", f"{free / 1024**3:.1f} GiB free for data", "docker system prune, or a larger disk for LORMAS_DATA")
    else:
        yield Finding("disk", "ok", f"{free / 1024**3:.0f} GiB free for data")


def check_memory(env: Env) -> Iterator[Finding]:
    try:
        fields = dict(row.split(":") for row in Path("/proc/meminfo").read_text(encoding="ascii").splitlines())
        available = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return
    level: Level = "ok" if available >= LEAST_MEMORY_BYTES else "warning"
    yield Finding("memory", level, f"{available / 1024**3:.1f} GiB available", "" if level == "ok" else "stop what is not needed, or add memory")


def check_clock(env: Env) -> Iterator[Finding]:
    """Our clock against a year that has been, and against whatever else here has a clock."""
    if time.gmtime().tm_year < EARLIEST_YEAR:
        yield Finding("clock", "problem", f"this machine believes it is {time.strftime('%Y-%m-%d', time.gmtime())}", "sudo timedatectl set-ntp true")
        return
    skew = engine.clock_skew_seconds(env["DOCKER_HOST"])
    if skew is not None and abs(skew) > LARGEST_CLOCK_SKEW_SECONDS:
        yield Finding("clock", "problem", f"the engine's clock is {skew:+.0f} s off ours", "sudo timedatectl set-ntp true, on both machines")
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def check_engine(env: Env) -> Iterator[Finding]:
    answer = engine.probe(env["DOCKER_HOST"])
    if answer.ok:
        yield Finding("engine", "ok", f"Docker {answer.version}, API {answer.api_version}" if answer.version else answer.problem)
    else:
        yield Finding("engine", "warning", f"{answer.problem}; the local agent would use the process runtime, which isolates nothing", answer.remedy)


def check_broker(env: Env) -> Iterator[Finding]:
    found = brokers.choose(env["REDIS_URL"], Places.of(env))
    if found.durable:
        yield Finding("redis", "ok", found.label)
    else:
        yield Finding("redis", "warning", found.label, "sudo apt-get install redis-server")


def check_database(env: Env) -> Iterator[Finding]:
    from lormas.quickstart.prepare import set_up_django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    try:
        set_up_django()
        from django.db import DatabaseError, connection
        from django.db.migrations.executor import MigrationExecutor

        try:
            executor = MigrationExecutor(connection)
            pending = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
        except DatabaseError as error:
            yield Finding("database", "problem", " ".join(str(error).split())[:200], "start the database, or correct DATABASE_URL")
            return
    except (Trouble, EnvError) as error:
        yield Finding("database", "problem", str(error), "correct the setting that it names")
        return
    if pending:
        yield Finding("database", "warning", f"{connection.vendor}, {pending} migrations to run", "make run, or lormas manage migrate")
    else:
        yield Finding("database", "ok", f"{connection.vendor}, schema up to date")


def check_tree(env: Env) -> Iterator[Finding]:
    if sys.platform.startswith("linux") and config.leash(os.getpid())[0] == sys.executable:
        yield Finding("supervision", "warning", "no setpriv: programs are held by a slower way", "sudo apt-get install util-linux")


CHECKS: tuple[Callable[[Env], Iterator[Finding]], ...] = (
    check_python,
    check_settings,
    check_data,
    check_port,
    check_memory,
    check_clock,
    check_engine,
    check_broker,
    check_tree,
    check_database,
)


def examine() -> list[Finding]:
    """All findings. A check that can't even begin because of a broken setting is left out: `settings` has said why."""
    env = Env(folder=ROOT)
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += check(env)
        except EnvError:
            continue
    return found


def main(*, as_json: bool = False) -> int:
    try:
        found = examine()
    except EnvError as error:
        found = [Finding("settings", "problem", str(error), "correct .env")]
    if as_json:
        line(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        for finding in found:
            line(f"  {({'ok': 'ok', 'warning': '!!', 'problem': 'XX'})[finding.level]}  {finding.check:<12} {finding.text}")
            if finding.remedy:
                line(f"      {'':<12} -> {finding.remedy}")
    return 1 if any(finding.level == "problem" for finding in found) else 0
