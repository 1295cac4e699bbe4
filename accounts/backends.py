"""Sign-in with e-mail or username and password."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.hashers import make_password
from django.db.models import Q
from django.http import HttpRequest

from accounts.models import User


class EmailOrUsernameBackend(ModelBackend):
    """The same work for an unknown name as for a wrong password, so that time tells nothing (E11)."""

    def authenticate(self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any) -> User | None:
        name = (username or kwargs.get("email") or "").strip()
        if not name or password is None:
            return None
        user = User.objects.filter(Q(email__iexact=name) | Q(username__iexact=name)).order_by("created_at").first()
        if user is None:
            make_password(password)
            return None
        return user if user.check_password(password) and self.user_can_authenticate(user) else None
