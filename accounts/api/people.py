"""The door to the capability table."""

from __future__ import annotations

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.serializers import PermissionSerializer
from accounts.capabilities import CAPABILITIES


class Permissions(APIView):
    """The capability table."""

    @extend_schema(responses={200: PermissionSerializer(many=True)}, tags=["roles"], operation_id="permissions_list")
    def get(self, request: Request) -> Response:
        """All capabilities there are."""
        return Response(PermissionSerializer(CAPABILITIES, many=True).data)
