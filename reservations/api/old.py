"""The older interface's spellings: `/api/reserve` and `/api/release_all`, by POST, or by GET with a bearer token only (SURFACE section 7).

GET that changes something can be made by any page a person looks at, so a cookie never opens it (H02). The password in the address is in no log
line, journal row or answer of ours; what stands between (a proxy, a shell's history) is beyond us, so POST is better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.authentication import BearerAuthentication
from audit.denials import note_denied
from audit.services import Target
from lormas.common.errors import Forbidden
from reservations.api.machines import actor_of, checked
from reservations.api.serializers import MadeReservationSerializer, NewReservationSerializer, ReleaseAllSerializer, ReleasedSerializer
from reservations.api.views import made_answer, wish_of
from reservations.services import revoke
from reservations.services.reserve import reserve

WAIT_SECONDS = 30.0
"""Scripts of the older interface expect that the accounts are there when it answers."""
NAMES = {"count": "count", "duration": "duration_minutes", "reservation_password": "reservation_password", "public_key": "public_key"}
PARAMETERS = [
    OpenApiParameter("count", int),
    OpenApiParameter("duration", int, description="Minutes."),
    OpenApiParameter("reservation_password", str, description="Better in the body of a POST."),
    OpenApiParameter("public_key", str),
]


class _Old(APIView):
    http_method_names = ["get", "post", "options"]  # no HEAD: it would act

    def get_authenticators(self) -> Any:
        """A GET is let in by a bearer token alone."""
        if self.request is not None and self.request.method == "GET":
            return [BearerAuthentication()]
        return super().get_authenticators()


def _ask(request: Request, capability: str) -> None:
    """As `require`; a GET that acts is a write to the journal, too, where it is refused."""
    try:
        require(request.user, capability)
    except Forbidden as problem:
        if request.method == "GET":
            note_denied("api.denied", actor=actor_of(request), target=Target("route", "", request.path), message=f"GET: {problem.detail}")
        raise


class Reserve(_Old):
    """Reserve by three parameters."""

    def _reserve(self, request: Request, body: Mapping[str, Any]) -> Response:
        _ask(request, "reservations.create")
        given: dict[str, Any] = {}
        for source in (request.query_params, body):
            for name, value in source.items():
                given[NAMES.get(name, name)] = value
        for name in ("count", "duration_minutes"):
            if isinstance(given.get(name), str) and given[name].isascii() and given[name].isdigit() and len(given[name]) < 9:
                given[name] = int(given[name])
        given.setdefault("count", 1)
        wish = wish_of(request.user, checked(NewReservationSerializer, given))
        return made_answer(request, reserve(user=request.user, actor=actor_of(request), wish=wish), wait=WAIT_SECONDS)

    @extend_schema(tags=["older spellings"], parameters=PARAMETERS, responses={201: MadeReservationSerializer}, operation_id="old_reserve_get")
    def get(self, request: Request) -> Response:
        """`?count=&duration=&reservation_password=`: by a bearer token only, never by cookie."""
        return self._reserve(request, {})

    @extend_schema(
        tags=["older spellings"],
        parameters=PARAMETERS,
        request={"application/json": {"type": "object"}},
        responses={201: MadeReservationSerializer},
        operation_id="old_reserve",
    )
    def post(self, request: Request) -> Response:
        """The same names in the address or in the body; waits until the accounts are there."""
        body = request.data if isinstance(request.data, Mapping) else {}
        return self._reserve(request, body)


class ReleaseAll(_Old):
    """End everybody's reservations."""

    def _release(self, request: Request) -> Response:
        _ask(request, "reservations.any")
        return Response({"released": revoke.release_all(actor=actor_of(request))})

    @extend_schema(tags=["older spellings"], responses={200: ReleasedSerializer}, operation_id="old_release_all_get")
    def get(self, request: Request) -> Response:
        """By a bearer token only, never by cookie."""
        return self._release(request)

    @extend_schema(tags=["older spellings"], request=ReleaseAllSerializer, responses={200: ReleasedSerializer}, operation_id="old_release_all")
    def post(self, request: Request) -> Response:
        """As `POST /api/reservations/release_all`."""
        require(request.user, "reservations.any")
        body = checked(ReleaseAllSerializer, request.data or {})
        return Response({"released": revoke.release_all(actor=actor_of(request), confirm=body.get("confirm"))})
