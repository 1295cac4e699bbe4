"""Python's collector of cycles, told that what a program loads at its start stays.

Half a million objects (models, URL patterns, serializers) live as long as the process. While they are made the collector looks through them again and
again for nothing (a seventh of a start), and afterwards with each full pass: a tenth of a second in which nobody is answered.
"""

from __future__ import annotations

import gc


def loading() -> None:
    """Modules are about to be loaded: what they make is no garbage."""
    gc.disable()


def loaded() -> None:
    """All is loaded: leave it out of every pass from now on."""
    gc.freeze()
    gc.enable()
