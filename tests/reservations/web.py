"""A panel as it is really run, with the keeper of its pool."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

from tests.nodes.rig import ROOT, Panel, surroundings


class Web(Panel):
    """The program that the quick start and the image run, as it is run."""

    def start(self) -> Web:
        assert self.log is not None
        with self.log.open("ab") as out:
            environment = {**surroundings(), "HOST": "127.0.0.1", "PORT": str(self.port), **self._environment}
            self.process = subprocess.Popen([sys.executable, "-m", "lormas.quickstart.web"], cwd=ROOT, env=environment, stdout=out, stderr=out)
        self.wait(60)
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=60) as answer:  # as the quick start and the image's health check ask
            assert answer.status == 200
        return self
