"""Doors of `/api/users`, for administrators."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import inviting, people
from accounts.access import require
from accounts.api.permissions import needs
from accounts.api.serializers import PasswordField, QuotaSerializer, UserDetailSerializer, UsernameField, UserSerializer
from accounts.api.views import body, person
from accounts.capabilities import ADMINISTRATOR
from accounts.models import User
from lormas.common.api.filters import TrueOrFalse
from lormas.common.api.serializers import StrictSerializer


class UserFilter(django_filters.FilterSet):
    role = django_filters.CharFilter(field_name="role__slug")
    is_active = TrueOrFalse()

    class Meta:
        model = User
        fields: list[str] = []


class NewUserSerializer(StrictSerializer):
    """A new account. Its password must be changed at the first sign-in, but for the older spelling's: its scripts know no other door."""

    email = serializers.EmailField(max_length=254, required=False, help_text="Needed, unless the older spelling names a username.")
    username = UsernameField(required=False, default="", allow_blank=True)
    name = serializers.CharField(max_length=128, required=False, default="", allow_blank=True)
    is_admin = serializers.BooleanField(required=False, help_text="The older spelling, with username and password: true is the role administrator.")
    role = serializers.CharField(max_length=64, required=False, default=None, allow_null=True, help_text="Slug or id; none: the role of sign-ups.")
    password = PasswordField(required=False, default=None, allow_null=True, help_text="None: one is made, and told once.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """`{username, password, is_admin}`, as scripts of the older interface send it: without an address of its own an account gets one that no
        mail reaches (RFC 2606)."""
        admin = attrs.pop("is_admin", None)
        if admin is not None and attrs["role"] is not None:
            raise serializers.ValidationError({"is_admin": ["Give either role or is_admin."]})
        if admin:
            attrs["role"] = ADMINISTRATOR
        if "email" not in attrs:
            if admin is None or not attrs["username"]:
                raise serializers.ValidationError({"email": ["This field is required."]}, code="required")
            attrs["email"] = f"{attrs['username']}@users.invalid"
        attrs["must_change"] = admin is None
        return attrs


class CreatedUserSerializer(UserSerializer):
    """A new account, and its password where it was made here."""

    password = serializers.CharField(read_only=True, allow_null=True, help_text="Told here and nowhere else; null where you gave one.")

    class Meta(UserSerializer.Meta):
        fields = [*UserSerializer.Meta.fields, "password"]
        read_only_fields = fields


class UserChangeSerializer(StrictSerializer):
    """What an administrator may change."""

    email = serializers.EmailField(max_length=254, required=False)
    username = UsernameField(required=False)
    name = serializers.CharField(max_length=128, required=False, allow_blank=True)
    role = serializers.CharField(max_length=64, required=False, help_text="Slug or id.")
    is_active = serializers.BooleanField(required=False)
    quota = QuotaSerializer(required=False, allow_null=True, help_text="Their own; null: that of their role counts. Nobody sets their own.")


class UserReplacementSerializer(UserChangeSerializer):
    """The same, whole."""

    email = serializers.EmailField(max_length=254)
    username = UsernameField()


class BulkSerializer(StrictSerializer):
    """One act on many accounts."""

    ids = serializers.ListField(child=serializers.UUIDField(), allow_empty=False, max_length=people.MAX_BULK)
    action = serializers.ChoiceField(choices=["activate", "deactivate", "delete", "assign_role"])
    role = serializers.CharField(max_length=64, required=False, help_text="Slug or id; with assign_role only.")


class BulkDoneSerializer(StrictSerializer):
    """What was done."""

    action = serializers.CharField(read_only=True)
    count = serializers.IntegerField(read_only=True)
    ids = serializers.ListField(child=serializers.UUIDField(), read_only=True)


class RoleCountSerializer(StrictSerializer):
    """How many have a role."""

    slug = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)
    count = serializers.IntegerField(read_only=True)


class UserStatsSerializer(StrictSerializer):
    """Counts."""

    total = serializers.IntegerField(read_only=True)
    active = serializers.IntegerField(read_only=True)
    inactive = serializers.IntegerField(read_only=True)
    administrators = serializers.IntegerField(read_only=True, help_text="Active ones; superusers included.")
    must_change_password = serializers.IntegerField(read_only=True)
    invited = serializers.IntegerField(read_only=True, help_text="They have not taken the account into use.")
    sessions = serializers.IntegerField(read_only=True, help_text="Sign-ins by token that are not over.")
    keys = serializers.IntegerField(read_only=True, help_text="API keys that are not over.")
    by_role = RoleCountSerializer(many=True, read_only=True)


class Users(generics.ListAPIView[User]):
    """All accounts."""

    permission_classes = [needs("users.view")]
    serializer_class = UserSerializer
    queryset = User.objects.select_related("role")
    filterset_class = UserFilter
    search_fields = ["email", "username", "name"]
    ordering_fields = ["email", "username", "name", "created_at"]

    @extend_schema(tags=["users"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List accounts."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["users"], request=NewUserSerializer, responses={201: CreatedUserSerializer})
    def post(self, request: Request) -> Response:
        """Make an account. Where no password is given, one is made and told in this answer only."""
        by = person(request)
        require(by, "users.manage")
        user, generated = people.create_person(by, actor=by.as_actor(), **body(NewUserSerializer(data=request.data)))
        answer = {**UserSerializer(user).data, "password": generated}
        return Response(answer, status=201, headers={"Location": f"/api/users/{user.pk}", "Cache-Control": "no-store"})


class UserDetail(generics.RetrieveAPIView[User]):
    """One account."""

    permission_classes = [needs("users.view")]
    serializer_class = UserDetailSerializer
    queryset = User.objects.select_related("role")
    lookup_url_kwarg = "user_id"

    @extend_schema(tags=["users"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read an account."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["users"], request=UserChangeSerializer, responses={200: UserDetailSerializer})
    def patch(self, request: Request, user_id: UUID) -> Response:
        """Change an account. Deactivating it ends its sessions and sockets at once. Nobody changes their own role or state."""
        return self._change(request, user_id, UserChangeSerializer)

    @extend_schema(tags=["users"], request=UserReplacementSerializer, responses={200: UserDetailSerializer})
    def put(self, request: Request, user_id: UUID) -> Response:
        """Replace what can be changed."""
        return self._change(request, user_id, UserReplacementSerializer)

    def _change(self, request: Request, user_id: UUID, kind: type[UserChangeSerializer]) -> Response:
        by = person(request)
        require(by, "users.manage")
        user = people.update_person(by, user_id, changes=body(kind(data=request.data)), actor=by.as_actor())
        return Response(UserDetailSerializer(user).data)

    @extend_schema(tags=["users"], responses={204: None})
    def delete(self, request: Request, user_id: UUID) -> Response:
        """Delete an account that owns nothing (409 otherwise)."""
        by = person(request)
        require(by, "users.manage")
        people.delete_person(by, user_id, actor=by.as_actor())
        return Response(status=204)


class UserStats(APIView):
    """Accounts in numbers."""

    permission_classes = [needs("users.view")]

    @extend_schema(tags=["users"], responses={200: UserStatsSerializer})
    def get(self, request: Request) -> Response:
        """How many accounts there are, by state and by role."""
        return Response(UserStatsSerializer(people.stats()).data)


class InvitationSerializer(StrictSerializer):
    """Whom to invite."""

    email = serializers.EmailField(max_length=254)
    name = serializers.CharField(max_length=128, required=False, default="", allow_blank=True)
    role = serializers.CharField(max_length=64, required=False, default=None, allow_null=True, help_text="Slug or id; none: the role of sign-ups.")


class UserInvite(APIView):
    """Inviting by e-mail."""

    permission_classes = [needs("users.manage")]

    @extend_schema(tags=["users"], request=InvitationSerializer, responses={201: UserSerializer})
    def post(self, request: Request) -> Response:
        """Make an account that waits for its owner, who gets a link by e-mail: good once, for a week. The link is told to nobody else."""
        by = person(request)
        user = inviting.invite(by, actor=by.as_actor(), **body(InvitationSerializer(data=request.data)))
        return Response(UserSerializer(user).data, status=201, headers={"Location": f"/api/users/{user.pk}"})


class UserInviteAgain(APIView):
    """Another letter."""

    permission_classes = [needs("users.manage")]

    @extend_schema(operation_id="users_invite_again", tags=["users"], request=None, responses={200: UserSerializer})
    def post(self, request: Request, user_id: UUID) -> Response:
        """Send the invitation again; the link of before is void. 409 where the account was taken into use."""
        by = person(request)
        return Response(UserSerializer(inviting.invite_again(by, user_id, actor=by.as_actor())).data)


class UserBulk(APIView):
    """One act on many accounts."""

    permission_classes = [needs("users.manage")]

    @extend_schema(tags=["users"], request=BulkSerializer, responses={200: BulkDoneSerializer})
    def post(self, request: Request) -> Response:
        """All or nothing: where one of them can't be done, none is, and `errors` says why for each."""
        by = person(request)
        wish = body(BulkSerializer(data=request.data))
        done = people.bulk(by, actor=by.as_actor(), **wish)
        return Response({"action": wish["action"], "count": len(done), "ids": [str(user.pk) for user in done]})
