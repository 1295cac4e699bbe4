"""`python -m lormas.quickstart.leash COMMAND...`: run a command that ends when its parent dies. For machines without setpriv."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> bool:
    """From now on the kernel sends this process a signal when its parent dies. False where there is no such thing (not Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) == 0)


def main(argv: list[str]) -> None:
    parent = os.getppid()
    end_with_parent()
    if os.getppid() != parent:  # it died in between
        sys.exit(1)
    os.execvp(argv[0], argv)  # noqa: S606 - a program of ours


if __name__ == "__main__":
    main(sys.argv[1:])
