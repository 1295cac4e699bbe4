"""System checks of the pool."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, register


@register()
def hands(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Hands that are chosen must be there."""
    if settings.RESERVATION_HANDS != "ansible":
        return []
    from reservations.hands import ansible

    if ansible.installed():
        return []
    hint = "Install it: pip install 'lormas[ansible]', and OpenSSH's client. Or set RESERVATION_HANDS=ssh."
    return [Error("RESERVATION_HANDS is ansible, but Ansible is not installed beside the panel.", hint=hint, id="reservations.E001")]
