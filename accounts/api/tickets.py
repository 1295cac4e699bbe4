"""Door of `/api/auth/tickets`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import sessions, tickets
from accounts.api.views import body, person
from lormas.common.api.serializers import StrictSerializer


class TicketWishSerializer(StrictSerializer):
    """What a ticket shall open."""

    action = serializers.ChoiceField(choices=sorted(tickets.ACTIONS), help_text="`socket`: the client socket, as `/ws?token=<ticket>`.")
    container_id = serializers.UUIDField(required=False, allow_null=True, default=None, help_text="The only container that the socket is about.")


class TicketSerializer(StrictSerializer):
    """A ticket, good once."""

    ticket = serializers.CharField(read_only=True)
    action = serializers.CharField(read_only=True)
    container_id = serializers.UUIDField(read_only=True, allow_null=True)
    expires_in = serializers.IntegerField(read_only=True, help_text="Seconds.")


class Tickets(APIView):
    """One-time tickets."""

    permission_classes = [IsAuthenticated]

    @extend_schema(request=TicketWishSerializer, responses={201: TicketSerializer}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """A ticket for where no header can be sent. It opens no more than you may, once, within a minute, and ends with your session or key."""
        data: dict[str, Any] = body(TicketWishSerializer(data=request.data))
        user, about = person(request), data["container_id"]
        session = None
        if user.api_key is None:
            session = sessions.current(request) or sessions.adopt(request._request, user)
        text = tickets.issue(user, session, action=data["action"], about=str(about) if isinstance(about, UUID) else None)
        answer = {"ticket": text, "action": data["action"], "container_id": about, "expires_in": int(tickets.LIVES.total_seconds())}
        return Response(TicketSerializer(answer).data, status=201, headers={"Cache-Control": "no-store"})
