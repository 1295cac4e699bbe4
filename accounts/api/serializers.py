"""Shapes of the accounts API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.access import capabilities_of, has
from accounts.models import AuthSession, Role, User
from accounts.quotas import Allowance, allowance_of, of_person, of_role
from accounts.services import MAX_PASSWORD_CHARS
from accounts.sessions import KEY as SESSION_KEY
from lormas.common import zones
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer, TimeField


class PasswordField(serializers.CharField):
    """A password as it was typed: never trimmed, never returned."""

    def __init__(self, **kwargs: Any) -> None:
        defaults = {"write_only": True, "trim_whitespace": False, "max_length": MAX_PASSWORD_CHARS, "style": {"input_type": "password"}}
        super().__init__(**{**defaults, **kwargs})


class CodeField(serializers.CharField):
    """Six digits of an authenticator app, or a recovery code; spaces and dashes don't matter."""

    def __init__(self, **kwargs: Any) -> None:
        text = "Of the authenticator app, or a recovery code."
        super().__init__(**{"write_only": True, "max_length": 64, "help_text": text, **kwargs})


class UsernameField(serializers.RegexField):
    """Letters, digits, `._-`; no `@`, so that nobody's username reads as somebody's e-mail address."""

    def __init__(self, **kwargs: Any) -> None:
        message = {"invalid": "Letters, digits, dots, dashes and underscores; at most 64."}
        super().__init__(r"^[\w.-]{1,64}\Z", **{"max_length": 64, "error_messages": message, **kwargs})


class RoleBriefSerializer(StrictModelSerializer):
    """A role where it is mentioned."""

    class Meta:
        model = Role
        fields = ["id", "slug", "name"]
        read_only_fields = fields


class UserSerializer(StrictModelSerializer):
    """An account."""

    role = RoleBriefSerializer(read_only=True, allow_null=True)
    is_invited = serializers.BooleanField(read_only=True, help_text="Was invited, and has not taken the account into use.")
    email_is_verified = serializers.BooleanField(read_only=True, help_text="They proved to read mail at `email`.")

    class Meta:
        model = User
        fields = [
            "id", "email", "username", "name", "role", "is_active", "is_superuser", "must_change_password", "is_invited", "email_is_verified",
            "time_zone",
            "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class QuotaSerializer(StrictSerializer):
    """The most that somebody may have in containers, those in the trash included; null or absent = no limit."""

    containers = serializers.IntegerField(min_value=0, max_value=10**6, required=False, default=None, allow_null=True)
    cpus = serializers.FloatField(min_value=0, max_value=10**6, required=False, default=None, allow_null=True, help_text="Cores.")
    memory_bytes = serializers.IntegerField(min_value=0, max_value=2**60, required=False, default=None, allow_null=True)
    disk_bytes = serializers.IntegerField(min_value=0, max_value=2**60, required=False, default=None, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> Any:
        return Allowance(**attrs)


class RoleSerializer(StrictModelSerializer):
    """A role with its capabilities."""

    capabilities = serializers.ListField(child=serializers.CharField(), read_only=True)
    quota = serializers.SerializerMethodField(help_text="Of each of its people; null: none.")

    class Meta:
        model = Role
        fields = ["id", "slug", "name", "description", "capabilities", "quota", "built_in", "created_at", "updated_at"]
        read_only_fields = fields

    @extend_schema_field(QuotaSerializer(allow_null=True))
    def get_quota(self, role: Role) -> dict[str, Any] | None:
        found = of_role(role)
        return QuotaSerializer(found).data if found is not None else None


class UserDetailSerializer(UserSerializer):
    """An account with its quota."""

    quota = serializers.SerializerMethodField(help_text="Their own; null: that of their role counts.")
    effective_quota = serializers.SerializerMethodField(help_text="What counts.")

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "quota", "effective_quota"]
        read_only_fields = fields

    @extend_schema_field(QuotaSerializer(allow_null=True))
    def get_quota(self, user: User) -> dict[str, Any] | None:
        found = of_person(user)
        return QuotaSerializer(found).data if found is not None else None

    @extend_schema_field(QuotaSerializer())
    def get_effective_quota(self, user: User) -> dict[str, Any]:
        return QuotaSerializer(allowance_of(user.pk)).data


class PermissionSerializer(StrictSerializer):
    """A line of the capability table."""

    code = serializers.CharField(read_only=True)
    may = serializers.CharField(read_only=True, help_text='Completes the sentence "may ...".')
    object_level = serializers.BooleanField(read_only=True, help_text="Can also be granted on single objects.")


class SignUpSerializer(StrictSerializer):
    """A new account."""

    email = serializers.EmailField(max_length=254)
    password = PasswordField()
    name = serializers.CharField(max_length=128, required=False, default="", allow_blank=True)
    username = UsernameField(required=False, default="", allow_blank=True)


class SignInSerializer(StrictSerializer):
    """E-mail address or username, the password, and a code where the account has a second factor."""

    email = serializers.CharField(max_length=254, required=False)
    username = serializers.CharField(max_length=254, required=False)
    password = PasswordField()
    code = CodeField(required=False, default="", allow_blank=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("email" in attrs) == ("username" in attrs):
            raise serializers.ValidationError({"email": ["Give either email or username."]}, code="required")
        return {"login": attrs.get("email") or attrs.get("username"), "password": attrs["password"], "code": attrs.get("code", "")}


class RefreshSerializer(StrictSerializer):
    """A refresh token."""

    refresh = serializers.CharField(max_length=4096)


class SignOutSerializer(StrictSerializer):
    """The refresh token may be sent along; the session that signs the request is ended either way."""

    refresh = serializers.CharField(max_length=4096, required=False)


class MailedSerializer(StrictSerializer):
    """Mail is on its way, if there is somebody to write to."""

    mailed = serializers.BooleanField(read_only=True)
    detail = serializers.CharField(read_only=True)


class TokensSerializer(StrictSerializer):
    """What a sign-in gives."""

    user = UserSerializer(read_only=True)
    access = serializers.CharField(read_only=True)
    refresh = serializers.CharField(read_only=True)
    token_type = serializers.CharField(read_only=True)
    expires_in = serializers.IntegerField(read_only=True, help_text="Seconds for which `access` is good.")


class OldTokenSerializer(StrictSerializer):
    """What `POST /api/login` gives."""

    access_token = serializers.CharField(read_only=True)
    token_type = serializers.CharField(read_only=True)
    expires_in = serializers.IntegerField(read_only=True)


class AuthSessionSerializer(StrictModelSerializer):
    """One of your sign-ins."""

    current = serializers.SerializerMethodField()
    kind = serializers.ChoiceField(choices=["browser", "token"], read_only=True)

    class Meta:
        model = AuthSession
        fields = ["id", "kind", "address", "user_agent", "created_at", "last_seen_at", "expires_at", "current"]
        read_only_fields = fields

    def get_current(self, session: AuthSession) -> bool:
        request = self.context.get("request")
        if request is None:
            return False
        if isinstance(request.auth, AuthSession):
            return request.auth.pk == session.pk
        return request.auth is None and str(session.pk) == request._request.session.get(SESSION_KEY)


class SessionSerializer(StrictSerializer):
    """Who you are, and what you may do."""

    user = UserSerializer(read_only=True)
    capabilities = serializers.ListField(child=serializers.CharField(), read_only=True)
    session = AuthSessionSerializer(read_only=True, allow_null=True)

    @staticmethod
    def of(user: User, session: AuthSession | None) -> dict[str, Any]:
        """The data to serialize."""
        return {"user": user, "capabilities": sorted(capabilities_of(user)), "session": session}


class ProfileSerializer(StrictModelSerializer):
    """What you may change about yourself."""

    username = UsernameField(required=False)
    name = serializers.CharField(max_length=128, required=False, allow_blank=True)
    time_zone = serializers.CharField(max_length=64, required=False, allow_blank=True, help_text="An IANA name, such as Asia/Jakarta.")

    class Meta:
        model = User
        fields = ["id", "email", "username", "name", "time_zone"]
        read_only_fields = ["id", "email"]

    def to_internal_value(self, data: Any) -> Any:
        """What can't be changed here is no field to write, as one that nobody declared; but what was read may be sent back as it was."""
        if isinstance(data, Mapping) and self.instance is not None:
            kept = self.to_representation(self.instance)
            wrong = [name for name in self.Meta.read_only_fields if name in data and data[name] != kept[name]]
            if wrong:
                raise serializers.ValidationError({name: ["It can't be changed here."] for name in wrong}, code="read_only")
        return super().to_internal_value(data)

    def validate_time_zone(self, value: str) -> str:
        if value and not zones.known(value):
            raise serializers.ValidationError("There is no such time zone.")
        return value


class PasswordSerializer(StrictSerializer):
    """A password change."""

    old_password = PasswordField()
    password = PasswordField()


class ProviderSerializer(StrictSerializer):
    """One way to sign in."""

    id = serializers.ChoiceField(choices=["email", "github", "discord"], read_only=True)
    name = serializers.CharField(read_only=True)
    configured = serializers.BooleanField(read_only=True)
    url = serializers.CharField(read_only=True, help_text="Where a browser begins.")


class ProvidersSerializer(StrictSerializer):
    """How people can sign in here."""

    providers = ProviderSerializer(many=True, read_only=True)
    sign_up = serializers.BooleanField(read_only=True)


class EntrySerializer(StrictSerializer):
    """A row of the journal."""

    id = serializers.IntegerField(read_only=True)
    time = TimeField(read_only=True)
    actor_kind = serializers.CharField(read_only=True)
    actor_id = serializers.CharField(read_only=True)
    actor_label = serializers.CharField(read_only=True)
    action = serializers.CharField(read_only=True)
    outcome = serializers.ChoiceField(choices=["ok", "refused", "failed"], read_only=True)
    target_type = serializers.CharField(read_only=True)
    target_id = serializers.CharField(read_only=True)
    target_label = serializers.CharField(read_only=True)
    before = serializers.DictField(read_only=True)
    after = serializers.DictField(read_only=True)
    message = serializers.CharField(read_only=True)
    request_id = serializers.CharField(read_only=True)
    address = serializers.SerializerMethodField()

    @extend_schema_field({"type": ["string", "null"]})
    def get_address(self, entry: Any) -> str | None:
        """Whole for readers of the journal; on an object's timeline only one's own (I06)."""
        reader = self.context.get("addresses_of")
        if reader is None or has(reader, "audit.view") or entry.actor_id == str(reader.pk):
            address: str | None = entry.address
            return address
        return None
