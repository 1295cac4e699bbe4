"""`lormas`: the one command line. `lormas help` lists what it can do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from lormas import __version__
from lormas.quickstart.say import line, trouble

USAGE = """lormas run                              start panel, worker and a local agent (Ctrl-C stops)
lormas stop                             stop what runs from this data folder
lormas doctor [--json]                  what is wrong here, and the command that mends it
lormas admin reset-password [E-MAIL]    a new password for an account, shown once
lormas seed                             roles, first administrator, bundled eggs
lormas manage ...                       Django's own commands: migrate, shell, import_eggs, settings_table, ...
lormas version"""


def _run(arguments: list[str]) -> int:
    from lormas.quickstart import launch

    return launch.main()


def _stop(arguments: list[str]) -> int:
    from lormas.quickstart.stop import main

    return main()


def _doctor(arguments: list[str]) -> int:
    from lormas.quickstart.doctor import main

    return main(as_json="--json" in arguments)


def _admin(arguments: list[str]) -> int:
    if not arguments or arguments[0] != "reset-password" or len(arguments) > 2:
        trouble("usage: lormas admin reset-password [E-MAIL]")
        return 2
    return _manage(["reset_password", *arguments[1:]])


def _seed(arguments: list[str]) -> int:
    return _manage(["seed"])


def _manage(arguments: list[str]) -> int:
    from lormas.env import EnvError

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(["lormas manage", *arguments])
    except EnvError as error:
        trouble(str(error))
        return 1
    return 0


def _version(arguments: list[str]) -> int:
    line(f"lormas {__version__}")
    return 0


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "run": _run,
    "stop": _stop,
    "doctor": _doctor,
    "admin": _admin,
    "seed": _seed,
    "manage": _manage,
    "version": _version,
}


def main() -> int:
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("help", "-h", "--help"):
        line(USAGE)
        return 0
    command = COMMANDS.get(arguments[0])
    if command is None:
        trouble(f"there is no command {arguments[0]!r}.\n{USAGE}")
        return 2
    return command(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
