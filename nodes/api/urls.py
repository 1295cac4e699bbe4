"""Addresses of the nodes API; `/api/workers` is the same resource under another name."""

from __future__ import annotations

from django.urls import path

from nodes.api import operation_views, views


def _nodes(base: str) -> list[object]:
    return [
        path(base, views.Nodes.as_view(), name=f"{base}-list"),
        path(f"{base}/stats", views.NodeStats.as_view(), name=f"{base}-stats"),
        path(f"{base}/online", views.NodeList.as_view(which="online"), name=f"{base}-online"),
        path(f"{base}/offline", views.NodeList.as_view(which="offline"), name=f"{base}-offline"),
        path(f"{base}/<uuid:node_id>", views.NodeDetail.as_view(), name=f"{base}-detail"),
        path(f"{base}/<uuid:node_id>/token", views.NodeToken.as_view(), name=f"{base}-token"),
        path(f"{base}/<uuid:node_id>/schedulable", views.NodeSchedulable.as_view(), name=f"{base}-schedulable"),
        path(f"{base}/<uuid:node_id>/status", views.NodeStatusView.as_view(), name=f"{base}-status"),
    ]


urlpatterns = [
    *_nodes("nodes"),
    *_nodes("workers"),
    path("clusters", views.Clusters.as_view(), name="clusters-list"),
    path("clusters/<uuid:cluster_id>", views.ClusterDetail.as_view(), name="clusters-detail"),
    path("clusters/<uuid:cluster_id>/nodes", views.ClusterNodes.as_view(), name="clusters-nodes"),
    path("clusters/<uuid:cluster_id>/capacity", views.ClusterCapacity.as_view(), name="clusters-capacity"),
    path("placement/preview", views.PlacementPreview.as_view(), name="placement-preview"),
    path("operations", operation_views.Operations.as_view(), name="operations-list"),
    path("operations/<uuid:operation_id>", operation_views.OperationDetail.as_view(), name="operations-detail"),
    path("operations/<uuid:operation_id>/cancel", operation_views.OperationCancel.as_view(), name="operations-cancel"),
]
