"""Python's garbage collector in the programs that serve.

A look through everything takes a tenth of a second where a program with all its rooms is loaded, and nobody is served meanwhile; it comes every few
minutes under load. Nearly all that it looks through was made while the program loaded and lives as long as the process. So the collector rests
while the program loads (a fifth of that time), and what was loaded then is set apart.
"""

from __future__ import annotations

import gc


def rest() -> None:
    """Before the program is loaded."""
    gc.disable()


def loaded() -> None:
    """Once all that stays is there: it is never looked through again, and from now on what is made is."""
    gc.freeze()
    gc.enable()
