"""`/api/eggs/{id}/rollouts`: a version of an egg for chosen containers, and back."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import grants
from accounts.access import has, require
from containers import services
from containers.access import get_container, grant_kind, visible_containers
from containers.models import Rollout, RolloutItem
from eggs.access import get_egg
from eggs.models import Egg, EggVersion
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer
from lormas.common.errors import FieldError, Invalid, NotFound

MAX_IDS = 1000


class RolloutItemSerializer(StrictModelSerializer):
    """One container of a rollout."""

    container = serializers.UUIDField(source="container_id", read_only=True)
    name = serializers.CharField(source="container.name", read_only=True)
    from_version = serializers.IntegerField(source="from_version.number", read_only=True, allow_null=True, default=None)
    in_effect = serializers.SerializerMethodField(help_text="False: it counts from the next start.")

    class Meta:
        model = RolloutItem
        fields = ["container", "name", "state", "detail", "from_version", "from_image", "to_image", "in_effect"]
        read_only_fields = fields

    def get_in_effect(self, item: RolloutItem) -> bool:
        return item.state == RolloutItem.State.APPLIED and not item.container.spec_changed


class RolloutSerializer(StrictModelSerializer):
    """A rollout with the containers that you may see."""

    egg = serializers.UUIDField(source="egg_id", read_only=True)
    version = serializers.IntegerField(source="version.number", read_only=True)
    items = RolloutItemSerializer(many=True, read_only=True)

    class Meta:
        model = Rollout
        fields = ["id", "egg", "version", "created_at", "reverted_at", "items"]
        read_only_fields = fields


class NewRolloutSerializer(StrictSerializer):
    """Which containers get which version; `dry_run` only says what would happen."""

    containers = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=MAX_IDS)
    version = serializers.IntegerField(min_value=1, required=False, help_text="Default: the current one.")
    dry_run = serializers.BooleanField(default=False)


class MoveSerializer(StrictSerializer):
    """What one container would get."""

    container = serializers.UUIDField(source="container.pk", read_only=True)
    name = serializers.CharField(source="container.name", read_only=True)
    image = serializers.CharField(read_only=True)
    dropped = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="Variables that the version doesn't know any more.")
    problem = serializers.CharField(read_only=True, allow_blank=True, help_text="Why it can't be moved; empty if it can.")


class PlanSerializer(StrictSerializer):
    """The answer to a dry run."""

    version = serializers.IntegerField(read_only=True)
    moves = MoveSerializer(many=True, read_only=True)


def visible_rollouts(user: Any, egg: Egg) -> QuerySet[Rollout]:
    """Those of an egg that touch a container this person may see (all of them, for who sees all); items of others are left out."""
    mine = visible_containers(user)
    items = RolloutItem.objects.filter(container__in=mine).select_related("container", "from_version").defer("from_version__definition")
    found = Rollout.objects.filter(egg=egg).select_related("version", "egg", "created_by").defer("version__definition")
    if not has(user, "containers.any"):
        found = found.filter(items__container__in=mine).distinct()
    return found.prefetch_related(Prefetch("items", queryset=items))


def get_rollout(user: Any, egg: Egg, rollout_id: UUID) -> Rollout:
    """Raises NotFound."""
    found = visible_rollouts(user, egg).filter(pk=rollout_id).first()
    if found is None:
        raise NotFound(f"There is no rollout {rollout_id} of this egg, or it is not yours to see.")
    return found


def version_for(egg: Egg, number: int | None) -> EggVersion:
    """By its number, or the current one. Raises NotFound."""
    found = egg.current if number is None else egg.versions.filter(number=number).first()
    if found is None:
        raise NotFound(f"The egg {egg.name} has no version {number}.", errors=[FieldError("version", "Unknown version.", "not_found")])
    return found


def may_roll_out(user: Any) -> None:
    """Raises Forbidden for those who may edit no container at all."""
    granted = grants.granted_ids(grant_kind(), user, "containers.edit")
    if granted is None or not granted.exists():
        require(user, "containers.edit")


def editable(user: Any, egg: Egg, ids: list[UUID]) -> list[Any]:
    """Each through its door. Raises NotFound, Forbidden, Invalid for one of another egg."""
    found = [get_container(user, container_id, "containers.edit") for container_id in dict.fromkeys(ids)]
    for index, container in enumerate(found):
        if container.egg_id != egg.pk:
            raise Invalid(
                f"{container.name} is not made of {egg.name}.",
                code="other_egg",
                errors=[FieldError(f"containers.{index}", "It is of another egg.", "other_egg")],
            )
    return found


class Rollouts(generics.ListAPIView[Rollout]):
    """Rollouts of an egg."""

    serializer_class = RolloutSerializer
    ordering_fields = ["created_at"]

    def get_queryset(self) -> QuerySet[Rollout]:
        if getattr(self, "swagger_fake_view", False):
            return Rollout.objects.none()
        return visible_rollouts(self.request.user, get_egg(self.request.user, self.kwargs["egg_id"], "eggs.view"))

    @extend_schema(tags=["eggs"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List rollouts, newest first."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["eggs"], request=NewRolloutSerializer, responses={201: RolloutSerializer, 200: PlanSerializer})
    def post(self, request: Request, egg_id: UUID) -> Response:
        """Give chosen containers a version of their egg at their next start; 200 and only a plan with `dry_run`."""
        user: Any = request.user
        egg = get_egg(user, egg_id, "eggs.view")
        may_roll_out(user)
        serializer = NewRolloutSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        version = version_for(egg, asked.get("version"))
        containers = editable(user, egg, asked["containers"])
        if asked["dry_run"]:
            return Response(PlanSerializer({"version": version.number, "moves": services.preview_rollout(version, containers)}).data)
        rollout = services.roll_out(version, [container.pk for container in containers], user=user, actor=user.as_actor())
        return Response(RolloutSerializer(get_rollout(user, egg, rollout.pk)).data, status=201)


class RolloutDetail(APIView):
    """One rollout."""

    @extend_schema(tags=["eggs"], responses={200: RolloutSerializer})
    def get(self, request: Request, egg_id: UUID, rollout_id: UUID) -> Response:
        """How it stands."""
        return Response(RolloutSerializer(get_rollout(request.user, get_egg(request.user, egg_id, "eggs.view"), rollout_id)).data)


class RolloutRevert(APIView):
    """Back."""

    @extend_schema(tags=["eggs"], request=None, responses={200: RolloutSerializer})
    def post(self, request: Request, egg_id: UUID, rollout_id: UUID) -> Response:
        """Give each container back what it had, at its next start."""
        user: Any = request.user
        egg = get_egg(user, egg_id, "eggs.view")
        rollout = may_revert(user, get_rollout(user, egg, rollout_id))
        services.revert(rollout, actor=user.as_actor())
        return Response(RolloutSerializer(get_rollout(user, egg, rollout_id)).data)


def may_revert(user: Any, rollout: Rollout) -> Rollout:
    """All of its containers must be this person's to edit. Raises NotFound, Forbidden."""
    items = RolloutItem.objects.filter(rollout=rollout, container__deleted_at__isnull=True)
    for container_id in items.values_list("container_id", flat=True):
        get_container(user, container_id, "containers.edit")
    return rollout
