from django.apps import AppConfig


class EggsConfig(AppConfig):
    name = "eggs"
    verbose_name = "Eggs"
