"""The worker program: Celery's worker with a pool of threads, and beat as one more thread of it (a process less, some 60 MB)."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

from lormas.common import collector
from lormas.quickstart.config import STOP_SECONDS
from lormas.quickstart.leash import never_outlive_supervisor

CONCURRENCY = 4

BEAT_SECONDS = 5
"""How often beat looks for changed schedules."""

log = logging.getLogger(__name__)


def _keep_logging(**_: object) -> None:
    """Celery leaves logging alone where somebody listens to its `setup_logging`; Django has set it up (lormas.logconfig)."""


def main() -> None:
    collector.loading()
    never_outlive_supervisor(grace=STOP_SECONDS)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lormas.settings")
    from celery.beat import EmbeddedService
    from celery.signals import setup_logging

    from lormas.celery import app

    setup_logging.connect(_keep_logging, weak=False)
    app.loader.import_default_modules()
    app.finalize()
    beat: Any = EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler)
    beat.service.max_interval = BEAT_SECONDS

    def keep_beat_alive() -> None:
        """A worker whose beat died looks healthy and is not: end it, and the supervisor makes both anew."""
        beat.join()
        log.critical("beat died; the worker ends so that it is started again")
        os._exit(70)

    worker = app.Worker(
        pool="threads",
        concurrency=CONCURRENCY,
        loglevel=logging.INFO,
        without_gossip=True,
        without_mingle=True,
        hostname=f"quickstart@{os.uname().nodename}",
        quiet=True,
    )
    collector.loaded()
    beat.start()
    threading.Thread(target=keep_beat_alive, name="beat-guard", daemon=True).start()
    worker.start()
    os._exit(worker.exitcode or 0)  # beat's thread sleeps up to 5 s between ticks; nothing of it needs an end


if __name__ == "__main__":
    main()
