"""`manage.py seed`: roles, first administrator, bundled eggs, the agent's wheel. Can be run again and makes nothing twice."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from lormas.quickstart.places import Places
from lormas.quickstart.prepare import build_wheel, import_eggs, seed


class Command(BaseCommand):
    help = "Makes the built-in roles, the first administrator and the bundled eggs, where they are missing."

    def handle(self, *args: Any, **options: Any) -> None:
        from django.conf import settings

        places = Places(settings.DATA_DIR)
        places.make()
        password = seed()
        import_eggs()
        build_wheel(places)
        if password is not None:
            self.stdout.write(f"{settings.SUPERUSER_EMAIL}  password: {password}  (shown this once)")
