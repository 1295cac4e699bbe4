from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ReservationsConfig(AppConfig):
    name = "reservations"

    def ready(self) -> None:
        from reservations import guard, schema  # noqa: F401 - registers itself

        post_migrate.connect(guard.restore, sender=self)
