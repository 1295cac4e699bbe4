"""What the quick start prints: one line a step, with its seconds. Standard library only."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


class Trouble(Exception):
    """Something a person has to mend; the text is one sentence that says what to do. Never shown with a traceback."""


class Step:
    """A step that is under way; `note` is shown behind its seconds."""

    def __init__(self) -> None:
        self.note = ""
        self.quiet = False


def line(text: str = "") -> None:
    """Print now, even into a pipe."""
    print(text, flush=True)


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Time a step and print `  title  1.2 s  note`; a `quiet` one prints nothing."""
    begun = time.monotonic()
    current = Step()
    live = sys.stdout.isatty()
    if live:
        print(f"  {title} ...", end="", flush=True)
    try:
        yield current
    except BaseException:
        if live:
            print(flush=True)
        raise
    if live:
        print("\r\033[K", end="")
    if not current.quiet:
        line(f"  {title:<34}{time.monotonic() - begun:6.1f} s{'  ' + current.note if current.note else ''}")


def trouble(error: Trouble | str) -> None:
    """The one sentence, on standard error."""
    print(f"\nlormas: {error}", file=sys.stderr, flush=True)
