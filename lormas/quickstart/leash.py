"""Programs that end with their parent. `python -m lormas.quickstart.leash PARENT COMMAND...` does what setpriv does, for machines without it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1


def end_with_parent(number: int = signal.SIGTERM) -> bool:
    """From now on the kernel sends this process a signal when its parent dies. False where there is no such thing (not Linux)."""
    if not sys.platform.startswith("linux"):
        return False
    return bool(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) == 0)


def never_outlive_supervisor(*, grace: float, look_every: float = 1.0) -> None:
    """End this process hard, `grace` seconds after its parent died. Does nothing where that is not our supervisor: somebody's shell may end.

    The kernel's signal asks politely, once. While the supervisor lives, it kills whoever does not follow; when it is itself what died, nobody
    would, and a program that hangs in its farewell (a broker that ended before it, a request that waits) would hold the port for ever.
    """
    if "LORMAS_RUN_SOCKET" not in os.environ:
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(look_every)
        time.sleep(grace)
        os._exit(1)

    threading.Thread(target=watch, name="never-outlive-supervisor", daemon=True).start()


def main(argv: list[str]) -> None:
    parent, command = int(argv[0]), argv[1:]
    end_with_parent()
    if os.getppid() != parent:  # it died before this, and no signal will come
        sys.exit(1)
    os.execvp(command[0], command)  # noqa: S606 - a program of ours


if __name__ == "__main__":
    main(sys.argv[1:])
