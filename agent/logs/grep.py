"""Searching by pattern, in a process of its own.

`re` holds the interpreter's lock while it matches, so a pattern that runs for ever would stop the whole agent from a thread; a process
can be killed (SECURITY.md M18; the `regex` module with its time limit is not among the agent's dependencies).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

import msgspec

from agent.logs.query import Found, Plan, run

TIME_LIMIT_SECONDS = 6.0
MEMORY_BYTES = 1024 * 1024 * 1024


class SearchTooSlow(Exception):
    """The process was killed."""


async def search(plan: Plan) -> Found:
    """Raises SearchTooSlow."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agent.logs.grep",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        async with asyncio.timeout(TIME_LIMIT_SECONDS):
            out, _ = await process.communicate(msgspec.json.encode(plan))
    except TimeoutError:
        raise SearchTooSlow from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise SearchTooSlow
    return msgspec.json.decode(out, type=Found)


def main() -> int:
    """Plan in, answer out."""
    import resource

    seconds = int(TIME_LIMIT_SECONDS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    os.nice(5)
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(run(plan)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
