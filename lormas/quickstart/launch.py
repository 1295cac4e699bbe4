"""`lormas run`: looks whether it can work here, writes supervisor's configuration, and becomes supervisord.

Imports no Django: this process lives as long as the panel does. What needs Django is done by `prepare`, the first program it starts.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from lormas import assets
from lormas.env import Env, EnvError
from lormas.quickstart import brokers, config, engine
from lormas.quickstart.leash import end_with_parent
from lormas.quickstart.places import ROOT, Places, only_one, schema_fingerprint, socket_path, write_private
from lormas.quickstart.say import Trouble, line, trouble

OPEN_FILES = 4096
PARENT_LOOK_SECONDS = 0.5


def local_url(env: Env) -> str:
    """Where this machine reaches the panel, without any proxy."""
    host = env["HOST"]
    shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{shown}:{env['PORT']}"


def public_url(env: Env) -> str:
    return str(env["PUBLIC_URL"] or local_url(env))


def port_is_free(host: str, port: int) -> None:
    """Raises Trouble with the sentence for a port or host that can't be had."""
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(found[0], found[1]) as attempt:
            attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            attempt.bind(found[4])
            attempt.listen(1)
    except PermissionError:
        raise Trouble(f"this user may not listen on port {port}: choose one from 1024 up, such as PORT=8000.") from None
    except socket.gaierror:
        raise Trouble(f"HOST={host} is no address: use 127.0.0.1 (this machine only) or 0.0.0.0 (everybody).") from None
    except OSError as error:
        if error.errno == 98 or "in use" in str(error):
            raise Trouble(
                f"port {port} is taken by another program: stop that one, or choose another port, such as PORT={port + 1} make run."
            ) from None
        raise Trouble(f"Lormas can't listen on {host}:{port} ({error.strerror}): set HOST and PORT to an address of this machine.") from None


def choose_runtime(env: Env) -> tuple[str, str]:
    """The local agent's runtime, and a few words why. Raises Trouble where Docker was demanded and does not answer."""
    wish = env["LORMAS_AGENT_RUNTIME"]
    if not env["LORMAS_AGENT"]:
        return "none", "LORMAS_AGENT=false"
    if wish == "process":
        return "process", "LORMAS_AGENT_RUNTIME=process"
    answer = engine.probe(env["DOCKER_HOST"])
    if answer.ok:
        return "docker", f"Docker {answer.version}".strip()
    if wish == "docker":
        raise Trouble(f"LORMAS_AGENT_RUNTIME=docker, but {answer.problem}: {answer.remedy}")
    return "process", answer.problem


def agent_environment(places: Places, url: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in config.KEPT_FOR_AGENT if os.environ.get(name)}
    return kept | {"PYTHONUNBUFFERED": "1", "LORMAS_PANEL_URL": url, "LORMAS_NODE_TOKEN_FILE": str(places.node_token)}


def nothing_to_prepare(env: Env, places: Places) -> bool:
    """Neither assets nor schema, as far as can be told without Django: then web need not wait for `prepare`. What is built after web has looked
    through the static files it would not find.
    """
    try:
        return assets.is_fresh() and places.schema_hint.read_text(encoding="ascii") == schema_fingerprint(env, places)
    except OSError:
        return False


def programs(broker: brokers.Broker, runtime: str, places: Places, url: str, *, web_at_once: bool = False) -> list[config.Program]:
    python = sys.executable
    found = [
        config.Program("prepare", [python, "-m", "lormas.quickstart.prepare"], 900, autostart=True, restart=False, to_terminal=True),
        config.Program("web", [python, "-m", "lormas.quickstart.web"], 500, autostart=web_at_once, stop_seconds=config.WEB_STOP_SECONDS),
        config.Program("worker", [python, "-m", "lormas.quickstart.worker"], 500),
    ]
    if broker.command:
        quiet = {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(places.redis)}
        found.append(config.Program("redis", broker.command, 100, autostart=True, only_env=quiet, stop_seconds=3))
    if runtime != "none":
        command = [python, "-m", "agent.cli", "run", "--data", str(places.node), "--runtime", runtime]
        command += ["--allow-process"] if runtime == "process" else []
        found.append(config.Program("agent", command, 500, only_env=agent_environment(places, url)))
    return found


def follow_make() -> None:
    """`make` waits for us when it alone gets Ctrl-C's signal, and ends without us when it is killed: make both end us, too."""
    parent = os.getppid()
    if "MAKELEVEL" not in os.environ or not end_with_parent():
        return

    def watch() -> None:
        # make handles SIGINT by waiting inside its signal handler, where the signal is blocked: that is how it shows from outside.
        while os.getppid() == parent:
            try:
                status = Path(f"/proc/{parent}/status").read_text(encoding="ascii", errors="replace")
            except OSError:
                return
            blocked = next((text.split()[1] for text in status.splitlines() if text.startswith("SigBlk:")), "0")
            if int(blocked, 16) & (1 << (signal.SIGINT - 1)):
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(PARENT_LOOK_SECONDS)

    threading.Thread(target=watch, name="follow-make", daemon=True).start()


def append_to_output() -> None:
    """Supervisord opens our output a second time; where that is a file, both must write at its end."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(1, fcntl.F_SETFL, fcntl.fcntl(1, fcntl.F_GETFL) | os.O_APPEND)


def supervise(configuration: Path) -> None:
    """Be supervisord until it is told to end. A hang-up ends it, too (supervisord would start anew)."""
    from supervisor import supervisord
    from supervisor.options import ServerOptions

    options = ServerOptions()
    options.realize(["-c", str(configuration)], doc=supervisord.__doc__)
    options.first = True
    options.test = False
    logging.raiseExceptions = False  # a closed terminal is no reason to fail
    supervisord.go(options)
    options.close_httpservers()
    options.close_logger()


def run() -> int:
    """Everything up to the end of the panel; returns the exit code."""
    begun = time.monotonic()
    env = Env(folder=ROOT)
    env.check()
    places = Places.of(env)
    places.make()
    url = public_url(env)
    with only_one(places):
        port_is_free(env["HOST"], env["PORT"])
        runtime, why = choose_runtime(env)
        broker = brokers.choose(env["REDIS_URL"], places)
        run_id = secrets.token_urlsafe(16)
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "lormas.settings",
            "LORMAS_DATA": str(places.data),
            "LORMAS_RUN_ID": run_id,
            "LORMAS_RUN_BEGUN": repr(begun),
            "LORMAS_RUN_BROKER": broker.label,
            "LORMAS_RUN_RUNTIME": runtime,
            "LORMAS_RUN_RUNTIME_WHY": why,
            "REDIS_URL": broker.url,
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2"),
        }
        supervisor_socket = socket_path(places.supervisor_socket)
        os.environ["LORMAS_RUN_SOCKET"] = str(supervisor_socket)
        outcome = places.run / "outcome"
        outcome.unlink(missing_ok=True)
        write_private(places.instance, json.dumps({"pid": os.getpid(), "url": url, "run_id": run_id}))
        configuration = places.run / "supervisord.conf"
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        text = config.render(
            programs(broker, runtime, places, local_url(env), web_at_once=nothing_to_prepare(env, places)),
            run=places.run,
            logs=places.logs,
            directory=ROOT,
            socket=supervisor_socket,
            open_files=OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard),
            prefix=config.leash(os.getpid()),
        )
        write_private(configuration, text)
        append_to_output()
        line(f"Lormas starts; data in {places.data}")
        follow_make()
        with contextlib.suppress(KeyboardInterrupt):
            supervise(configuration)
        places.instance.unlink(missing_ok=True)
        if outcome.exists():  # prepare gave up, and has said why
            outcome.unlink()
            return 1
        line("\nLormas has stopped. Containers stay as they were.")
        return 0


def main() -> int:
    try:
        return run()
    except (Trouble, EnvError) as error:
        trouble(str(error))
    except KeyboardInterrupt:
        line()
        return 130
    except UnicodeDecodeError as error:
        trouble(f".env can't be read ({error.reason}): save it as UTF-8.")
    return 1
