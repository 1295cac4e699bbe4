"""The built-in roles and the first administrator. Idempotent."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction

from accounts.capabilities import BUILT_IN_ROLES, BuiltInRole
from accounts.models import Quota, Role, User
from audit.services import SYSTEM, Target, record
from lormas.common.errors import Conflict


def row_of(built_in: BuiltInRole) -> dict[str, Any]:
    """What the row of a built-in role says, beside its slug."""
    return {"name": built_in.name, "description": built_in.description, "capabilities": list(built_in.capabilities), "built_in": True}


def seed_roles() -> int:
    """Create the built-in roles and bring theirs up to the literal table; returns how many were made."""
    made = 0
    for built_in in BUILT_IN_ROLES:
        role, created = Role.objects.update_or_create(slug=built_in.slug, defaults=row_of(built_in))
        made += created
        if created and built_in.quota:
            Quota.objects.create(role=role, **dict(built_in.quota))
    return made


def first_password_file() -> Path:
    """Where a generated first password is kept (0600) until it is changed: two lines, e-mail address and password."""
    folder: Path = settings.DATA_DIR
    return folder / "initial-password"


def forget_first_password(user: User) -> None:
    """Remove the file, if it is this person's."""
    file = first_password_file()
    try:
        email = file.read_text(encoding="utf-8").partition("\n")[0]
    except OSError:
        return
    if email == user.email:
        file.unlink(missing_ok=True)


def _keep_first_password(user: User, password: str) -> None:
    file = first_password_file()
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.write(f"{user.email}\n{password}\n")
    draft.replace(file)


def seed_superuser() -> tuple[User, str | None]:
    """The first administrator: made once, never again (E05).

    Returns:
        The (oldest) superuser, and the password where one was generated now. It must be changed at first sign-in, and is kept in
        `first_password_file()` until then.

    Raises:
        Conflict: somebody else has the address of `SUPERUSER_EMAIL`.
    """
    known = User.objects.filter(is_superuser=True).order_by("created_at").first()
    if known is not None:
        return known, None
    email = settings.SUPERUSER_EMAIL
    if User.objects.filter(email__iexact=email).exists():
        raise Conflict(f"{email} is an ordinary account: set SUPERUSER_EMAIL to another address.", code="superuser_email_taken")
    generated = None if settings.SUPERUSER_PASSWORD else secrets.token_urlsafe(15)
    with transaction.atomic():
        user = User.objects.create_superuser(
            email,
            settings.SUPERUSER_PASSWORD or generated,
            username="admin" if not User.objects.filter(username__iexact="admin").exists() else email,
            name="Administrator",
            role=Role.objects.filter(slug="administrator").first(),
            must_change_password=generated is not None,
        )
        record("accounts.superuser", actor=SYSTEM, target=Target("user", str(user.pk), user.label))
        if generated is not None:  # on disk before the row is committed: a crash in between must not lose it
            _keep_first_password(user, generated)
    return user, generated
