"""People, their roles, and the sessions under which tokens live."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import Group, PermissionsMixin
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext

from audit.services import Actor
from lormas.common.ids import new_id


class Role(models.Model):
    """A named set of capabilities."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    slug = models.SlugField(max_length=64, unique=True)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    capabilities = models.JSONField(default=list)
    built_in = models.BooleanField(default=False)
    group = models.OneToOneField(Group, on_delete=models.PROTECT, null=True, blank=True, editable=False, related_name="role")
    """Under which guardian keeps what was granted to the role; made with the first grant, gone with the role."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def title(self) -> str:
        """The name as pages show it: of built-in roles in the reader's language, of others as somebody typed it."""
        return gettext(self.name) if self.built_in else self.name

    @property
    def about(self) -> str:
        """The description as pages show it."""
        return gettext(self.description) if self.built_in and self.description else self.description


class UserManager(BaseUserManager["User"]):
    """Makes users; e-mail addresses are kept in lower case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        if not email:
            raise ValueError("a user needs an e-mail address")
        email = email.strip().lower()
        fields.setdefault("username", email)
        user = self.model(email=email, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        return self.create_user(email, password, **{**fields, "is_staff": True, "is_superuser": True})

    def get_by_natural_key(self, username: str | None) -> User:
        return self.get(email__iexact=username)


class User(AbstractBaseUser, PermissionsMixin):
    """A person (or, later, a service) that signs in with e-mail or username."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    email = models.EmailField(unique=True)
    username = models.CharField(max_length=254, unique=True, validators=[UnicodeUsernameValidator()])
    name = models.CharField(max_length=128, blank=True)
    role = models.ForeignKey(Role, on_delete=models.PROTECT, related_name="users", null=True, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    must_change_password = models.BooleanField(default=False)
    verified_email = models.CharField(max_length=254, blank=True)
    """The address that this person proved to read. Proven is only what equals `email`: whoever changes that takes the proof away."""
    must_verify_email = models.BooleanField(default=False)
    """Signed up by themselves where that asks for a proof of the address: no sign-in before it."""
    time_zone = models.CharField(max_length=64, blank=True)
    token_generation = models.PositiveIntegerField(default=0)
    """Raised to end all tokens and sessions of this person at once."""
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    api_key: ApiKey | None = None
    """Set on the instance where this request or socket was signed by a key: rights are then cut to its scopes."""

    impersonator: User | None = None
    """Set on the instance where somebody else sees the console as this person (`accounts.impersonation`)."""

    objects: ClassVar[UserManager] = UserManager()
    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        ordering = ["email"]
        constraints = [
            models.UniqueConstraint(Lower("email"), name="email_unique_in_any_case"),
            models.UniqueConstraint(Lower("username"), name="username_unique_in_any_case"),
        ]

    def __str__(self) -> str:
        return self.email

    @property
    def is_invited(self) -> bool:
        """Was invited, and has not taken the account into use: no password was ever chosen."""
        return not self.has_usable_password() and not self.verified_email

    @property
    def email_is_verified(self) -> bool:
        """Did this person prove to read mail at `email`?"""
        return bool(self.verified_email) and self.verified_email == self.email

    @property
    def label(self) -> str:
        """What to call this person on a page."""
        return self.name or self.username

    def get_full_name(self) -> str:
        return self.label

    def get_short_name(self) -> str:
        return self.label

    def _get_session_auth_hash(self, secret: str | None = None) -> str:
        """Cookie sessions end with the password (Django's part) and with the generation (ours)."""
        inherited: str = super()._get_session_auth_hash(secret=secret)  # type: ignore[misc]
        return salted_hmac("accounts.User.generation", f"{inherited}:{self.token_generation}", secret=secret, algorithm="sha256").hexdigest()

    def as_actor(self, address: str | None = None) -> Actor:
        """This person as the journal sees them."""
        if self.impersonator is not None:  # the journal names who it really is
            return Actor("user", id=str(self.impersonator.pk), label=f"{self.impersonator.label} as {self.label}", address=address)
        label = f"{self.label} (key {self.api_key.name})" if self.api_key is not None else self.label
        return Actor("user", id=str(self.pk), label=label, address=address)


class Quota(models.Model):
    """How much the people of a role, or one person, may have in containers: empty = no limit, no row = no quota (`accounts.quotas`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.OneToOneField(User, on_delete=models.CASCADE, null=True, blank=True, related_name="quota")
    role = models.OneToOneField(Role, on_delete=models.CASCADE, null=True, blank=True, related_name="quota")
    containers = models.PositiveIntegerField(null=True, blank=True)
    cpus = models.FloatField(null=True, blank=True)
    memory_bytes = models.BigIntegerField(null=True, blank=True)
    disk_bytes = models.BigIntegerField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(user__isnull=True) ^ models.Q(role__isnull=True), name="quota_of_a_user_or_of_a_role"),
        ]

    def __str__(self) -> str:
        return f"quota of {self.user or self.role}"


class AuthSession(models.Model):
    """One sign-in: a browser's (its cookie session is deleted with it), or the family of refresh tokens of a program.

    Access tokens name it, so ending it ends them at once.
    """

    BROWSER, TOKEN = "browser", "token"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="auth_sessions")
    kind = models.CharField(max_length=8, default="token", choices=[("browser", "Browser"), ("token", "Program")])
    session_key = models.CharField(max_length=40, blank=True, db_index=True)
    """Name of the cookie session's row (`accounts.sessionstore`), for a browser's. Never shown."""
    confirmed_at = models.DateTimeField(null=True, blank=True)
    """When this session last showed the password or a second factor; acts on credentials ask for a recent one."""
    refresh_id = models.UUIDField(default=new_id)
    """`jti` of the only refresh token that is still good; another one of this family is a replay and ends the family."""
    address = models.GenericIPAddressField(null=True, blank=True)
    user_agent = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    last_seen_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(db_index=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_why = models.CharField(max_length=64, blank=True)

    class Meta:
        ordering = ["-last_seen_at"]

    def __str__(self) -> str:
        return f"{self.user} since {self.created_at:%Y-%m-%d %H:%M}"


class ApiKey(models.Model):
    """A long-lived credential of a person's scripts. Immutable but for `last_used_at`; deleting it ends it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=16, unique=True)
    """The first characters of the secret, by which its owner and the look-up know it; no secret themselves."""
    digest = models.CharField(max_length=64)
    """SHA-256 of the whole secret."""
    scopes = models.JSONField(default=list)
    """Capability codes; what the key may do is these that its owner holds at that moment."""
    allowed_ips = models.JSONField(default=list, blank=True)
    """Networks it may be used from; empty: any."""
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    """To the minute."""
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "API key"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.prefix}… of {self.user}"


class Letter(models.Model):
    """A mail that is due: the row outlives a mail server that is away. Holds no secret: links are made when it is sent."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=32)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="letters", null=True, blank=True)
    """None: nobody is written to; such a row is made so that an unknown address takes the same work as a known one (E11)."""
    address = models.EmailField(max_length=254, blank=True)
    """Where it goes; empty: to the person's address at that time."""
    values = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField()
    due_at = models.DateTimeField(null=True, blank=True, db_index=True)
    """None: settled, one way or the other."""
    tries = models.PositiveSmallIntegerField(default=0)
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.kind} to {self.user or self.address or 'nobody'}"
