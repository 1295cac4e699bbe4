from django.apps import AppConfig


class LormasConfig(AppConfig):
    name = "lormas"
    verbose_name = "Lormas"

    def ready(self) -> None:
        from lormas import checks  # noqa: F401 - registers the system checks
