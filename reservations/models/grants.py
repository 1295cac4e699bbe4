"""Rights on single machines (`accounts.grants`)."""

from __future__ import annotations

from django.db import models

from accounts.grant_models import RoleGrant, UserGrant
from reservations.models.machine import Machine


class MachineUserGrant(UserGrant):
    """To a person."""

    content_object = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="+")

    class Meta(UserGrant.Meta):
        pass


class MachineRoleGrant(RoleGrant):
    """To a role."""

    content_object = models.ForeignKey(Machine, on_delete=models.CASCADE, related_name="+")

    class Meta(RoleGrant.Meta):
        pass
