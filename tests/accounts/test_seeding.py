"""The first administrator: made once, with a password of their own or a generated one that must be changed."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest

from accounts import quotas, services
from accounts.models import Quota, Role, User
from accounts.seeding import first_password_file, seed_roles, seed_superuser
from audit.services import SYSTEM
from lormas.common.errors import Conflict

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture(autouse=True)
def folder(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    settings.SUPERUSER_EMAIL, settings.SUPERUSER_PASSWORD = "admin@lormas.local", None
    return tmp_path


def test_a_generated_password_is_told_once_kept_in_a_private_file_and_must_be_changed() -> None:
    """E05."""
    seed_roles()
    user, password = seed_superuser()
    assert password
    assert user.must_change_password
    assert user.role
    assert user.role.slug == "administrator"
    assert first_password_file().read_text() == f"admin@lormas.local\n{password}\n"
    assert stat.S_IMODE(first_password_file().stat().st_mode) == 0o600
    assert seed_superuser() == (user, None)
    services.change_password(user, old=password, new="another long phrase", keep=None, actor=user.as_actor())
    assert not first_password_file().exists()
    assert not User.objects.get().must_change_password


def test_a_given_password_is_used_and_nothing_is_written(settings: Any) -> None:
    settings.SUPERUSER_PASSWORD = "given by the operator"
    user, password = seed_superuser()
    assert password is None
    assert user.check_password("given by the operator")
    assert not user.must_change_password
    assert not first_password_file().exists()


def test_a_deleted_or_changed_administrator_is_never_made_again_while_there_is_one(settings: Any) -> None:
    """E05: a default account does not come back."""
    User.objects.create_superuser("other@example.org", "another long phrase")
    seed_superuser()
    assert User.objects.count() == 1


def test_an_ordinary_account_is_not_promoted_by_its_address() -> None:
    User.objects.create_user("admin@lormas.local", "another long phrase")
    with pytest.raises(Conflict):
        seed_superuser()


def test_a_reset_gives_a_new_password_and_ends_every_session(alice: Any, sign_in: Any, client: Any) -> None:
    pair = sign_in(alice)
    password = services.reset_password(alice, actor=SYSTEM)
    alice.refresh_from_db()
    assert alice.check_password(password)
    assert alice.must_change_password
    assert client.get("/api/whoami", headers={"Authorization": f"Bearer {pair['access']}"}).status_code == 401


def test_a_reset_lets_a_locked_out_person_in(alice: Any, client: Any, settings: Any) -> None:
    for _ in range(21):
        client.post("/api/auth/sign-in", {"email": "alice", "password": "wrong"}, content_type="application/json")
    password = services.reset_password(alice, actor=SYSTEM)
    assert client.post("/api/auth/sign-in", {"email": "alice", "password": password}, content_type="application/json").status_code == 200


def test_members_begin_with_a_quota_that_administrators_change_and_seeding_leaves_alone() -> None:
    """J08: whoever signs up can't fill the fleet; five containers of the default size fit. An older panel's members get the same (migration 0006)."""
    from importlib import import_module

    from django.apps import apps

    seed_roles()
    allowed = quotas.of_role(Role.objects.get(slug="member"))
    assert allowed == quotas.Allowance(containers=5, cpus=5.0, memory_bytes=8 * 1024**3, disk_bytes=20 * 1024**3)
    assert [role.slug for role in Role.objects.all() if quotas.of_role(role)] == ["member"]
    Quota.objects.update(containers=50)
    seed_roles()
    assert Quota.objects.get().containers == 50
    Quota.objects.all().delete()
    seed_roles()
    assert not Quota.objects.exists()
    import_module("accounts.migrations.0006_quota_of_members").give_members_theirs(apps, None)
    assert quotas.of_role(Role.objects.get(slug="member")) == allowed
