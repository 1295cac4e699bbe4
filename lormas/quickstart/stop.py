"""`lormas stop`: end the panel that runs from this data folder."""

from __future__ import annotations

import os
import signal

from lormas.env import Env, EnvError
from lormas.quickstart.places import ROOT, Places, running_instance
from lormas.quickstart.say import line, trouble
from lormas.quickstart.tree import wait

STOP_SECONDS = 15


def main() -> int:
    try:
        places = Places.of(Env(folder=ROOT))
    except EnvError as error:
        trouble(str(error))
        return 1
    running = running_instance(places)
    if running is None:
        line(f"Nothing runs from {places.data}.")
        return 0
    try:
        os.kill(int(running["pid"]), signal.SIGTERM)  # the lock is held, so this pid is the one that wrote it
    except (KeyError, ValueError, ProcessLookupError):
        pass
    if wait(lambda: running_instance(places) is None, seconds=STOP_SECONDS):
        line("Lormas has stopped. Containers stay as they were.")
        return 0
    trouble(f"it did not end within {STOP_SECONDS} s: see {places.logs / 'supervisord.log'}.")
    return 1
