"""Addresses of sign-in by providers; the names are allauth's."""

from __future__ import annotations

from django.urls import path

from accounts.social import views

urlpatterns = [
    path(f"accounts/{name}/login{tail}", view, {"name": name}, name=f"{name}_{what}")
    for name in ("github", "discord")
    for what, tail, view in (("login", "/", views.begin), ("callback", "/callback/", views.callback))
]
