"""Doors of what is proved by mail: `/api/auth/{verify,password/forgot,password/reset,email}`."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import mailbox, proofs, sessions
from accounts.api.permissions import InPerson
from accounts.api.serializers import MailedSerializer, PasswordField, ProfileSerializer
from accounts.api.views import CHECK_MAIL, body, person
from lormas.common.addresses import client_address
from lormas.common.api.serializers import StrictSerializer


class AddressSerializer(StrictSerializer):
    """An e-mail address."""

    email = serializers.EmailField(max_length=254)


class TokenField(serializers.CharField):
    """The last part of a mailed link."""

    def __init__(self) -> None:
        super().__init__(write_only=True, max_length=proofs.MAX_CHARS, help_text="The last part of the mailed link.")


class VerifySerializer(StrictSerializer):
    """The link's token, and the password the account was made with."""

    token = TokenField()
    password = PasswordField()


class ResetSerializer(StrictSerializer):
    """The link's token, and the new password."""

    token = TokenField()
    password = PasswordField()


class ChangeSerializer(StrictSerializer):
    """The link's token."""

    token = TokenField()


def _mailed() -> Response:
    return Response({"mailed": True, "detail": CHECK_MAIL}, status=202)


class Verify(APIView):
    """Take a fresh account into use."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=VerifySerializer, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Prove the address of an account that was made a moment ago; then sign in."""
        data = body(VerifySerializer(data=request.data))
        mailbox.verify(data["token"], password=data["password"], address=client_address(request._request))
        return Response(status=204)


class VerifyAgain(APIView):
    """The confirmation mail once more."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=AddressSerializer, responses={202: MailedSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Ask for the confirmation mail again. The answer is always the same."""
        mailbox.ask_verification(**body(AddressSerializer(data=request.data)), address=client_address(request._request))
        return _mailed()


class Forgot(APIView):
    """A link for a new password."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=AddressSerializer, responses={202: MailedSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Ask for a link. The answer is always the same."""
        mailbox.ask_reset(**body(AddressSerializer(data=request.data)), address=client_address(request._request))
        return _mailed()


class Reset(APIView):
    """A new password by a mailed link."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=ResetSerializer, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Set it; all sessions of the account end. A second factor is still asked for at sign-in."""
        data = body(ResetSerializer(data=request.data))
        mailbox.reset(data["token"], password=data["password"], address=client_address(request._request))
        return Response(status=204)


class Email(APIView):
    """Your e-mail address."""

    permission_classes = [InPerson]

    @extend_schema(request=AddressSerializer, responses={202: MailedSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Ask for another address: a link goes there, and nothing changes before it is used. Needs a recent confirmation."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        mailbox.ask_change(user, **body(AddressSerializer(data=request.data)), actor=user.as_actor())
        return _mailed()


class EmailConfirm(APIView):
    """The link that came to the new address."""

    permission_classes = [InPerson]

    @extend_schema(request=ChangeSerializer, responses={200: ProfileSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Take the new address."""
        user = person(request)
        changed = mailbox.change(body(ChangeSerializer(data=request.data))["token"], by=user, actor=user.as_actor())
        return Response(ProfileSerializer(changed).data)
