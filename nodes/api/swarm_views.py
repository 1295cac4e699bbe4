"""Doors to the swarm behind a cluster: its nodes, its services, their tasks."""

from __future__ import annotations

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from nodes import swarm
from nodes.access import get_cluster
from nodes.api import swarm_shapes as shapes
from nodes.api.fleet_views import OPERATION, WAIT
from nodes.api.operations import operation_response, wait_seconds
from nodes.api.views import actor_of, checked

ASKS_SWARM = (409, 422, 503, 504)


class ClusterSwarm(APIView):
    """The swarm."""

    problem_statuses = ASKS_SWARM

    @extend_schema(tags=["clusters"], responses={200: shapes.SwarmSerializer})
    def get(self, request: Request, cluster_id: UUID) -> Response:
        """Its nodes as a manager tells them now; 409 for a cluster of single engines, 503 if no manager is connected."""
        return Response(shapes.SwarmSerializer(swarm.look(get_cluster(request.user, cluster_id))).data)


class ClusterSwarmNode(APIView):
    """One machine of it."""

    problem_statuses = ASKS_SWARM

    @extend_schema(tags=["clusters"], request=shapes.AvailabilitySerializer, responses=OPERATION, parameters=[WAIT])
    def patch(self, request: Request, cluster_id: UUID, swarm_node_id: str) -> Response:
        """`{availability}`: drain moves its tasks to other nodes, active lets it take tasks again."""
        cluster = get_cluster(request.user, cluster_id, "nodes.drain")
        body = checked(shapes.AvailabilitySerializer, request.data)
        wait_seconds(request)
        made = swarm.set_availability(cluster, swarm_node_id, body["availability"], user=request.user, actor=actor_of(request))
        return operation_response(request, made)


class ClusterServices(APIView):
    """Its services."""

    problem_statuses = ASKS_SWARM

    @extend_schema(tags=["clusters"], operation_id="clusters_services_list", responses={200: shapes.SwarmServicesSerializer})
    def get(self, request: Request, cluster_id: UUID) -> Response:
        """All services of the swarm, those made here first, with replicas wanted and running."""
        seen = swarm.look(get_cluster(request.user, cluster_id))
        return Response(shapes.SwarmServicesSerializer({"read_at": seen.read_at, "items": seen.services}).data)

    @extend_schema(tags=["clusters"], request=shapes.ServiceWishSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, cluster_id: UUID) -> Response:
        """Make one. The operation ends when the swarm has taken it; its tasks start after that."""
        cluster = get_cluster(request.user, cluster_id, "clusters.manage")
        body = checked(shapes.ServiceWishSerializer, request.data)
        wait_seconds(request)
        return operation_response(request, swarm.create_service(cluster, user=request.user, actor=actor_of(request), **body))


class ClusterService(APIView):
    """One service."""

    problem_statuses = ASKS_SWARM

    @extend_schema(tags=["clusters"], responses={200: shapes.SwarmServiceSerializer})
    def get(self, request: Request, cluster_id: UUID, service_id: str) -> Response:
        """As the swarm has it now."""
        return Response(shapes.SwarmServiceSerializer(swarm.look(get_cluster(request.user, cluster_id)).service(service_id)).data)

    @extend_schema(tags=["clusters"], request=shapes.ServiceChangeSerializer, responses=OPERATION, parameters=[WAIT])
    def patch(self, request: Request, cluster_id: UUID, service_id: str) -> Response:
        """Scale it, change its limits, environment or ports, or roll another image out, one task at a time; 409 for one that was not made here."""
        cluster = get_cluster(request.user, cluster_id, "clusters.manage")
        body = checked(shapes.ServiceChangeSerializer, request.data)
        wait_seconds(request)
        return operation_response(request, swarm.update_service(cluster, service_id, user=request.user, actor=actor_of(request), **body))

    @extend_schema(tags=["clusters"], request=None, responses=OPERATION, parameters=[WAIT])
    def delete(self, request: Request, cluster_id: UUID, service_id: str) -> Response:
        """Remove it with its tasks and what they wrote; 409 for one that was not made here."""
        cluster = get_cluster(request.user, cluster_id, "clusters.manage")
        wait_seconds(request)
        return operation_response(request, swarm.remove_service(cluster, service_id, user=request.user, actor=actor_of(request)))


class ClusterServiceTasks(APIView):
    """Its tasks."""

    problem_statuses = ASKS_SWARM

    @extend_schema(tags=["clusters"], responses={200: shapes.SwarmTasksSerializer})
    def get(self, request: Request, cluster_id: UUID, service_id: str) -> Response:
        """What is to run by slot and where, then what has ended and why."""
        found = swarm.tasks(get_cluster(request.user, cluster_id), service_id)
        return Response(shapes.SwarmTasksSerializer({"items": found}).data)
