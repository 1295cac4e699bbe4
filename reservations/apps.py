from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ReservationsConfig(AppConfig):
    name = "reservations"

    def ready(self) -> None:
        from reservations import checks, guard, schema  # noqa: F401 - they register themselves

        post_migrate.connect(guard.restore, sender=self)
