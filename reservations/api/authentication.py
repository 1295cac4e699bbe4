"""Signing in for what can't send a bearer header: calendar programs."""

from __future__ import annotations

import base64
import binascii

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts import keys
from accounts.authentication import hold_back
from accounts.models import ApiKey, User
from accounts.tokens import user_for_access_token
from lormas.common.addresses import client_address
from lormas.common.errors import NotSignedIn


class KeyAsPassword(BaseAuthentication):
    """HTTP Basic whose password is an API key (the name is not looked at): no secret in an address, and none that opens more than its scopes."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey | None] | None:
        scheme, _, packed = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            _name, _, key = base64.b64decode(packed.strip(), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            key = ""
        if not keys.looks_like_key(key):
            raise NotSignedIn("The password must be an API key: make one under your profile, with the scope machines.view.", code="token_invalid")
        user, _session = user_for_access_token(key, address=client_address(request._request))
        hold_back(request, user)
        return user, user.api_key

    def authenticate_header(self, request: Request) -> str:
        return 'Basic realm="Lormas calendar"'
