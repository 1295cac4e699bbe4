"""The two tables that each kind of object has for its grants: direct-FK guardian models, for people and for roles.

A grant is the rows of one `grant_id`: one row per permission, with the same holder, end and reason. Rooms subclass both and add `content_object`
(docs/architecture/rights.md). guardian's own look-ups know no end: ask `accounts.grants`, or `user.has_perm(code, obj)`, never guardian's checker.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from guardian.models import GroupObjectPermissionBase, UserObjectPermissionBase

from lormas.common import clock
from lormas.common.ids import new_id


class GrantRow(models.Model):
    """What the rows of a grant say beside who, what and on what."""

    grant_id = models.UUIDField(default=new_id, db_index=True)
    expires_at = models.DateTimeField(null=True, blank=True, db_index=True)
    reason = models.CharField(max_length=255, blank=True)
    granted_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=clock.now)

    class Meta:
        abstract = True


class UserGrant(GrantRow, UserObjectPermissionBase):
    """Base of `<Kind>UserGrant`."""

    class Meta(UserObjectPermissionBase.Meta):
        abstract = True


class RoleGrant(GrantRow, GroupObjectPermissionBase):
    """Base of `<Kind>RoleGrant`; `group` is the role's."""

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = True
