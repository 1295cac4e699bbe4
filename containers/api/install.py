"""Doors of the containers API: reinstalling, and what a container's console asks a person for."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access, services
from containers.api.views import OPERATION, WAIT, actor_of, checked
from containers.services import prompts
from lormas.common.api.serializers import StrictSerializer
from nodes.api.operations import operation_response, wait_seconds

FEATURE = OpenApiParameter("feature", str, OpenApiParameter.PATH, enum=list(prompts.KINDS))


class ReinstallSerializer(StrictSerializer):
    """Body of `POST …/reinstall`."""

    start = serializers.BooleanField(required=False, help_text="Start it afterwards; left out: if it was wanted running.")


class PromptChoiceSerializer(StrictSerializer):
    """One possible answer."""

    label = serializers.CharField()  # type: ignore[assignment]  # the name of the field, as in every form
    value = serializers.CharField()


class RoomSerializer(StrictSerializer):
    """What is known of the disk; null where nothing was heard yet."""

    needed_bytes = serializers.IntegerField(help_text="What Steam wants free at least.")
    node_free_bytes = serializers.IntegerField(allow_null=True)
    used_bytes = serializers.IntegerField(allow_null=True, help_text="What its files take.")
    limit_bytes = serializers.IntegerField(help_text="Its own limit; 0 = none.")


class PromptSerializer(StrictSerializer):
    """A question that a container's console has raised."""

    feature = serializers.ChoiceField(choices=list(prompts.KINDS))
    choices = PromptChoiceSerializer(many=True, help_text="java_version: the images to choose from.")
    suggestion = serializers.CharField(
        allow_blank=True, help_text="pid_limit: a limit that should do; steam_disk_space: a disk limit in GiB, if it has one."
    )
    variable = serializers.CharField(allow_blank=True, help_text="gsl_token: the variable that the token goes into.")
    room = RoomSerializer(allow_null=True, help_text="steam_disk_space: how much is free and needed.")
    can_answer = serializers.BooleanField(help_text="False: there is nothing to answer with, it is only told.")


class PromptsSerializer(StrictSerializer):
    """All open ones."""

    prompts = PromptSerializer(many=True)


class PromptAnswerSerializer(StrictSerializer):
    """Body of `POST …/prompts/{feature}`."""

    value = serializers.CharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=512,
        help_text="An image, a number of processes, a token, a disk limit in GiB; not needed for eula, and for steam_disk_space only to raise it.",
    )


class ContainerReinstall(APIView):
    """Run the egg's install script again over the container's files. A session container that is to start needs a place (`too_many_sessions`)."""

    problem_statuses = (422, 423, 503)

    @extend_schema(request=ReinstallSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        wait_seconds(request)
        body = checked(ReinstallSerializer, request.data or {})
        operation = services.reinstall(container, user=request.user, actor=actor_of(request), start=body.get("start"))
        return operation_response(request, operation)


class ContainerPrompts(APIView):
    """What its console asks for now."""

    @extend_schema(responses={200: PromptsSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id)
        found = [
            {
                "feature": prompt.feature,
                "choices": [{"label": label, "value": image} for label, image in prompt.choices],
                "suggestion": prompt.suggestion,
                "variable": prompt.variable,
                "room": RoomSerializer(prompt.room).data if prompt.room else None,
                "can_answer": prompt.can_answer,
            }
            for prompt in prompts.open_prompts(container)
        ]
        return Response({"prompts": found})


class ContainerPrompt(APIView):
    """One of them: answer it, or put it away."""

    problem_statuses = (423, 503)

    @extend_schema(request=PromptAnswerSerializer, responses=OPERATION, parameters=[WAIT, FEATURE])
    def post(self, request: Request, container_id: str, feature: str) -> Response:
        """Do what it promises and start the container."""
        container = access.get_container(request.user, container_id, "containers.edit")
        wait_seconds(request)
        body = checked(PromptAnswerSerializer, request.data or {})
        operation = prompts.answer(container, feature, value=body["value"], user=request.user, actor=actor_of(request))
        return operation_response(request, operation)

    @extend_schema(responses={204: None}, parameters=[FEATURE])
    def delete(self, request: Request, container_id: str, feature: str) -> Response:
        """Put it away until its console asks again."""
        container = access.get_container(request.user, container_id, "containers.edit")
        prompts.dismiss(container, feature, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)
