"""Who calls the API: bearer tokens and the console's session cookie."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from accounts.models import ApiKey, AuthSession, User
from accounts.standing import hold_of
from accounts.tokens import user_for_access_token
from lormas.common.addresses import client_address
from lormas.common.errors import Forbidden, NotSignedIn


def hold_back(request: Request, user: User) -> None:
    """Somebody who is held back opens nothing but the doors that mend it (E05). Raises Forbidden, with the hold's code."""
    match = request._request.resolver_match
    hold = hold_of(user)
    if hold is not None and match is not None and match.url_name not in hold.routes:
        raise Forbidden(hold.detail, code=hold.code)


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer <access JWT or API key>`; sets `request.auth` to the AuthSession or ApiKey."""

    def authenticate(self, request: Request) -> tuple[User, AuthSession | ApiKey | None] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if not token.strip():
            raise NotSignedIn("The Authorization header has no token.", code="token_invalid")
        user, session = user_for_access_token(token.strip(), address=client_address(request._request))
        hold_back(request, user)
        return user, session or user.api_key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class ConsoleSessionAuthentication(SessionAuthentication):
    """The session cookie; a mutation needs CSRF (H02)."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        found = super().authenticate(request)
        if found is None:
            return None
        user: User = found[0]  # type: ignore[assignment]
        hold_back(request, user)
        return user, None
