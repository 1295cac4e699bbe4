"""Doors of the machines API: parse, ask access, call one service, render."""

from __future__ import annotations

from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.parsers import BaseParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.models import User
from audit.services import Actor
from lormas.common.api.parsers import ApiParser, BodyTooLarge
from lormas.common.errors import FieldError, Invalid
from reservations import machinefile, selectors, sources
from reservations.access import get_machine, require_sight, visible_machines
from reservations.api.filters import MachineFilter
from reservations.api.serializers import (
    BrokenSerializer,
    FixedSerializer,
    ImportedMachinesSerializer,
    MachineFileSerializer,
    MachineSerializer,
    MachineWishSerializer,
    PoolSerializer,
)
from reservations.models import Machine
from reservations.services import checks, machines, revoke


def actor_of(request: Request) -> Actor:
    """The signed-in person as the journal sees them."""
    return cast(User, request.user).as_actor()


def checked(serializer_class: Any, data: Any, *, partial: bool = False) -> dict[str, Any]:
    """The validated body, or 400."""
    serializer = serializer_class(data=data, partial=partial)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


class Yaml(BaseParser):
    """A machine file, as bytes."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        data = stream.read(machinefile.MAX_BYTES + 1)
        if len(data) > machinefile.MAX_BYTES:
            raise BodyTooLarge(f"A machine file is at most {machinefile.MAX_BYTES} bytes.")
        return data


def rendered(request: Request, machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = MachineSerializer(machine, context={"request": request}).data
    return found


class Machines(ListAPIView[Machine]):
    """The pool; register a machine."""

    serializer_class = MachineSerializer
    filterset_class = MachineFilter
    search_fields = ["name", "host", "description"]
    ordering_fields = ["name", "created_at", "latency_ms", "checked_at"]

    def get_queryset(self) -> Any:
        return Machine.objects.none() if getattr(self, "swagger_fake_view", False) else visible_machines(self.request.user)

    @extend_schema(tags=["machines"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List machines."""
        require_sight(request.user)
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        assert page is not None
        return self.get_paginated_response(self.get_serializer(selectors.pool(list(page))["rows"], many=True).data)

    @extend_schema(tags=["machines"], request=MachineWishSerializer, responses={201: MachineSerializer})
    def post(self, request: Request) -> Response:
        """Register a machine. It is looked at right away, and its host key is pinned."""
        require(request.user, "machines.manage")
        fields = sources.filled(request.user, checked(MachineWishSerializer, request.data), new=True)
        machine = machines.register_machine(actor=actor_of(request), **fields)
        return Response(rendered(request, machine), status=status.HTTP_201_CREATED, headers={"Location": f"/api/machines/{machine.pk}"})


class MachineDetail(APIView):
    """One machine, by id or name."""

    @extend_schema(tags=["machines"], responses={200: MachineSerializer})
    def get(self, request: Request, machine: str) -> Response:
        """Read a machine."""
        return Response(rendered(request, get_machine(request.user, machine)))

    def _change(self, request: Request, machine: str, *, partial: bool) -> Response:
        found = get_machine(request.user, machine, "machines.manage")
        changes = sources.filled(request.user, checked(MachineWishSerializer, request.data, partial=partial), new=False)
        return Response(rendered(request, machines.update_machine(found, actor=actor_of(request), **changes)))

    @extend_schema(tags=["machines"], request=MachineWishSerializer, responses={200: MachineSerializer})
    def patch(self, request: Request, machine: str) -> Response:
        """Change what people set. Credentials that are not given stay; empty ones are taken away."""
        return self._change(request, machine, partial=True)

    @extend_schema(tags=["machines"], request=MachineWishSerializer, responses={200: MachineSerializer})
    def put(self, request: Request, machine: str) -> Response:
        """Change what people set; the name must be given."""
        return self._change(request, machine, partial=False)

    @extend_schema(tags=["machines"], responses={204: None})
    def delete(self, request: Request, machine: str) -> Response:
        """Forget a machine that nobody holds or has booked."""
        machines.delete_machine(get_machine(request.user, machine, "machines.manage"), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class MachineImport(APIView):
    """Many at once."""

    parser_classes = [ApiParser, Yaml]

    @extend_schema(
        tags=["machines"],
        request={"application/json": MachineFileSerializer, "application/yaml": MachineFileSerializer},
        responses={201: ImportedMachinesSerializer},
        parameters=[
            OpenApiParameter("localhost_as", str, description="Host that replaces localhost, 127.0.0.1 and ::1, such as host.docker.internal."),
            OpenApiParameter("update", bool, description="Change machines of the same name instead of refusing them."),
        ],
    )
    def post(self, request: Request) -> Response:
        """Register the machines of a file (YAML or JSON), all or none."""
        require(request.user, "machines.manage")
        data = request.data
        given = machinefile.machines_of(data) if isinstance(data, bytes) else checked(MachineFileSerializer, data)["machines"]
        localhost_as = request.query_params.get("localhost_as", "")
        update = request.query_params.get("update", "").lower() in ("true", "1")
        done = machines.import_machines(rows_of(request.user, given), actor=actor_of(request), localhost_as=localhost_as, update=update)
        body = {
            "created": sum(new for _, new in done),
            "updated": sum(not new for _, new in done),
            "machines": selectors.pool([machine for machine, _ in done])["rows"],
        }
        return Response(ImportedMachinesSerializer(body, context={"request": request}).data, status=status.HTTP_201_CREATED)


def rows_of(user: Any, given: list[Any]) -> list[dict[str, Any]]:
    """Each entry by the rules of `POST /api/machines`. Raises Invalid with `machines.<n>.<field>`."""
    wrong: list[FieldError] = []
    rows: list[dict[str, Any]] = []
    for index, entry in enumerate(given[: machines.MAX_IMPORT + 1]):
        serializer = MachineWishSerializer(data=entry if isinstance(entry, dict) else {})
        if not serializer.is_valid():
            from lormas.common.api.exceptions import flatten

            wrong += [FieldError(f"machines.{index}.{error.field}", error.message, error.code) for error in flatten(serializer.errors)]
            continue
        rows.append(sources.filled(user, serializer.validated_data, new=True))
    if wrong:
        raise Invalid("Some machines can't be registered; none was.", errors=wrong[:100])
    return rows


class MachineCheck(APIView):
    """Look at it now."""

    @extend_schema(tags=["machines"], request=None, responses={200: MachineSerializer})
    def post(self, request: Request, machine: str) -> Response:
        """Sign in there (at most some seconds): is it reachable, how fast, is it still the one that was pinned?"""
        found = get_machine(request.user, machine, "machines.manage")
        return Response(rendered(request, checks.check_machine(found, actor=actor_of(request))))


class MachineBroken(APIView):
    """Out of the pool."""

    @extend_schema(tags=["machines"], request=BrokenSerializer, responses={200: MachineSerializer})
    def post(self, request: Request, machine: str) -> Response:
        """Mark it broken: nobody gets it until it is marked fixed."""
        found = get_machine(request.user, machine, "machines.manage")
        body = checked(BrokenSerializer, request.data or {})
        return Response(rendered(request, machines.mark_broken(found, actor=actor_of(request), reason=body.get("reason", ""))))


class MachineFixed(APIView):
    """Back into the pool."""

    @extend_schema(tags=["machines"], request=FixedSerializer, responses={200: MachineSerializer})
    def post(self, request: Request, machine: str) -> Response:
        """Mark it fixed; it is looked at before anybody gets it. A changed host key must be named to be accepted."""
        found = get_machine(request.user, machine, "machines.manage")
        body = checked(FixedSerializer, request.data or {})
        return Response(rendered(request, machines.mark_fixed(found, actor=actor_of(request), **body)))


class MachineClean(APIView):
    """A quarantined one."""

    @extend_schema(tags=["machines"], request=None, responses={200: MachineSerializer})
    def post(self, request: Request, machine: str) -> Response:
        """Try now to remove what could not be proved gone."""
        found = get_machine(request.user, machine, "machines.manage")
        return Response(rendered(request, revoke.clean_machine(found, actor=actor_of(request))))


class Available(APIView):
    """The pool now."""

    @extend_schema(tags=["machines"], responses={200: PoolSerializer})
    def get(self, request: Request) -> Response:
        """Totals, and each machine: available, reserved (until when, by whom), quarantined, broken or offline."""
        require_sight(request.user)
        pool = selectors.pool(list(visible_machines(request.user).order_by("name")))
        rows = [
            {
                "id": row["machine"].pk,
                "name": row["machine"].name,
                "labels": row["machine"].labels,
                "status": row["status"],
                "reason": row["reason"],
                "until": row["holder"].until if row["holder"] else None,
                "person": row["holder"].reservation.owner_label if row["holder"] else None,
            }
            for row in pool.pop("rows")
        ]
        return Response(PoolSerializer({**pool, "machines": rows}).data)
