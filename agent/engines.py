"""Which runtime to use: a literal table of dotted names, so that only the one in use is imported."""

from __future__ import annotations

import asyncio
import logging
import os
from importlib import import_module
from typing import Any

from agent.config import Config, ConfigError
from agent.runtimes import RUNTIMES
from agent.runtimes.base import Runtime, RuntimeFailure

log = logging.getLogger(__name__)


def make(kind: str, settings: Config) -> Runtime:
    """A runtime of this kind, not opened. Raises ConfigError where the node's own policy file can't be read (A13)."""
    module, _, name = RUNTIMES[kind].partition(":")
    factory: Any = getattr(import_module(module), name)
    try:
        runtime: Runtime = factory.from_config(data_dir=settings.data_dir, docker_host=settings.docker_host)
    except RuntimeFailure as error:
        raise ConfigError(error.detail) from error
    return runtime


async def answers(runtime: Runtime) -> str:
    """ "" if the engine answers within 5 s, else why not."""
    try:
        async with asyncio.timeout(5):
            await runtime.info()
    except (RuntimeFailure, TimeoutError, OSError) as error:
        return str(error) or "no answer within 5 s"
    return ""


async def choose(settings: Config) -> Runtime:
    """The runtime that was asked for; `auto` is docker if it answers, else process if that was allowed. Raises ConfigError."""
    kind = settings.runtime
    if kind == "fake" and os.environ.get("LORMAS_TESTING") != "1":
        raise ConfigError("The fake runtime is for tests only: choose docker or process.")
    if kind == "process" and not settings.allow_process:
        raise ConfigError("The process runtime keeps nothing apart from this machine. If that is what you want, add --allow-process.")
    if kind != "auto":
        return make(kind, settings)
    docker = make("docker", settings)
    why = await answers(docker)
    if not why:
        return docker
    if not settings.allow_process:
        log.warning("no engine answers; waiting for one", extra={"reason": why})
        return docker
    await docker.close()
    log.warning("no engine answers: containers become plain processes of this machine, kept apart by nothing", extra={"reason": why})
    return make("process", settings)
