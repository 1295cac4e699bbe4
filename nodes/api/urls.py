"""Addresses of the nodes API; `/api/workers` is the same resource under another name."""

from __future__ import annotations

from django.urls import path, re_path

from nodes.api import fleet_views, node_token, operation_views, stock_views, swarm_views, views
from nodes.api.placement import PlacementPreview


def _nodes(base: str) -> list[object]:
    return [
        path(base, views.Nodes.as_view(), name=f"{base}-list"),
        path(f"{base}/stats", views.NodeStats.as_view(), name=f"{base}-stats"),
        path(f"{base}/online", views.NodeList.as_view(which="online"), name=f"{base}-online"),
        path(f"{base}/offline", views.NodeList.as_view(which="offline"), name=f"{base}-offline"),
        path(f"{base}/<uuid:node_id>", views.NodeDetail.as_view(), name=f"{base}-detail"),
        path(f"{base}/<uuid:node_id>/token", views.NodeToken.as_view(), name=f"{base}-token"),
        path(f"{base}/<uuid:node_id>/schedulable", views.NodeSchedulable.as_view(), name=f"{base}-schedulable"),
        path(f"{base}/join", node_token.NodeJoin.as_view(), name=f"{base}-join"),
        path(f"{base}/<uuid:node_id>/heartbeat", node_token.NodeHeartbeat.as_view(), name=f"{base}-heartbeat"),
        path(f"{base}/<uuid:node_id>/resources", node_token.NodeResources.as_view(), name=f"{base}-resources"),
        path(f"{base}/<uuid:node_id>/drain", fleet_views.NodeDrain.as_view(), name=f"{base}-drain"),
        path(f"{base}/<uuid:node_id>/undrain", fleet_views.NodeUndrain.as_view(), name=f"{base}-undrain"),
        path(f"{base}/<uuid:node_id>/upgrade", fleet_views.NodeUpgrade.as_view(), name=f"{base}-upgrade"),
        path(f"{base}/<uuid:node_id>/events", fleet_views.NodeEvents.as_view(), name=f"{base}-events"),
        path(f"{base}/<uuid:node_id>/maintenance", fleet_views.NodeMaintenance.as_view(), name=f"{base}-maintenance"),
        path(f"{base}/<uuid:node_id>/images", stock_views.NodeImages.as_view(), name=f"{base}-images"),
        path(f"{base}/<uuid:node_id>/volumes", stock_views.NodeVolumes.as_view(), name=f"{base}-volumes"),
        path(f"{base}/<uuid:node_id>/networks", stock_views.NodeNetworks.as_view(), name=f"{base}-networks"),
        path(f"{base}/<uuid:node_id>/prune", stock_views.NodePrune.as_view(), name=f"{base}-prune"),
        re_path(
            rf"^{base}/(?P<node_id>[0-9a-f-]{{36}})/prune/(?P<kind>images|volumes|networks)$",
            stock_views.NodePrunePreview.as_view(),
            name=f"{base}-prune-preview",
        ),
        path(f"{base}/<uuid:node_id>/orphans", stock_views.NodeOrphans.as_view(), name=f"{base}-orphans"),
        path(f"{base}/<uuid:node_id>/orphans/<uuid:orphan_id>", stock_views.NodeOrphan.as_view(), name=f"{base}-orphan"),
        path(f"{base}/<uuid:node_id>/status", views.NodeStatusView.as_view(), name=f"{base}-status"),
    ]


urlpatterns = [
    *_nodes("nodes"),
    *_nodes("workers"),
    path("clusters", views.Clusters.as_view(), name="clusters-list"),
    path("clusters/<uuid:cluster_id>", views.ClusterDetail.as_view(), name="clusters-detail"),
    path("clusters/<uuid:cluster_id>/nodes", views.ClusterNodes.as_view(), name="clusters-nodes"),
    path("clusters/<uuid:cluster_id>/capacity", views.ClusterCapacity.as_view(), name="clusters-capacity"),
    path("clusters/<uuid:cluster_id>/maintenance", fleet_views.ClusterMaintenance.as_view(), name="clusters-maintenance"),
    path("clusters/<uuid:cluster_id>/swarm", swarm_views.ClusterSwarm.as_view(), name="clusters-swarm"),
    path("clusters/<uuid:cluster_id>/swarm/nodes/<str:swarm_node_id>", swarm_views.ClusterSwarmNode.as_view(), name="clusters-swarm-node"),
    path("clusters/<uuid:cluster_id>/services", swarm_views.ClusterServices.as_view(), name="clusters-services"),
    path("clusters/<uuid:cluster_id>/services/<str:service_id>", swarm_views.ClusterService.as_view(), name="clusters-service"),
    path("clusters/<uuid:cluster_id>/services/<str:service_id>/tasks", swarm_views.ClusterServiceTasks.as_view(), name="clusters-service-tasks"),
    path("maintenance/<uuid:window_id>", fleet_views.Window.as_view(), name="maintenance-detail"),
    path("onboarding-keys", fleet_views.OnboardingKeys.as_view(), name="onboarding-keys-list"),
    path("onboarding-keys/<uuid:key_id>", fleet_views.OnboardingKeyDetail.as_view(), name="onboarding-keys-detail"),
    path("registries", fleet_views.Registries.as_view(), name="registries-list"),
    path("registries/<uuid:registry_id>", fleet_views.RegistryDetail.as_view(), name="registries-detail"),
    path("jobs", fleet_views.Jobs.as_view(), name="jobs-list"),
    path("jobs/<str:name>/run", fleet_views.JobRunNow.as_view(), name="jobs-run"),
    path("jobs/<str:name>/runs", fleet_views.JobRuns.as_view(), name="jobs-runs"),
    path("placement/preview", PlacementPreview.as_view(), name="placement-preview"),
    path("operations", operation_views.Operations.as_view(), name="operations-list"),
    path("operations/<uuid:operation_id>", operation_views.OperationDetail.as_view(), name="operations-detail"),
    path("operations/<uuid:operation_id>/cancel", operation_views.OperationCancel.as_view(), name="operations-cancel"),
]
