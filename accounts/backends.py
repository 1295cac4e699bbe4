"""Sign-in with e-mail or username and password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from accounts.limits import account_named
from accounts.models import User


class EmailOrUsernameBackend(ModelBackend):
    """The same work for an unknown name as for a wrong password, so that time tells nothing (E11)."""

    def authenticate(self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any) -> User | None:
        name = (username or kwargs.get("email") or "").strip()
        if not name or password is None:
            return None
        user = account_named(name)
        if user is None:
            make_password(password)
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None


class GrantBackend:
    """`user.has_perm("containers.start", container)`: the capability table and the grants, ends and all, in place of guardian's own backend."""

    supports_object_permissions = True

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:
        """Signs nobody in."""
        return

    def has_perm(self, user: Any, perm: str, obj: Any = None) -> bool:
        """With an object: `accounts.grants.rights`. Without one: the role. What is no code of the table is another backend's."""
        from accounts import grants
        from accounts.access import has
        from accounts.capabilities import CODES

        if perm not in CODES:
            return False
        if obj is None:
            return has(user, perm)
        table = next((kind for kind in grants.kinds().values() if isinstance(obj, kind.model)), None)
        return table is not None and perm in grants.rights(table, user, obj)
