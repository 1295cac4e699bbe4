"""Python's collector of cycles, told that what a program loads at its start stays.

Half a million objects (models, URL patterns, serializers) live as long as the process. While they are made the collector looks through them again and
again for nothing (a seventh of a start), and afterwards with each full pass: a tenth of a second in which nobody is answered.
"""

from __future__ import annotations

import gc

THRESHOLD = 10_000
"""Objects that can be part of a cycle, made and not gone yet, after which the youngest are looked through. One page makes some thousand that go by
themselves: at Python's 700 the collector looks through them while they are needed, a twenty-fifth of a request's work; above 20,000 memory grows out
of the processor's caches, and that costs more."""


def loading() -> None:
    """Modules are about to be loaded: what they make is no garbage."""
    gc.disable()


def loaded() -> None:
    """All is loaded: leave it out of every pass from now on."""
    gc.freeze()
    gc.set_threshold(THRESHOLD)
    gc.enable()
