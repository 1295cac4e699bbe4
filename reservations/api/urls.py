"""Addresses of the reservations API."""

from __future__ import annotations

from django.urls import path

from reservations.api import machines, old, views

urlpatterns = [
    path("machines", machines.Machines.as_view(), name="machines-list"),
    path("machines/import", machines.MachineImport.as_view(), name="machines-import"),
    path("machines/<str:machine>", machines.MachineDetail.as_view(), name="machines-detail"),
    path("machines/<str:machine>/check", machines.MachineCheck.as_view(), name="machines-check"),
    path("machines/<str:machine>/broken", machines.MachineBroken.as_view(), name="machines-broken"),
    path("machines/<str:machine>/fixed", machines.MachineFixed.as_view(), name="machines-fixed"),
    path("machines/<str:machine>/clean", machines.MachineClean.as_view(), name="machines-clean"),
    path("available", machines.Available.as_view(), name="available"),
    path("reservations", views.Reservations.as_view(), name="reservations-list"),
    path("reservations.ics", views.Calendar.as_view(), name="reservations-calendar"),
    path("reservations/release_all", views.ReservationReleaseAll.as_view(), name="reservations-release-all"),
    path("reservations/queue", views.Queue.as_view(), name="reservations-queue"),
    path("reservations/usage", views.Usage.as_view(), name="reservations-usage"),
    path("reservations/limits", views.LimitsView.as_view(), name="reservations-limits"),
    path("reservations/<uuid:reservation_id>", views.ReservationDetail.as_view(), name="reservations-detail"),
    path("reservations/<uuid:reservation_id>/extend", views.ReservationExtend.as_view(), name="reservations-extend"),
    path("reservations/<uuid:reservation_id>/release", views.ReservationRelease.as_view(), name="reservations-release"),
    path("reserve", old.Reserve.as_view(), name="old-reserve"),
    path("release_all", old.ReleaseAll.as_view(), name="old-release-all"),
]
