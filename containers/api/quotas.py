"""What somebody uses of their quota (`containers.services.quotas`)."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.services.quotas import standing_of
from lormas.common.api.serializers import StrictSerializer
from lormas.common.errors import FieldError, Invalid


class CountStandingSerializer(StrictSerializer):
    """Used and allowed; null: no limit."""

    used = serializers.IntegerField(read_only=True)
    allowed = serializers.IntegerField(read_only=True, allow_null=True)


class CoresStandingSerializer(StrictSerializer):
    """Used and allowed, in cores; null: no limit."""

    used = serializers.FloatField(read_only=True)
    allowed = serializers.FloatField(read_only=True, allow_null=True)


class QuotaStandingSerializer(StrictSerializer):
    """What a person's containers take, those in the trash included, and what they may take."""

    containers = CountStandingSerializer(read_only=True)
    cpus = CoresStandingSerializer(read_only=True)
    memory_bytes = CountStandingSerializer(read_only=True)
    disk_bytes = CountStandingSerializer(read_only=True)


class ContainerQuota(APIView):
    """Your quota."""

    problem_statuses = (404,)

    @extend_schema(
        tags=["containers"],
        parameters=[OpenApiParameter("owner", UUID, description="Whose; none: yours. Of others with `users.view`.")],
        responses={200: QuotaStandingSerializer},
    )
    def get(self, request: Request) -> Response:
        """What you use of your quota, and what is left."""
        given = request.query_params.get("owner", "")
        try:
            owner = access.quota_owner(request.user, UUID(given) if given else None)
        except ValueError:
            raise Invalid("owner is the id of an account.", errors=[FieldError("owner", "It is not an id.", "invalid")]) from None
        return Response(QuotaStandingSerializer(standing_of(owner)).data)
