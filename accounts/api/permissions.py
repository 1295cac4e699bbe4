"""DRF's door handle to `accounts.access`."""

from __future__ import annotations

from typing import Any

from rest_framework.permissions import SAFE_METHODS, BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts.access import refuse_keys, require


class InPerson(IsAuthenticated):
    """Signed in, and not by an API key."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        refuse_keys(request.user)
        return super().has_permission(request, view)


class InPersonToWrite(InPerson):
    """Keys may look."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS:
            return IsAuthenticated.has_permission(self, request, view)
        return super().has_permission(request, view)


class Needs(BasePermission):
    """Signed in and holding a global capability; use `needs("users.view")` in `permission_classes`."""

    capability = ""

    def has_permission(self, request: Request, view: APIView) -> bool:
        if not (request.user and request.user.is_authenticated):
            return False
        require(request.user, self.capability)
        return True


def needs(capability: str) -> Any:
    """A permission class for one capability of `accounts.capabilities`."""
    return type("Needs_" + capability.replace(".", "_"), (Needs,), {"capability": capability})
