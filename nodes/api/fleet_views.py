"""Doors to what is planned for nodes: drains, maintenance windows, onboarding keys, registries, jobs, events."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import refuse_keys, require
from accounts.models import User
from lormas.common.errors import NotFound
from nodes import drains, jobs, onboarding, registries, upgrades, windows
from nodes.access import get_cluster, get_node
from nodes.api import fleet_shapes as shapes
from nodes.api.operations import OperationAnswerSerializer, operation_response, wait_seconds
from nodes.api.views import actor_of, checked
from nodes.joining import key_command
from nodes.models import JobRun, MaintenanceWindow, NodeEvent, OnboardingKey, Registry

WAIT = OpenApiParameter("wait", float, description="Seconds (at most 60) to wait for the operation's end before answering.")
OPERATION = {202: OperationAnswerSerializer, 200: OperationAnswerSerializer}


class NodeDrain(APIView):
    """Emptying a node."""

    @extend_schema(tags=["nodes"], responses={200: shapes.DrainPlanSerializer})
    def get(self, request: Request, node_id: UUID) -> Response:
        """What a drain would do with each container now, and what would be lost. Changes nothing."""
        node = get_node(request.user, node_id, "nodes.drain")
        return Response(shapes.DrainPlanSerializer({"containers": [drains.as_data(holding) for holding in drains.plan(node)]}).data)

    @extend_schema(tags=["nodes"], request=shapes.DrainSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID) -> Response:
        """Take no new containers and let those there go; the operation tells how far it is."""
        node = get_node(request.user, node_id, "nodes.drain")
        body = checked(shapes.DrainSerializer, request.data or {})
        wait_seconds(request)
        return operation_response(request, drains.drain(node, user=request.user, actor=actor_of(request), **body))


class NodeUndrain(APIView):
    """Taking containers again."""

    @extend_schema(tags=["nodes"], request=shapes.UndrainSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID) -> Response:
        """End a drain that goes on, take new containers, and start again what the last drain stopped."""
        node = get_node(request.user, node_id, "nodes.drain")
        body = checked(shapes.UndrainSerializer, request.data or {})
        wait_seconds(request)
        return operation_response(request, drains.undrain(node, user=request.user, actor=actor_of(request), **body))


class NodeUpgrade(APIView):
    """The agent's upgrade."""

    problem_statuses = (503,)

    @extend_schema(tags=["nodes"], request=None, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID) -> Response:
        """Have the agent install this panel's package and start anew; containers go on, and a version that fails is taken back."""
        node = get_node(request.user, node_id, "nodes.edit")
        wait_seconds(request)
        return operation_response(request, upgrades.upgrade(node, user=request.user, actor=actor_of(request)))


class NodeEvents(ListAPIView[NodeEvent]):
    """A node's timeline."""

    serializer_class = shapes.NodeEventSerializer
    ordering_fields = ["time"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return NodeEvent.objects.none()
        found = NodeEvent.objects.filter(node=get_node(self.request.user, self.kwargs["node_id"]))
        kind = self.request.query_params.get("kind", "")
        return found.filter(kind=kind) if kind else found

    @extend_schema(tags=["nodes"], parameters=[OpenApiParameter("kind", str)])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """What happened to it, newest first."""
        return super().get(request, *args, **kwargs)


class _Windows(ListAPIView[MaintenanceWindow]):
    serializer_class = shapes.WindowSerializer
    ordering_fields = ["starts_at", "state"]


class NodeMaintenance(_Windows):
    """Windows of a node."""

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return MaintenanceWindow.objects.none()
        return MaintenanceWindow.objects.filter(node=get_node(self.request.user, self.kwargs["node_id"]))

    @extend_schema(tags=["nodes"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List them by their start."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["nodes"], request=shapes.WindowSerializer, responses={201: shapes.WindowSerializer})
    def post(self, request: Request, node_id: UUID) -> Response:
        """Plan one: at its start the node goes into maintenance (and is drained, if asked), at its end it comes back."""
        node = get_node(request.user, node_id, "nodes.edit")
        made = windows.plan(actor=actor_of(request), user=request.user, node=node, **checked(shapes.WindowSerializer, request.data))
        return Response(shapes.WindowSerializer(made).data, status=status.HTTP_201_CREATED)


class ClusterMaintenance(_Windows):
    """Windows of a cluster."""

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return MaintenanceWindow.objects.none()
        return MaintenanceWindow.objects.filter(cluster=get_cluster(self.request.user, self.kwargs["cluster_id"]))

    @extend_schema(tags=["clusters"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List them by their start."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["clusters"], request=shapes.WindowSerializer, responses={201: shapes.WindowSerializer})
    def post(self, request: Request, cluster_id: UUID) -> Response:
        """Plan one for all nodes of the cluster."""
        cluster = get_cluster(request.user, cluster_id, "clusters.manage")
        made = windows.plan(actor=actor_of(request), user=request.user, cluster=cluster, **checked(shapes.WindowSerializer, request.data))
        return Response(shapes.WindowSerializer(made).data, status=status.HTTP_201_CREATED)


class Window(APIView):
    """One window."""

    @extend_schema(tags=["nodes"], request=None, responses={200: shapes.WindowSerializer})
    def delete(self, request: Request, window_id: UUID) -> Response:
        """Call it off; one that goes on ends now."""
        window = MaintenanceWindow.objects.select_related("node", "cluster").filter(pk=window_id).first()
        if window is None:
            raise NotFound("There is no such window, or you may not see it.")
        if window.node_id is not None:
            get_node(request.user, window.node_id, "nodes.edit")
        else:
            get_cluster(request.user, cast(UUID, window.cluster_id), "clusters.manage")
        return Response(shapes.WindowSerializer(windows.cancel(window, actor=actor_of(request))).data)


class OnboardingKeys(ListAPIView[OnboardingKey]):
    """Keys with which machines join."""

    serializer_class = shapes.OnboardingKeySerializer
    search_fields = ["name", "prefix"]
    ordering_fields = ["created_at", "expires_at", "name"]

    def get_queryset(self) -> Any:
        return OnboardingKey.objects.all()

    @extend_schema(tags=["nodes"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List keys; their text is never shown again."""
        require(request.user, "nodes.create")
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["nodes"], request=shapes.OnboardingKeyWishSerializer, responses={201: shapes.NewOnboardingKeySerializer})
    def post(self, request: Request) -> Response:
        """Make one. Its text is in this answer and nowhere else."""
        require(request.user, "nodes.create")
        refuse_keys(request.user)
        made, text = onboarding.create_key(actor=actor_of(request), user=request.user, **checked(shapes.OnboardingKeyWishSerializer, request.data))
        made.key, made.command = text, key_command(text)  # type: ignore[attr-defined]
        return Response(shapes.NewOnboardingKeySerializer(made).data, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class OnboardingKeyDetail(APIView):
    """One key."""

    @extend_schema(tags=["nodes"], request=None, responses={200: shapes.OnboardingKeySerializer})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Revoke it; machines that have joined stay."""
        require(request.user, "nodes.create")
        key = OnboardingKey.objects.filter(pk=key_id).first()
        if key is None:
            raise NotFound("There is no such key.")
        return Response(shapes.OnboardingKeySerializer(onboarding.revoke_key(key, actor=actor_of(request))).data)


class Registries(ListAPIView[Registry]):
    """Registries with stored credentials."""

    serializer_class = shapes.StoredRegistrySerializer
    search_fields = ["name", "server"]
    ordering_fields = ["name", "server", "created_at"]

    def get_queryset(self) -> Any:
        return Registry.objects.all()

    @extend_schema(tags=["nodes"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List them; passwords are never shown."""
        require(request.user, "clusters.manage")
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["nodes"], request=shapes.StoredRegistrySerializer, responses={201: shapes.StoredRegistrySerializer})
    def post(self, request: Request) -> Response:
        """Store one."""
        require(request.user, "clusters.manage")
        made = registries.create_registry(actor=actor_of(request), **checked(shapes.StoredRegistrySerializer, request.data))
        return Response(shapes.StoredRegistrySerializer(made).data, status=status.HTTP_201_CREATED)


class RegistryDetail(APIView):
    """One registry."""

    def _get(self, request: Request, registry_id: UUID) -> Registry:
        require(request.user, "clusters.manage")
        found = Registry.objects.filter(pk=registry_id).first()
        if found is None:
            raise NotFound("There is no such registry.")
        return found

    @extend_schema(tags=["nodes"], responses={200: shapes.StoredRegistrySerializer})
    def get(self, request: Request, registry_id: UUID) -> Response:
        """Read it, without its password."""
        return Response(shapes.StoredRegistrySerializer(self._get(request, registry_id)).data)

    @extend_schema(tags=["nodes"], request=shapes.StoredRegistrySerializer, responses={200: shapes.StoredRegistrySerializer})
    def patch(self, request: Request, registry_id: UUID) -> Response:
        """Change it. Another server without a password forgets the one that is stored."""
        registry = self._get(request, registry_id)
        serializer = shapes.StoredRegistrySerializer(registry, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        changed = registries.update_registry(registry, actor=actor_of(request), **serializer.validated_data)
        return Response(shapes.StoredRegistrySerializer(changed).data)

    @extend_schema(tags=["nodes"], responses={204: None})
    def delete(self, request: Request, registry_id: UUID) -> Response:
        """Forget it."""
        registries.delete_registry(self._get(request, registry_id), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class Jobs(APIView):
    """Periodic jobs."""

    @extend_schema(tags=["system"], operation_id="jobs_list", responses={200: shapes.JobSerializer(many=True)})
    def get(self, request: Request) -> Response:
        """How each stands: its last run, when it is due, whether it is overdue."""
        require(request.user, "system.view")
        return Response(shapes.JobSerializer([jobs.standing(job) for job in jobs.table().values()], many=True).data)


class JobRunNow(APIView):
    """By hand."""

    @extend_schema(tags=["system"], request=None, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, name: str) -> Response:
        """Have a worker run it soon; 409 while it runs."""
        require(request.user, "settings.manage")
        wait_seconds(request)
        user = cast(User, request.user)
        return operation_response(request, jobs.run_now(name, user=user, actor=user.as_actor()))


class JobRuns(ListAPIView[JobRun]):
    """Its history."""

    serializer_class = shapes.JobRunSerializer
    ordering_fields = ["started_at", "status"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return JobRun.objects.none()
        return JobRun.objects.filter(job=jobs.get(self.kwargs["name"]).name)

    @extend_schema(tags=["system"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Runs, newest first."""
        require(request.user, "system.view")
        return super().get(request, *args, **kwargs)
