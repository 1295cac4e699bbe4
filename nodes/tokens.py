"""Agent tokens: JWTs that name a node and nothing else.

Claims: `aud` "agent", `iss` "lormas", `sub` node id, `jti` = the row's `token_id` (or `previous_token_id` within its grace). Signed with
`settings.JWT_AGENT_KEY`, a key of its own, so that no other token of the panel passes here. They have no expiry: rotation ends them.
"""

from __future__ import annotations

from uuid import UUID

import jwt
from django.conf import settings

from lormas.common import clock
from nodes.models import Node

AUDIENCE = "agent"
ISSUER = "lormas"


class BadToken(Exception):
    """The token is not good; `code` is `bad_token` or `unknown_node`; the text is for the person who runs the agent."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def issue(node: Node) -> str:
    """The token that is good for the row's present `token_id`."""
    claims = {"aud": AUDIENCE, "iss": ISSUER, "sub": str(node.pk), "jti": str(node.token_id), "iat": int(clock.unix())}
    return jwt.encode(claims, settings.JWT_AGENT_KEY, algorithm="HS256")


def claims_of(token: str) -> tuple[UUID, UUID]:
    """(node id, token id) of a well-signed token, without a look at the database; raises BadToken."""
    for key in (settings.JWT_AGENT_KEY, *settings.JWT_AGENT_FALLBACK_KEYS):  # a rotated SECRET_KEY must not cut a fleet off
        try:
            return _decoded(token, key)
        except (jwt.PyJWTError, ValueError, TypeError):
            continue
    raise BadToken("bad_token", "This is not a node token of this panel. Copy the join command from the node's page again.")


def _decoded(token: str, key: str) -> tuple[UUID, UUID]:
    claims = jwt.decode(
        token,
        key,
        algorithms=["HS256"],
        audience=AUDIENCE,
        issuer=ISSUER,
        leeway=30,
        options={"require": ["sub", "jti", "aud", "iss"]},
    )
    return UUID(str(claims["sub"])), UUID(str(claims["jti"]))


def node_of(token: str) -> Node:
    """The node that a token speaks for; raises BadToken."""
    node_id, token_id = claims_of(token)
    node = Node.objects.filter(pk=node_id).first()
    if node is None:
        raise BadToken("unknown_node", "The node of this token has been removed from the panel. Register the machine again.")
    if token_id == node.token_id:
        return node
    until = node.previous_token_until
    if token_id == node.previous_token_id and until is not None and clock.now() < until:
        return node
    raise BadToken("bad_token", "This token has been replaced by a newer one. Join again with the new token from the node's page.")
