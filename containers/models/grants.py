"""Rights on single containers (`accounts.grants`)."""

from __future__ import annotations

from django.db import models

from accounts.grant_models import RoleGrant, UserGrant
from containers.models.container import Container


class ContainerUserGrant(UserGrant):
    """To a person."""

    content_object = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="+")

    class Meta(UserGrant.Meta):
        pass


class ContainerRoleGrant(RoleGrant):
    """To a role."""

    content_object = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="+")

    class Meta(RoleGrant.Meta):
        pass
