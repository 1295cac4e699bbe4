"""Addresses of the sign-in pages."""

from __future__ import annotations

from django.urls import path

from accounts import views

app_name = "accounts"
urlpatterns = [
    path("login", views.login_page, name="login"),
    path("signup", views.signup_page, name="signup"),
    path("logout", views.logout_page, name="logout"),
    path("password", views.password_page, name="password"),
    path("profile", views.profile_page, name="profile"),
]
