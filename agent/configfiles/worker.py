"""A rewrite in a process of its own: large files and patterns may take seconds, and a thread could neither be stopped nor share the CPU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

import msgspec

from agent.configfiles import ConfigProblem, Finds, rewrite

TIME_LIMIT_SECONDS = 20.0
"""The clock; only a machine that is very busy gets there before `CPU_SECONDS`."""
CPU_SECONDS = 2
MEMORY_BYTES = 256 << 20
NO_MEMORY = f"rewriting it takes more than {MEMORY_BYTES >> 20} MB of memory"
SMALL_BYTES = {"yaml": 16 << 10, "toml": 16 << 10}
SMALL_BYTES_ELSE = 64 << 10
"""So much is read within half a second here; what is larger would hold up the agent."""


class Asked(msgspec.Struct):
    """What the process is asked for."""

    parser: str
    data: bytes
    finds: list[tuple[str, Any]]


class Answer(msgspec.Struct):
    """What it answers."""

    data: bytes = b""
    problem: str = ""


async def rewrite_bounded(parser: str, data: bytes, finds: Finds) -> bytes:
    """As `agent.configfiles.rewrite`, without holding up anything else. Raises ConfigProblem."""
    patterns = any(isinstance(find, dict) and any(old.startswith("regex:") for old in find) for _, find in finds)
    if len(data) <= SMALL_BYTES.get(parser, SMALL_BYTES_ELSE) and not patterns:
        return await asyncio.to_thread(rewrite, parser, data, finds)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.configfiles.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            out, _ = await process.communicate(msgspec.msgpack.encode(Asked(parser, data, finds)))
    except TimeoutError:
        raise ConfigProblem(f"rewriting it takes longer than {TIME_LIMIT_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
        raise ConfigProblem(f"rewriting it takes more than {CPU_SECONDS} s of processor time: it is too large or too deeply nested")
    if process.returncode != 0:
        raise ConfigProblem(NO_MEMORY)
    answer = msgspec.msgpack.decode(out, type=Answer)
    if answer.problem:
        raise ConfigProblem(answer.problem)
    return answer.data


def main() -> int:
    """Question in, answer out."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    asked = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Asked)
    try:
        answer = Answer(rewrite(asked.parser, asked.data, asked.finds))
    except ConfigProblem as problem:
        answer = Answer(problem=str(problem))
    except MemoryError:
        answer = Answer(problem=NO_MEMORY)
    sys.stdout.buffer.write(msgspec.msgpack.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
