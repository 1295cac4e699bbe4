"""The OpenAPI document: what drf-spectacular can't see by itself."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework.permissions import AllowAny

from lormas.common.api import problems
from lormas.common.api.serializers import ProblemSerializer

IDEMPOTENCY = OpenApiParameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    OpenApiParameter.HEADER,
    description="The same key with the same body replays the stored answer for 24 h; with another body it is 422, while the first runs 409.",
)
WORDS = {
    "400": "Malformed, or a field is wrong.",
    "401": "Not signed in.",
    "403": "Seen, but not allowed.",
    "404": "Unknown, or not visible to you.",
    "409": "The state does not allow it.",
    "412": "It has changed since you read it.",
    "413": "The body is too large.",
    "415": "The body is no JSON.",
    "422": "Valid shape, refused by a rule.",
    "423": "Locked by an operation.",
    "429": "Too many requests; see Retry-After.",
    "503": "The node is offline, or the panel's database does not answer for a moment; see Retry-After.",
    "504": "The node did not answer in time.",
    "507": "No room is left where the panel keeps its data.",
}


def only_the_plain_dialect(endpoints: list[tuple[str, str, str, Any]]) -> list[tuple[str, str, str, Any]]:
    """PREPROCESSING_HOOK: `/api/v1/` are the same routes in the envelope, and pages are none; the document describes each route once."""
    return [endpoint for endpoint in endpoints if endpoint[0].startswith("/api/") and not endpoint[0].startswith("/api/v1/")]


class ApiSchema(AutoSchema):
    """Adds to every operation the problems it can answer, and `Idempotency-Key` to mutations."""

    def get_override_parameters(self) -> list[Any]:
        given = list(super().get_override_parameters())
        return [*given, IDEMPOTENCY] if self.method in ("POST", "PUT", "PATCH", "DELETE") else given

    def get_operation_id(self) -> str:
        """`containers_action` for a verb in the path, so that it never collides with `containers_create`."""
        last = self.path.rstrip("/").rsplit("/", 1)[-1]
        if self.method == "POST" and last.startswith("{"):
            return "_".join([*(part.replace("-", "_") for part in self._tokenize_path()), last.strip("{}")])
        return str(super().get_operation_id())

    def _problem_statuses(self) -> list[str]:
        found = ["400", "401", "429", "503"]  # 401 on open routes too: a wrong token is never taken for none
        if not any(isinstance(permission, AllowAny) for permission in self.view.get_permissions()):
            found.append("403")
        if "{" in self.path or self._is_list_view():
            found.append("404")
        if self.method in ("POST", "PUT", "PATCH", "DELETE"):
            found += ["409", "413", "415", "422", "507"]
        return found + [str(status) for status in getattr(self.view, "problem_statuses", ())]

    def _get_response_bodies(self, direction: Any = "response") -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        component = self.resolve_serializer(ProblemSerializer, "response")
        for status in self._problem_statuses():
            bodies.setdefault(status, {"description": WORDS.get(status, "A problem."), "content": {problems.CONTENT_TYPE: {"schema": component.ref}}})
        return bodies
