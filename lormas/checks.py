"""System checks: a typo in the wiring or an unsafe production setting stops the boot."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name

from lormas.common.wires import resolve, wired

SAMPLE_SECRETS = frozenset({"change-me", "changeme", "your-super-secret-key-here", "secret", "ChangeMe123!", "admin", "password"})


@register()
def wiring(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every dotted string of `lormas.wiring` must import."""
    found: list[CheckMessage] = []
    for table in ("FACTS", "SETTLED", "PROGRESS", "NODE_CHANGED", "NODE_HELLO", "NODE_FOREIGN", "SINKS", "MACHINE_SOURCES"):
        entries = wired(table)
        for dotted in entries.values() if isinstance(entries, dict) else entries:
            try:
                resolve(dotted)
            except ImportError as error:
                found.append(Error(f"lormas.wiring.{table}: {dotted} can't be imported: {error}", id="lormas.E001"))
    return found


@register()
def sample_secrets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Secrets printed in documents are nobody's secrets."""
    if settings.DEBUG:
        return []
    return [
        Error(f"{name} is a sample printed in documents.", hint=f"Set {name} to a value of your own, or unset it.", id="lormas.E002")
        for name in ("SECRET_KEY", "SUPERUSER_PASSWORD")
        if getattr(settings, name, None) in SAMPLE_SECRETS
    ]


@register(Tags.security, deploy=True)
def open_signup(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Open sign-up on a public panel is a choice somebody should have made."""
    if not settings.SIGNUP_ENABLED:
        return []
    return [Warning("Anybody can make an account.", hint="Set SIGNUP_ENABLED=false unless you want that.", id="lormas.W001")]
