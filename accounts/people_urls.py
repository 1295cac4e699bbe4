"""Addresses of the pages of people and roles."""

from __future__ import annotations

from django.urls import path

from accounts import people_views, role_views

app_name = "people"
urlpatterns = [
    path("users", people_views.index, name="users"),
    path("users/", people_views.index),
    path("users/new", people_views.new, name="new"),
    path("users/invite", people_views.invite, name="invite"),
    path("users/bulk", people_views.bulk, name="bulk"),
    path("users/leave", people_views.leave, name="leave"),
    path("users/<uuid:user_id>", people_views.detail, name="user"),
    path("users/<uuid:user_id>/active", people_views.active, name="active"),
    path("users/<uuid:user_id>/invite", people_views.invite_again, name="invite-again"),
    path("users/<uuid:user_id>/impersonate", people_views.impersonate, name="impersonate"),
    path("users/<uuid:user_id>/delete", people_views.delete, name="delete"),
    path("invite/<str:token>", people_views.accept, name="accept"),
    path("roles", role_views.index, name="roles"),
    path("roles/", role_views.index),
    path("roles/new", role_views.new, name="role-new"),
    path("roles/<uuid:role_id>", role_views.edit, name="role"),
    path("roles/<uuid:role_id>/delete", role_views.delete, name="role-delete"),
]
