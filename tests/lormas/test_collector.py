"""What a program loads at its start is no work for Python's collector of cycles."""

from __future__ import annotations

import gc
import json
import subprocess
import sys

from lormas.common import collector
from tests.nodes.rig import ROOT, surroundings

LOADED = """
import gc, json
import lormas.asgi
from django.urls import get_resolver
urls = "url_patterns" in vars(get_resolver())
print(json.dumps({"enabled": gc.isenabled(), "at": gc.get_threshold(), "frozen": gc.get_freeze_count(), "left": len(gc.get_objects()), "urls": urls}))
"""


def test_a_loaded_panel_is_left_out_of_every_pass(transactional_db: None) -> None:
    """All views are loaded before the first request, and what is made from then on is looked after as ever."""
    told = subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, env=surroundings(), capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(told.stdout)
    assert found["enabled"] and found["urls"]
    assert found["at"] == [collector.THRESHOLD, 10, 10], "and looked through less often than a page makes what goes by itself"
    assert found["frozen"] > 50_000 and found["left"] < found["frozen"] / 10


def test_cycles_made_while_loading_wait_and_those_made_later_go() -> None:
    class Ring:
        def __init__(self) -> None:
            self.itself = self

    was = gc.isenabled()
    try:
        collector.loading()
        assert not gc.isenabled()
        collector.loaded()
        assert gc.isenabled()
        Ring()
        gc.collect()
        assert not any(isinstance(one, Ring) for one in gc.get_objects())
    finally:
        gc.unfreeze()
        gc.freeze()  # as after collecting the tests (conftest)
        if not was:
            gc.disable()
