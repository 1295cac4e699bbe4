"""Doors of second factors: `/api/auth/{confirm,second-factor/...}`. Passkeys are made on the page /settings, for only a browser can."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import confirming, passkeys, second_factor, sessions, standing
from accounts.api.permissions import InPerson
from accounts.api.serializers import CodeField, PasswordField
from accounts.api.views import body, person
from accounts.models import AuthSession
from lormas.common.addresses import client_address
from lormas.common.api.serializers import StrictSerializer, TimeField


class ConfirmSerializer(StrictSerializer):
    """The password, or a code."""

    password = PasswordField(required=False)
    code = CodeField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs) != 1:
            raise serializers.ValidationError({"password": ["Give either password or code."]}, code="required")
        return attrs


class ConfirmedSerializer(StrictSerializer):
    """For how long credentials can be changed now."""

    seconds = serializers.IntegerField(read_only=True)


class PasskeySerializer(StrictSerializer):
    """A passkey."""

    id = serializers.IntegerField(read_only=True)
    name = serializers.CharField(read_only=True)
    created_at = TimeField(read_only=True)
    last_used_at = TimeField(read_only=True, allow_null=True)


class FactorSerializer(StrictSerializer):
    """Your second factors."""

    asked_for = serializers.BooleanField(read_only=True, help_text="The panel's policy asks you for one.")
    totp = serializers.BooleanField(read_only=True, help_text="An authenticator app is set up.")
    passkeys = PasskeySerializer(many=True, read_only=True)
    recovery_codes_left = serializers.IntegerField(read_only=True)


class DraftSerializer(StrictSerializer):
    """A set-up that has begun; good for 15 minutes."""

    secret = serializers.CharField(read_only=True, help_text="For the app; shown here only.")
    uri = serializers.CharField(read_only=True, help_text="The same as otpauth:// address, for a QR code.")
    draft = serializers.CharField(read_only=True, help_text="Send it back with the first code.")


class ActivationSerializer(StrictSerializer):
    """The first code that the app shows."""

    draft = serializers.CharField(max_length=1024, write_only=True)
    code = CodeField()


class CodesSerializer(StrictSerializer):
    """Recovery codes, each good once; told here only."""

    recovery_codes = serializers.ListField(child=serializers.CharField(), read_only=True)


class Confirm(APIView):
    """Show once more who you are."""

    permission_classes = [InPerson]

    @extend_schema(request=ConfirmSerializer, responses={200: ConfirmedSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """By password or code; for `CONFIRM_SECONDS` this session can then change credentials."""
        user, data = person(request), body(ConfirmSerializer(data=request.data))
        session = request.auth if isinstance(request.auth, AuthSession) else sessions.adopt(request._request, user)
        confirming.confirm(user, session, **data, address=client_address(request._request))
        return Response({"seconds": settings.CONFIRM_SECONDS})


class Factor(APIView):
    """Your second factors."""

    permission_classes = [InPerson]

    @extend_schema(responses={200: FactorSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """What you have, and whether the panel asks for one."""
        user = person(request)
        keys = [
            {"id": row.pk, "name": str(row.data.get("name", "")), "created_at": row.created_at, "last_used_at": row.last_used_at}
            for row in passkeys.of(user)
        ]
        found = {**second_factor.summary(user), "asked_for": standing.needs_second_factor(user), "passkeys": keys}
        return Response(FactorSerializer(found).data)


class Totp(APIView):
    """The authenticator app."""

    permission_classes = [InPerson]
    problem_statuses = (404,)

    @extend_schema(request=None, responses={201: DraftSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Begin to set one up."""
        sessions.require_recent(sessions.current(request))
        return Response(second_factor.begin_totp(person(request)), status=201, headers={"Cache-Control": "no-store"})

    @extend_schema(request=ActivationSerializer, responses={200: CodesSerializer}, tags=["auth"])
    def put(self, request: Request) -> Response:
        """Take it into use by the first code it shows. The answer holds the recovery codes, once."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        codes = second_factor.activate_totp(user, **body(ActivationSerializer(data=request.data)), actor=user.as_actor())
        return Response({"recovery_codes": codes}, headers={"Cache-Control": "no-store"})

    @extend_schema(responses={204: None}, tags=["auth"])
    def delete(self, request: Request) -> Response:
        """Remove it."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        second_factor.remove_totp(user, actor=user.as_actor())
        return Response(status=204)


class RecoveryCodes(APIView):
    """Recovery codes."""

    permission_classes = [InPerson]

    @extend_schema(request=None, responses={201: CodesSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Make new ones; the old ones are void."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        return Response({"recovery_codes": second_factor.renew_codes(user, actor=user.as_actor())}, status=201, headers={"Cache-Control": "no-store"})


class Passkey(APIView):
    """One of your passkeys."""

    permission_classes = [InPerson]

    @extend_schema(responses={204: None}, tags=["auth"])
    def delete(self, request: Request, passkey_id: int) -> Response:
        """Remove it."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        passkeys.remove(user, passkey_id, actor=user.as_actor())
        return Response(status=204)
