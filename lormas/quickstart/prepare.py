"""The first program under supervisord: makes the database what this code needs, starts the other programs, waits until they answer,
and prints the banner. Everything it does is looked up in the database first, so a second start makes nothing twice.
"""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lormas.common import collector
from lormas.env import Env, EnvError
from lormas.quickstart.places import ROOT, Places, schema_fingerprint, write_private
from lormas.quickstart.say import Trouble, line, step, trouble
from lormas.quickstart.tree import Tree, wait
from lormas.quickstart.web import PROBE_HEADER

READY_SECONDS = 60
BROKER_SECONDS = 15
NODE_SECONDS = 20


def wait_for_broker(url: str) -> None:
    import redis

    client = redis.Redis.from_url(url, socket_connect_timeout=2, socket_timeout=2)

    def answers() -> bool:
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            raise Trouble("Redis refuses the password in REDIS_URL: correct it.") from None
        except (redis.RedisError, OSError):
            return False

    if not wait(answers, seconds=BROKER_SECONDS):
        mine = url.startswith("unix://")
        raise Trouble(
            "the embedded Redis server does not answer: see redis.log in the data folder."
            if mine
            else "no Redis answers at REDIS_URL: start it, or unset REDIS_URL."
        )


def build_assets() -> bool:
    """The console's scripts and styles; True if there was something to build."""
    if find_spec("lormas.assets") is None:
        return False
    assets = import_module("lormas.assets")
    try:
        return bool(assets.build())
    except assets.AssetsError as error:
        raise Trouble(str(error)) from error


def set_up_django() -> None:
    """Load the panel and let its checks speak. Raises Trouble for what they refuse."""
    import django
    from django.core import checks

    collector.loading()
    django.setup()
    found = [message for message in checks.run_checks() if message.is_serious()]
    collector.loaded()
    if found:
        raise Trouble(" ".join(f"{message.msg} {message.hint or ''}".strip() for message in found[:3]))


def migrate() -> int:
    """Bring the schema up to date; returns how many migrations ran."""
    from django.core.management import call_command
    from django.db import DatabaseError, connection
    from django.db.migrations.executor import MigrationExecutor

    from lormas.common.sqlite3 import template

    database = Path(connection.settings_dict["NAME"]) if connection.vendor == "sqlite" else None
    was_empty = database is not None and template.is_empty(database)
    if database is not None and was_empty:
        template.begin(database)
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if pending:
            call_command("migrate", verbosity=0, interactive=False)
            if database is not None and was_empty:
                template.keep(database)
    except DatabaseError as error:
        reason = " ".join(str(error).split())[:200]
        raise Trouble(f"the database can't be used ({reason}): start it, or correct DATABASE_URL.") from error
    return len(pending)


def seed() -> str | None:
    """Roles and the first administrator; the password if it was made up just now."""
    from accounts import seeding
    from lormas.common.errors import Problem

    seeding.seed_roles()
    try:
        password: str | None = seeding.seed_superuser()[1]
    except Problem as error:
        raise Trouble(error.detail) from error
    return password


def import_eggs() -> int:
    """The bundled ones; returns how many new ones (or new versions) there are."""
    from eggs.models import EggVersion
    from eggs.services import import_bundled

    before = EggVersion.objects.count()
    import_bundled()
    return EggVersion.objects.count() - before


def build_wheel(places: Places) -> str:
    """The wheel that other nodes install; made anew when the code changed. Returns its name if it was made."""
    import hashlib

    from lormas import __version__

    digest = hashlib.sha256()
    for file in [ROOT / "pyproject.toml", *sorted((ROOT / "agent").rglob("*.py"))]:
        digest.update(file.read_bytes())
    stamp = places.wheels / "wheel.sha256"
    built = list(places.wheels.glob(f"lormas-{__version__}-*.whl"))
    if built and stamp.exists() and stamp.read_text(encoding="ascii") == digest.hexdigest():
        return ""
    for old in places.wheels.glob("*.whl"):
        old.unlink()
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(places.wheels)],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    if done.returncode:
        raise Trouble(f"the agent's wheel could not be built ({(done.stderr.strip().splitlines() or ['no reason given'])[-1][:200]}).")
    stamp.write_text(digest.hexdigest(), encoding="ascii")
    return next(iter(places.wheels.glob("*.whl"))).name


def local_node(places: Places) -> Any:
    """The node of this machine, registered once; its token is in the data folder. A lost token file is replaced by a new token."""
    from socket import gethostname

    from audit.services import SYSTEM
    from nodes import services
    from nodes.models import Node

    node = Node.objects.filter(is_local=True).order_by("created_at").first()
    if node is None:
        names = {name.lower() for name in Node.objects.values_list("name", flat=True)}
        name = next(n for n in (gethostname().split(".")[0][:60] or "local", "local", "local-2", "local-3") if n.lower() not in names)
        node, token = services.register_node(
            name=name, actor=SYSTEM, description="The machine that the panel runs on.", is_local=True, address="127.0.0.1"
        )
    elif places.node_token.exists():
        return node
    else:
        token = services.rotate_token(node, actor=SYSTEM)
    write_private(places.node_token, token)
    return node


def web_answers() -> bool:
    """Does *this run's* web program answer on the port? Another panel there does not know the run's id."""
    from django.conf import settings

    run_id = os.environ["LORMAS_RUN_ID"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104
    connection = http.client.HTTPConnection(host, settings.PORT, timeout=3)
    header = PROBE_HEADER.decode()
    try:
        connection.request("GET", "/healthz", headers={header: run_id, "Host": urlsplit(settings.PUBLIC_URL).netloc})
        answer = connection.getresponse()
        return answer.status == 200 and answer.getheader(header) == run_id
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def node_status(node_id: Any) -> str:
    from nodes.models import Node

    return str(Node.objects.values_list("status", flat=True).get(pk=node_id))


def prepare() -> None:
    begun = float(os.environ["LORMAS_RUN_BEGUN"])
    runtime = os.environ["LORMAS_RUN_RUNTIME"]
    env = Env(folder=ROOT)
    places = Places.of(env)
    tree = Tree.mine()
    os.chdir(ROOT)

    with step("console's assets") as current:
        current.quiet = not build_assets()
    with step("message broker") as current:
        wait_for_broker(os.environ["REDIS_URL"])
        current.note = os.environ["LORMAS_RUN_BROKER"]
    with step("database") as current:
        set_up_django()
        ran = migrate()
        current.note = f"{ran} migrations" if ran else "up to date"
    write_private(places.schema_hint, schema_fingerprint(env, places))
    tree.start("web")
    with step("roles, administrator, eggs") as current:
        password = seed()
        count = import_eggs()
        current.note = f"{count} new eggs" if count else "there already"
    with step("agent package") as current:
        current.note = build_wheel(places)
        current.quiet = not current.note
    node = None
    if runtime != "none":
        node = local_node(places)
        tree.start("agent")
    with step("web") as current:

        def web_is_up() -> bool:
            tree.ensure_alive("web", places.logs)
            return web_answers()

        if not wait(web_is_up, seconds=READY_SECONDS):
            raise Trouble(f"the console does not answer within {READY_SECONDS} s: see {places.logs / 'web.log'}.")
    tree.start("worker")  # not before: on a small machine it would only make web later
    if node is not None:
        with step("local agent") as current:
            current.note = _await_node(node, tree, places, runtime)
    from lormas.quickstart import demo

    hello = demo.hello(env, node_is_up=node is not None and node_status(node.pk) == "ACTIVE", runtime=runtime)
    _banner(places, password=password, hello=hello, seconds=time.monotonic() - begun)


def _await_node(node: Any, tree: Tree, places: Places, runtime: str) -> str:
    def active() -> bool:
        tree.ensure_alive("agent", places.logs)
        return node_status(node.pk) == "ACTIVE"

    try:
        up = wait(active, seconds=NODE_SECONDS, pause=0.1)
    except Trouble as error:
        return f"NOT RUNNING: {error}"
    what = f"{node.name}, {os.environ['LORMAS_RUN_RUNTIME_WHY']}" if runtime == "docker" else f"{node.name}, process runtime"
    return what if up else f"{what}: not connected yet, see {places.logs / 'agent.log'}"


def _banner(places: Places, *, password: str | None, hello: str, seconds: float) -> None:
    from django.conf import settings

    line()
    line(f"Lormas is ready after {seconds:.1f} s.")
    line()
    line(f"  Console    {settings.PUBLIC_URL}")
    if password is not None:
        line(f"  Sign in    {settings.SUPERUSER_EMAIL}  with password  {password}")
        line(f"             shown this once; also in {places.initial_password} until you have changed it")
    elif places.initial_password.exists():
        line(f"  Sign in    {settings.SUPERUSER_EMAIL}  with the password in {places.initial_password}")
    else:
        line(f"  Sign in    {settings.SUPERUSER_EMAIL}")
    if hello:
        line(f"  Hello      {hello}")
    if os.environ["LORMAS_RUN_RUNTIME"] == "process":
        line(f"  Runtime    process, because {os.environ['LORMAS_RUN_RUNTIME_WHY']};")
        line("             it isolates nothing: run only what you trust, or start a Docker engine and start again")
    line(f"  Data       {places.data}")
    line(f"  Logs       {places.logs}")
    if settings.HOST not in ("127.0.0.1", "localhost", "::1") and not settings.SECURE:
        line("  Warning    everybody on the network can reach this panel, without encryption: put a TLS proxy before it and set PUBLIC_URL")
    line("  Stop       Ctrl-C (containers keep running)")
    line()


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    try:
        prepare()
    except (Trouble, EnvError) as error:
        trouble(str(error))
    except BaseException as error:  # noqa: BLE001 - the last word before the tree ends; details go to the log
        import traceback

        places = Places.of(Env(folder=ROOT))
        file = places.logs / "prepare-error.log"
        write_private(file, traceback.format_exc())
        trouble(f"the start failed ({type(error).__name__}: {' '.join(str(error).split())[:200]}): details are in {file}.")
    else:
        return 0
    places = Places.of(Env(folder=ROOT))
    Path(places.run / "outcome").write_text("failed\n", encoding="ascii")
    Tree.mine().shutdown()
    return 1


if __name__ == "__main__":
    sys.exit(main())
