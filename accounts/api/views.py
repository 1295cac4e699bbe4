"""Doors of `/api/auth/*` (SURFACE section 2)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import logout
from drf_spectacular.utils import extend_schema
from rest_framework import generics
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import services, sessions, tokens
from accounts.api.permissions import InPerson, InPersonToWrite
from accounts.api.serializers import (
    AuthSessionSerializer,
    MailedSerializer,
    OldTokenSerializer,
    PasswordSerializer,
    ProfileSerializer,
    ProvidersSerializer,
    RefreshSerializer,
    SessionSerializer,
    SignInSerializer,
    SignOutSerializer,
    SignUpSerializer,
    TokensSerializer,
    UserSerializer,
)
from accounts.models import AuthSession, User
from lormas.common.addresses import client_address

CHECK_MAIL = "Look into your mail: a link is on its way to that address."
"""Said to everybody who asks for one, whether or not it is true (E11)."""


def person(request: Request) -> User:
    """The signed-in person (the permission classes made sure that there is one)."""
    assert isinstance(request.user, User)
    return request.user


def body(serializer: Any) -> dict[str, Any]:
    """Its validated data; raises DRF's ValidationError."""
    serializer.is_valid(raise_exception=True)
    found: dict[str, Any] = serializer.validated_data
    return found


def _tokens(user: User, pair: tokens.Pair) -> dict[str, Any]:
    return {
        "user": UserSerializer(user).data, "access": pair.access, "refresh": pair.refresh, "token_type": "Bearer", "expires_in": pair.expires_in,
    }  # fmt: skip


def _user_agent(request: Request) -> str:
    return request.headers.get("User-Agent", "")


class SignUp(APIView):
    """Make an account and sign in to it."""

    permission_classes = [AllowAny]
    authentication_classes = []
    problem_statuses = (403,)

    @extend_schema(request=SignUpSerializer, responses={201: TokensSerializer, 202: MailedSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Sign up. Off where `SIGNUP_ENABLED=false` (403); where an address must be proved first, 202, and mail goes there."""
        data = body(SignUpSerializer(data=request.data))
        address = client_address(request._request)
        user = services.sign_up(**data, address=address)
        if user is None:
            return Response({"mailed": True, "detail": CHECK_MAIL}, status=202)
        return Response(_tokens(user, services.sign_in(user, address=address, user_agent=_user_agent(request))), status=201)


class SignIn(APIView):
    """E-mail address or username, password, and a code where there is a second factor, for tokens."""

    permission_classes = [AllowAny]
    authentication_classes = []
    throttle_classes = []  # has its own: by account and by address

    def pair(self, request: Request) -> tuple[User, tokens.Pair]:
        data = body(SignInSerializer(data=request.data))
        address = client_address(request._request)
        user = services.check_credentials(login=data["login"], password=data["password"], address=address)
        services.second_step(user, code=data["code"], address=address)
        return user, services.sign_in(user, address=address, user_agent=_user_agent(request))

    @extend_schema(request=SignInSerializer, responses={200: TokensSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Sign in. 401 with code `code_required`: the account has a second factor, send `code` too."""
        return Response(_tokens(*self.pair(request)))


class Login(SignIn):
    """The older spelling of signing in."""

    @extend_schema(request=SignInSerializer, responses={200: OldTokenSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Sign in: `{username, password}` -> `{access_token, token_type, expires_in}`."""
        _, pair = self.pair(request)
        return Response({"access_token": pair.access, "token_type": "Bearer", "expires_in": pair.expires_in})


class Refresh(APIView):
    """New tokens for a refresh token, which is good once."""

    permission_classes = [AllowAny]
    authentication_classes = []

    @extend_schema(request=RefreshSerializer, responses={200: TokensSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Refresh. A token that was used before ends its whole session (401)."""
        pair = tokens.rotate(body(RefreshSerializer(data=request.data))["refresh"])
        return Response(_tokens(pair.session.user, pair))


class SignOut(APIView):
    """End this sign-in: refresh family, access token and cookie session at once."""

    permission_classes = [InPerson]

    @extend_schema(request=SignOutSerializer, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """Sign out."""
        body(SignOutSerializer(data=request.data))
        user = person(request)
        if isinstance(request.auth, AuthSession):
            services.sign_out(request.auth, actor=user.as_actor())
            logout(request._request)
        else:
            sessions.end(request._request)
        return Response(status=204)


class Session(APIView):
    """Who you are."""

    @extend_schema(responses={200: SessionSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """The signed-in person, their capabilities, and the session."""
        session = sessions.current(request)
        return Response(SessionSerializer(SessionSerializer.of(person(request), session), context={"request": request}).data)


class Me(APIView):
    """Who you are, in short."""

    @extend_schema(responses={200: UserSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """The signed-in person."""
        return Response(UserSerializer(person(request)).data)


class Profile(APIView):
    """What you may read and change about yourself."""

    permission_classes = [InPersonToWrite]

    @extend_schema(responses={200: ProfileSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """Your profile."""
        return Response(ProfileSerializer(person(request)).data)

    @extend_schema(request=ProfileSerializer, responses={200: ProfileSerializer}, tags=["auth"])
    def put(self, request: Request) -> Response:
        """Replace your profile."""
        return self._change(request, partial=False)

    @extend_schema(request=ProfileSerializer, responses={200: ProfileSerializer}, tags=["auth"])
    def patch(self, request: Request) -> Response:
        """Change your profile."""
        return self._change(request, partial=True)

    def _change(self, request: Request, *, partial: bool) -> Response:
        user = person(request)
        data = body(ProfileSerializer(user, data=request.data, partial=partial))
        return Response(ProfileSerializer(services.update_profile(user, changes=data, actor=user.as_actor())).data)


class Password(APIView):
    """Change your password."""

    permission_classes = [InPerson]

    @extend_schema(request=PasswordSerializer, responses={204: None}, tags=["auth"])
    def put(self, request: Request) -> Response:
        """Change your password; ends all your other sessions and tokens."""
        user = person(request)
        data = body(PasswordSerializer(data=request.data))
        services.change_password(user, old=data["old_password"], new=data["password"], keep=sessions.current(request), actor=user.as_actor())
        if request.auth is None:
            sessions.after_password_change(request._request, user)
        return Response(status=204)


class Sessions(generics.ListAPIView[AuthSession]):
    """Your sign-ins, of browsers and of programs."""

    permission_classes = [InPerson]
    serializer_class = AuthSessionSerializer
    ordering_fields = ["created_at", "last_seen_at", "expires_at"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return AuthSession.objects.none()
        return services.own_sessions(person(self.request))

    @extend_schema(tags=["auth"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Your sessions that are not over."""
        return super().get(request, *args, **kwargs)

    @extend_schema(operation_id="auth_sessions_end_others", tags=["auth"], responses={204: None})
    def delete(self, request: Request) -> Response:
        """End all of them but the one that asks."""
        user = person(request)
        keep = sessions.current(request) or sessions.adopt(request._request, user)
        services.end_other_sessions(user, keep=keep, actor=user.as_actor())
        return Response(status=204)


class SessionDetail(APIView):
    """One of your sign-ins."""

    permission_classes = [InPerson]

    @extend_schema(responses={200: AuthSessionSerializer}, tags=["auth"])
    def get(self, request: Request, session_id: UUID) -> Response:
        """Read it, unless it is over."""
        session = services.own_session(person(request), session_id)
        return Response(AuthSessionSerializer(session, context={"request": request}).data)

    @extend_schema(responses={204: None}, tags=["auth"])
    def delete(self, request: Request, session_id: UUID) -> Response:
        """End it."""
        user = person(request)
        services.end_session(user, session_id, actor=user.as_actor())
        return Response(status=204)


class Providers(APIView):
    """How people can sign in here."""

    permission_classes = [AllowAny]

    @extend_schema(responses={200: ProvidersSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """The ways to sign in, and which are configured."""
        ways = [{"id": "email", "name": "E-mail", "configured": True, "url": settings.LOGIN_URL}]
        for name, label in (("github", "GitHub"), ("discord", "Discord")):
            ways.append({"id": name, "name": label, "configured": settings.SOCIAL_PROVIDERS[name], "url": f"/accounts/{name}/login/"})
        return Response({"providers": ways, "sign_up": settings.SIGNUP_ENABLED})
