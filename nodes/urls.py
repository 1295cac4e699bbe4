"""Addresses of the node pages."""

from __future__ import annotations

from django.urls import path

from nodes import cluster_pages, fleet_pages, node_pages, stock_pages, swarm_pages, views

app_name = "nodes"
urlpatterns = [
    path("nodes", views.index, name="list"),
    path("nodes/", views.index),
    path("nodes/rows", views.rows, name="rows"),
    path("nodes/new", views.new, name="new"),
    path("nodes/new/", views.new),
    path("nodes/keys", fleet_pages.keys, name="keys"),
    path("nodes/keys/<uuid:key_id>/revoke", fleet_pages.key_revoke, name="key-revoke"),
    path("placement", fleet_pages.where, name="where"),
    path("nodes/<uuid:node_id>", views.detail, name="detail"),
    path("nodes/<uuid:node_id>/", views.detail),
    path("nodes/<uuid:node_id>/edit", views.edit, name="edit"),
    path("nodes/<uuid:node_id>/schedulable", views.schedulable, name="schedulable"),
    path("nodes/<uuid:node_id>/status", views.status, name="status"),
    path("nodes/<uuid:node_id>/token", views.token, name="token"),
    path("nodes/<uuid:node_id>/delete", views.delete, name="delete"),
    path("nodes/<uuid:node_id>/timeline", node_pages.timeline, name="timeline"),
    path("nodes/<uuid:node_id>/labels", node_pages.labels, name="labels"),
    path("nodes/<uuid:node_id>/drain", node_pages.drain, name="drain"),
    path("nodes/<uuid:node_id>/undrain", node_pages.undrain, name="undrain"),
    path("nodes/<uuid:node_id>/upgrade", node_pages.upgrade, name="upgrade"),
    path("nodes/<uuid:node_id>/maintenance", node_pages.maintenance, name="maintenance"),
    path("nodes/<uuid:node_id>/orphans/<uuid:orphan_id>", node_pages.orphan, name="orphan"),
    path("nodes/<uuid:node_id>/stock", stock_pages.stock_page, name="stock"),
    path("nodes/<uuid:node_id>/pull", stock_pages.pull, name="pull"),
    path("nodes/<uuid:node_id>/remove", stock_pages.remove, name="stock-remove"),
    path("nodes/<uuid:node_id>/prune", stock_pages.prune, name="prune"),
    path("maintenance/<uuid:window_id>/cancel", node_pages.window_cancel, name="window-cancel"),
    path("clusters", cluster_pages.index, name="clusters"),
    path("clusters/", cluster_pages.index),
    path("clusters/new", cluster_pages.new, name="cluster-new"),
    path("clusters/<uuid:cluster_id>", cluster_pages.detail, name="cluster"),
    path("clusters/<uuid:cluster_id>/", cluster_pages.detail),
    path("clusters/<uuid:cluster_id>/edit", cluster_pages.edit, name="cluster-edit"),
    path("clusters/<uuid:cluster_id>/delete", cluster_pages.delete, name="cluster-delete"),
    path("clusters/<uuid:cluster_id>/maintenance", cluster_pages.maintenance, name="cluster-maintenance"),
    path("clusters/<uuid:cluster_id>/swarm", swarm_pages.swarm_part, name="cluster-swarm"),
    path("clusters/<uuid:cluster_id>/swarm/nodes/<str:swarm_node_id>", swarm_pages.availability, name="cluster-availability"),
    path("clusters/<uuid:cluster_id>/services/new", swarm_pages.service_new, name="cluster-service-new"),
    path("clusters/<uuid:cluster_id>/services/<str:service_id>", swarm_pages.service, name="cluster-service"),
    path("clusters/<uuid:cluster_id>/services/<str:service_id>/change", swarm_pages.service_change, name="cluster-service-change"),
    path("clusters/<uuid:cluster_id>/services/<str:service_id>/remove", swarm_pages.service_remove, name="cluster-service-remove"),
    path("registries", fleet_pages.registry_list, name="registries"),
    path("registries/<uuid:registry_id>", fleet_pages.registry, name="registry"),
    path("registries/<uuid:registry_id>/delete", fleet_pages.registry_delete, name="registry-delete"),
    path("jobs", fleet_pages.job_list, name="jobs"),
    path("jobs/<str:name>", fleet_pages.job, name="job"),
    path("jobs/<str:name>/run", fleet_pages.job_run, name="job-run"),
]
