"""System checks: a typo in the wiring or an unsafe production setting stops the boot."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004 - Django's name

from lormas.common.wires import resolve, wired

SAMPLE_SECRETS = frozenset({"change-me", "changeme", "your-super-secret-key-here", "secret", "ChangeMe123!", "admin", "password"})
SHORTEST_SECRET: Final = 32


TABLES = (
    "FACTS", "STATS", "NODE_HOMES", "SETTLED", "PROGRESS", "NODE_CHANGED", "NODE_HELLO", "NODE_FOREIGN", "NODE_KNOWN", "NODE_TAKEN",
    "NODE_HOLDINGS", "NODE_EVICT", "NODE_BRING_BACK", "MACHINE_SOURCES",
    "GRANTS", "SINKS", "JOBS",
)  # fmt: skip


@register()
def wiring(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Every dotted string of `lormas.wiring` must import."""
    found: list[CheckMessage] = []
    for table in TABLES:
        entries = wired(table)
        for dotted in (entry["run"] if isinstance(entry, dict) else entry for entry in (entries.values() if isinstance(entries, dict) else entries)):
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
    given = {"SECRET_KEY": settings.SECRET_KEY, "JWT_SECRET": settings.JWT_USER_KEY, "SUPERUSER_PASSWORD": settings.SUPERUSER_PASSWORD}
    return [
        Error(f"{name} is a sample printed in documents.", hint=f"Set {name} to a value of your own, or unset it.", id="lormas.E002")
        for name, value in given.items()
        if value in SAMPLE_SECRETS
    ]


def _exposed() -> bool:
    """Does the panel answer to more than this machine?"""
    host = (urlsplit(settings.PUBLIC_URL).hostname or "").lower()
    return not (host == "localhost" or host.endswith(".localhost") or host == "::1" or host.startswith("127."))


@register()
def short_secrets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """What can be guessed signs nothing on a panel that others reach (E05)."""
    if settings.DEBUG or not _exposed():
        return []
    given = [("SECRET_KEY", settings.SECRET_KEY), ("JWT_SECRET", settings.JWT_USER_KEY), *(("FIELD_KEYS", key) for key in settings.FIELD_KEYS)]
    hint = "Unset it, then one is made and kept in LORMAS_DATA; or make one: python3 -c 'import secrets; print(secrets.token_urlsafe(48))'"
    return [
        Error(f"{name} is shorter than {SHORTEST_SECRET} characters.", hint=hint, id="lormas.E003")
        for name, value in given
        if len(value) < SHORTEST_SECRET
    ]


@register(Tags.security, deploy=True)
def open_signup(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Open sign-up on a public panel is a choice somebody should have made."""
    if not settings.SIGNUP_ENABLED:
        return []
    return [Warning("Anybody can make an account.", hint="Set SIGNUP_ENABLED=false unless you want that.", id="lormas.W001")]
