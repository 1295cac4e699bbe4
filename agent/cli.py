"""`lormas-agent run|join|check|version`. Imports little: the engine's library comes only when an engine is opened."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from agent import __version__, config
from agent.config import Config, ConfigError

EXIT_USAGE = 2


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _complain(text: str) -> None:
    sys.stderr.write(f"lormas-agent: {text}\n")
    sys.stderr.flush()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(prog="lormas-agent", description="Runs containers on this machine for a Lormas panel.")
    acts = main.add_subparsers(dest="act", required=True, metavar="run|join|check|version")

    def act(name: str, text: str) -> argparse.ArgumentParser:
        sub = acts.add_parser(name, help=text, description=text)
        sub.add_argument("--data", type=Path, default=None, metavar="DIR", help="folder for what the agent must remember")
        return sub

    def choices(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--runtime", choices=config.RUNTIMES, default=None, help="auto: docker if an engine answers")
        sub.add_argument("--allow-process", action="store_true", help="let `auto` fall back to plain processes, which isolate nothing")
        sub.add_argument("--insecure", action="store_true", help="do not verify the panel's TLS certificate (never in production)")

    join = act("join", "Store the panel's address and this node's token, then run.")
    join.add_argument("--panel", required=True, metavar="URL", help="address of the panel")
    join.add_argument("--token", default=None, metavar="TOKEN", help="this node's token; better by LORMAS_NODE_TOKEN or LORMAS_NODE_TOKEN_FILE")
    join.add_argument("--no-run", action="store_true", help="store only")
    choices(join)
    choices(act("run", "Run with what `join` stored, or with LORMAS_PANEL_URL and LORMAS_NODE_TOKEN."))
    act("check", "Tell what is wrong on this machine, and which command fixes it.")
    acts.add_parser("version", help="Print the version.")
    return main


def _chosen(settings: Config, arguments: argparse.Namespace) -> Config:
    return replace(
        settings,
        runtime=arguments.runtime or settings.runtime,
        allow_process=arguments.allow_process or settings.allow_process,
        insecure=arguments.insecure or settings.insecure,
    )


def _join(arguments: argparse.Namespace, data_dir: Path) -> Config:
    token = arguments.token or config.token_from(os.environ)
    key = "" if token else os.environ.get("LORMAS_JOIN_KEY", "").strip()
    if key:
        return _join_with_key(arguments, data_dir, key)
    if not token:
        raise ConfigError("No token: give LORMAS_NODE_TOKEN (or LORMAS_JOIN_KEY, for many machines) as the panel showed it.")
    panel = config.checked_url(arguments.panel)
    try:
        before = config.load(data_dir, {"LORMAS_PANEL_URL": panel, "LORMAS_NODE_TOKEN": token})
    except ConfigError:
        before = config.load(data_dir / "nowhere", {"LORMAS_PANEL_URL": panel, "LORMAS_NODE_TOKEN": token})
    settings = _chosen(replace(before, data_dir=data_dir, panel_url=panel, token=token), arguments)
    config.save(settings)
    (data_dir / "upgrade.json").unlink(missing_ok=True)  # what was installed by hand just now is what shall run
    return settings


def _join_with_key(arguments: argparse.Namespace, data_dir: Path, key: str) -> Config:
    """The installation's identity is stored before the key is used, so that a repeat after a lost answer is known as the same machine."""
    from agent import joining

    panel = config.checked_url(arguments.panel)
    try:
        before = config.load(data_dir, {"LORMAS_PANEL_URL": panel})
    except ConfigError:
        before = config.load(data_dir / "nowhere", {"LORMAS_PANEL_URL": panel, "LORMAS_NODE_TOKEN": "none yet"})
    settings = _chosen(replace(before, data_dir=data_dir, panel_url=panel), arguments)
    config.save(settings)
    token = joining.join(panel, key, instance_id=settings.instance_id, insecure=settings.insecure)
    settings = replace(settings, token=token)
    config.save(settings)
    return settings


def _lock(data_dir: Path) -> IO[str]:
    """One agent a data folder. Held until the process ends."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (data_dir / "lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise ConfigError(f"Another lormas-agent runs with {data_dir}: stop it first, or give this one a folder of its own by --data.") from None
    return file


async def _serve(settings: Config) -> bool:
    """Until it is stopped; True if it ended to start another version."""
    from agent.engines import choose
    from agent.logs import LogService
    from agent.program import Agent

    runtime = await choose(settings)
    agent = Agent(settings, runtime=runtime, logs=LogService(settings.data_dir / "logs", runtime=runtime))
    work = asyncio.ensure_future(agent.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, work.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await work
    return agent.restart_wanted


def _right_version(data_dir: Path) -> None:
    """Become the version that the last good upgrade left, if this is another one. Returns if this is the right one."""
    from agent import upgrade

    if os.environ.get("LORMAS_AGENT_TRIAL"):
        upgrade.die_with_parent()
        return
    upgrade.mark(data_dir, "failed", "the agent was killed during the trial")
    wanted = upgrade.folder_in_use(data_dir)
    here = str(Path(__file__).resolve().parents[1])
    if (wanted and wanted == here) or (not wanted and "/versions/" not in here) or os.environ.get("LORMAS_AGENT_VERSION") == (wanted or "own"):
        return
    line = upgrade.command_line(data_dir)
    os.execve(line[0], line, {**upgrade.environment(wanted), "LORMAS_AGENT_VERSION": wanted or "own"})  # noqa: S606


def _run(settings: Config) -> int:
    from agent import logsetup

    logsetup.set_up(os.environ.get("LOG_LEVEL", "info"))
    if settings.insecure:
        _complain("WARNING: --insecure: the panel's TLS certificate is NOT verified; anybody on the way can take this node over.")
    held = _lock(settings.data_dir)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            restart = runner.run(_serve(settings))
    finally:
        held.close()
    if restart:
        from agent import upgrade

        # This process becomes the guard of the new version, with the code that runs now.
        line = [sys.executable, "-P", "-m", "agent.trial", str(settings.data_dir)]
        os.execve(line[0], line, upgrade.environment(upgrade.folder_in_use(settings.data_dir)))  # noqa: S606
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = parser().parse_args(argv)
    if arguments.act == "version":
        _say(__version__)
        return 0
    data_dir = (arguments.data or config.default_data_dir()).expanduser().absolute()
    try:
        if arguments.act == "check":
            from agent.check import check

            return check(data_dir, say=_say)
        if arguments.act == "join":
            settings = _join(arguments, data_dir)
            if arguments.no_run:
                _say(f"Stored in {data_dir}. Start with: lormas-agent run --data {data_dir}")
                return 0
        else:
            _right_version(data_dir)
            settings = _chosen(config.load(data_dir), arguments)
        return _run(settings)
    except ConfigError as error:
        _complain(str(error))
        return EXIT_USAGE


if __name__ == "__main__":
    sys.exit(main())
