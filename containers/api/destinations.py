"""Doors of the destinations of backups; for those who change the panel's settings."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from containers.api.views import actor_of, checked
from containers.models import BackupDestination
from containers.services import destinations
from lormas.common.api.serializers import StrictSerializer, TimeField
from lormas.common.errors import NotFound

PLACES = ("folder", "bucket", "prefix", "endpoint", "region", "access_key", "secret_key")


class DestinationSerializer(StrictSerializer):
    """Where archives are kept. Keys go in and never come out; has_secret says that there are some."""

    id = serializers.UUIDField(read_only=True)
    name = serializers.CharField(max_length=64)
    kind = serializers.ChoiceField(choices=BackupDestination.Kind.choices)
    folder = serializers.CharField(max_length=1024, required=False, allow_blank=True, help_text="Of kind local.")
    bucket = serializers.CharField(max_length=128, required=False, allow_blank=True, help_text="Of kind s3, as the next ones.")
    prefix = serializers.CharField(max_length=256, required=False, allow_blank=True)
    endpoint = serializers.CharField(max_length=512, required=False, allow_blank=True, help_text="Empty: AWS.")
    region = serializers.CharField(max_length=64, required=False, allow_blank=True)
    access_key = serializers.CharField(max_length=256, required=False, write_only=True, allow_blank=True)
    secret_key = serializers.CharField(max_length=512, required=False, write_only=True, allow_blank=True)
    has_secret = serializers.BooleanField(read_only=True)
    is_default = serializers.BooleanField(required=False)
    is_enabled = serializers.BooleanField(required=False)
    backups = serializers.IntegerField(read_only=True, help_text="How many are kept there.")
    tested_at = TimeField(read_only=True, allow_null=True)
    problem = serializers.CharField(read_only=True, help_text="What its last test ran into; empty: nothing.")


class DestinationChangeSerializer(DestinationSerializer):
    """What can be changed later: all but its kind."""

    name = serializers.CharField(max_length=64, required=False)
    kind = serializers.ChoiceField(choices=BackupDestination.Kind.choices, read_only=True)


def shown(one: BackupDestination) -> dict[str, Any]:
    """As the API gives it."""
    body = {
        "id": one.pk,
        "name": one.name,
        "kind": one.kind,
        **{name: one.config.get(name, "") for name in PLACES[:5]},
        "has_secret": bool(one.secret),
        "is_default": one.is_default,
        "is_enabled": one.is_enabled,
        "backups": one.backups.count(),
        "tested_at": one.tested_at,
        "problem": one.problem,
    }
    return dict(DestinationSerializer(body).data)


def get_destination(user: Any, destination_id: Any) -> BackupDestination:
    require(user, "settings.manage")
    found = BackupDestination.objects.filter(pk=destination_id).first()
    if found is None:
        raise NotFound("There is no such destination.")
    return found


class Destinations(APIView):
    """All of them, the default one first."""

    problem_statuses = (409,)

    @extend_schema(operation_id="backup_destinations_list", responses={200: DestinationSerializer(many=True)})
    def get(self, request: Request) -> Response:
        require(request.user, "settings.manage")
        return Response([shown(one) for one in BackupDestination.objects.all()])

    @extend_schema(request=DestinationSerializer, responses={201: DestinationSerializer})
    def post(self, request: Request) -> Response:
        require(request.user, "settings.manage")
        body = checked(DestinationSerializer, request.data)
        given = {name: body[name] for name in PLACES if name in body}
        made = destinations.add(name=body["name"], kind=body["kind"], given=given, is_default=body.get("is_default", False), actor=actor_of(request))
        return Response(shown(made), status=status.HTTP_201_CREATED)


class DestinationOne(APIView):
    """One of them."""

    problem_statuses = (409,)

    @extend_schema(responses={200: DestinationSerializer})
    def get(self, request: Request, destination_id: str) -> Response:
        return Response(shown(get_destination(request.user, destination_id)))

    @extend_schema(request=DestinationChangeSerializer, responses={200: DestinationSerializer})
    def patch(self, request: Request, destination_id: str) -> Response:
        found = get_destination(request.user, destination_id)
        body = checked(DestinationChangeSerializer, request.data)
        changed = destinations.change(
            found,
            actor=actor_of(request),
            name=body.get("name"),
            given={name: body[name] for name in PLACES if name in body},
            is_default=body.get("is_default"),
            is_enabled=body.get("is_enabled"),
        )
        return Response(shown(changed))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, destination_id: str) -> Response:
        destinations.remove(get_destination(request.user, destination_id), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class DestinationTest(APIView):
    """Write, read and remove something small there; `problem` of the answer says how it went."""

    @extend_schema(request=None, responses={200: DestinationSerializer})
    def post(self, request: Request, destination_id: str) -> Response:
        found = get_destination(request.user, destination_id)
        return Response(shown(destinations.test(found, actor=actor_of(request))))
