"""A runtime without containers, for tests and demos: quick enough for thousands, and able to misbehave on purpose.

A container's `command` is a little script, one step a word: `print TEXT`, `err TEXT`, `part TEXT` (no newline), `count N` (numbered
lines), `sleep SECONDS`, `exit CODE`, `echo` (standard input to standard output until the end), `ignore-term`. Without an `exit` it
runs for ever. Words that are no steps are ignored, so any image's command will do. An exec's argv is read the same way; `cat` is `echo`.
"""

from __future__ import annotations

from agent.runtimes.fake.knobs import Knobs
from agent.runtimes.fake.runtime import FakeRuntime

__all__ = ["FakeRuntime", "Knobs"]
