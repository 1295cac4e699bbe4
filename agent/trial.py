"""The guard of an upgrade: starts the new agent, waits until the panel has welcomed it, and becomes the old agent again if that does not come.

Runs the *old* code and imports little. When the new agent is good the guard stays as its parent until it ends (so that who supervises the agent keeps
supervising it); from the next start on the agent is started without one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from agent import upgrade

POLL_SECONDS = 0.2
STOP_SECONDS = 15.0


def _give_up(data_dir: Path, child: subprocess.Popen[bytes], reason: str) -> None:
    """Back to the version before; does not return."""
    upgrade.mark(data_dir, "failed", reason)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    sys.stderr.write(f"lormas-agent: the upgrade failed, going back: {reason}\n")
    sys.stderr.flush()
    line = upgrade.command_line(data_dir)
    os.execve(line[0], line, upgrade.environment(upgrade.folder_in_use(data_dir)))  # noqa: S606


def run(data_dir: Path) -> int:
    """Try the version that `upgrade.json` names; returns its exit code once it was good and has ended."""
    trial = upgrade.read(data_dir)
    if trial is None or trial.state != "trial":
        line = upgrade.command_line(data_dir)
        os.execve(line[0], line, upgrade.environment(upgrade.folder_in_use(data_dir)))  # noqa: S606
    child = subprocess.Popen(
        upgrade.command_line(data_dir), env={**upgrade.environment(trial.folder), "LORMAS_AGENT_TRIAL": str(os.getpid())}, stdin=subprocess.DEVNULL
    )
    stopping = False

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True
        child.send_signal(number)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    end = time.monotonic() + float(os.environ.get("LORMAS_AGENT_TRIAL_SECONDS") or upgrade.TRIAL_SECONDS)
    while True:
        code = child.poll()
        now = upgrade.read(data_dir)
        good = now is not None and now.state == "good"
        if code is not None and (good or stopping):
            return code
        if code is not None:
            _give_up(data_dir, child, f"the new agent ended with exit code {code} before the panel had welcomed it")
        if not good and not stopping and time.monotonic() > end:
            _give_up(data_dir, child, "the new agent was not welcomed by the panel in time")
        time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    sys.exit(run(Path(sys.argv[1])))
