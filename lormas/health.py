"""`/healthz` (alive), `/readyz` (fit for traffic), `/health` (what is going on), `/metrics` (for Prometheus)."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, Final, cast

import redis
import structlog
from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Count, Min
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.utils import extend_schema, inline_serializer
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from rest_framework import serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import has
from lormas.common import clock
from lormas.common.api import problems
from nodes.jobs import beat_problem
from nodes.states import COMMAND_OPEN

log = structlog.get_logger(__name__)
STARTED = 0.0
CACHED_SECONDS: Final = 5
QUEUE: Final = "celery"
"""The list in the broker that Celery's worker takes from."""
_migrated = False


def _begin() -> None:
    global STARTED
    STARTED = time.monotonic()


_begin()
os.register_at_fork(after_in_child=_begin)


def _looking_only(view: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """GET and HEAD; 405 for the rest, as the API says it."""

    @csrf_exempt  # nothing happens here, and 405 is the better word
    @wraps(view)
    def answer(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        refused = problems.response(request, 405, detail="This address is for GET.")
        refused.headers["Allow"] = "GET, HEAD"
        return refused

    return answer


@_looking_only
def healthz(request: HttpRequest) -> JsonResponse:
    """Alive; touches nothing."""
    return JsonResponse({"status": "ok"})


def _database() -> str | None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        log.warning("ready.database", error=str(error))
        return "the database does not answer"
    return None


def _broker() -> str | None:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            client.ping()
    except redis.RedisError as error:
        log.warning("ready.broker", error=str(error))
        return "the message broker does not answer"
    return None


def _migrations() -> str | None:
    global _migrated
    if _migrated:
        return None
    try:
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return "migrations are missing: run `python manage.py migrate`"
    except DatabaseError:
        return "unknown while the database does not answer"
    _migrated = True
    return None


READY: Final[dict[str, Callable[[], str | None]]] = {"database": _database, "broker": _broker, "migrations": _migrations}


@_looking_only
def readyz(request: HttpRequest) -> JsonResponse:
    """Fit for traffic? 503 names what fails, in a word that gives nothing away."""
    found = {name: check() for name, check in READY.items()}
    failing = {name: why for name, why in found.items() if why}
    body: dict[str, Any] = {"status": "unavailable" if failing else "ok", "checks": {name: why or "ok" for name, why in found.items()}}
    response = JsonResponse(body, status=503 if failing else 200)
    response.headers["Cache-Control"] = "no-store"
    return response


def _by(field: str, model: str, **which: Any) -> dict[str, int]:
    label, name = model.split(".")
    cls = apps.get_model(label, name)
    return dict(cls._default_manager.filter(**which).order_by().values_list(field).annotate(n=Count("pk")))


def _waiting_jobs() -> int | None:
    """Background jobs that no worker has taken; None while the broker does not answer."""
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=2, socket_connect_timeout=2) as client:
            return cast(int, client.llen(QUEUE))
    except redis.RedisError as error:
        log.warning("health.queue", error=str(error))
        return None


def _queue() -> dict[str, Any]:
    """What waits for a worker or for a node, and for how long the oldest of it."""
    waiting = apps.get_model("nodes", "Command")._default_manager.filter(state__in=COMMAND_OPEN)
    oldest = waiting.aggregate(at=Min("created_at"))["at"]
    return {
        "jobs": _waiting_jobs(),
        "commands": waiting.count(),
        "oldest_command_seconds": None if oldest is None else max(0, int((clock.now() - oldest).total_seconds())),
    }


def counts() -> dict[str, Any]:
    """Rows by status, and when they were counted; kept a few seconds so that probes cost nothing (J11)."""
    key = "health:counts"
    found: dict[str, Any] | None
    try:
        found = cache.get(key)
    except redis.RedisError:
        found = None
    if found is None:
        found = {
            "nodes": _by("status", "nodes.Node"),
            "containers": _by("status", "containers.Container"),
            "operations": _by("status", "nodes.Operation"),
            "sessions": _by("kind", "accounts.AuthSession", revoked_at=None, expires_at__gt=clock.now()),
            "previews": _by("state", "containers.ContainerTunnel", wanted=True),
            "queue": _queue(),
            "counted_at": clock.rfc3339(clock.now()),
        }
        try:
            cache.set(key, found, CACHED_SECONDS)
        except redis.RedisError as error:
            log.warning("health.cache", error=str(error))
    return found


_HEALTH = inline_serializer(
    "Health",
    {
        "status": serializers.ChoiceField(["ok", "degraded"]),
        "uptime_seconds": serializers.IntegerField(),
        "version": serializers.CharField(),
        "nodes": serializers.DictField(child=serializers.IntegerField(), required=False, help_text="By status; to administrators."),
        "containers": serializers.DictField(child=serializers.IntegerField(), required=False, help_text="By status; to administrators."),
        "operations": serializers.DictField(child=serializers.IntegerField(), required=False, help_text="By status; to administrators."),
        "sessions": serializers.DictField(child=serializers.IntegerField(), required=False, help_text="Sign-ins that are good, by kind."),
        "previews": serializers.DictField(child=serializers.IntegerField(), required=False, help_text="Tunnels that are wanted, by state."),
        "queue": inline_serializer(
            "HealthQueue",
            {
                "jobs": serializers.IntegerField(allow_null=True, help_text="That no worker has taken; null: the broker does not answer."),
                "commands": serializers.IntegerField(help_text="Open ones, of all nodes."),
                "oldest_command_seconds": serializers.IntegerField(allow_null=True),
            },
            required=False,
        ),
        "counted_at": serializers.DateTimeField(required=False, help_text="When all these were counted."),
        "age_seconds": serializers.IntegerField(required=False, help_text="How long ago that is; disk and checks are of now."),
        "disk_free_bytes": serializers.IntegerField(required=False),
        "checks": serializers.DictField(child=serializers.CharField(), required=False),
    },
)


class HealthView(APIView):
    """Status, uptime, version; to those with `system.view` also what runs."""

    permission_classes = [AllowAny]

    @extend_schema(responses={200: _HEALTH}, tags=["system"])
    def get(self, request: Request) -> Response:
        """The panel's health."""
        checks = {name: check() for name, check in READY.items()}
        checks["beat"] = None if checks["database"] else beat_problem(time.monotonic() - STARTED)
        body: dict[str, Any] = {
            "status": "degraded" if any(checks.values()) else "ok",
            "uptime_seconds": int(time.monotonic() - STARTED),
            "version": settings.VERSION,
        }
        if has(request.user, "system.view"):
            body |= {"checks": {name: why or "ok" for name, why in checks.items()}, "disk_free_bytes": shutil.disk_usage(settings.DATA_DIR).free}
            found = counts()
            counted = clock.parse_rfc3339(found["counted_at"])
            body |= {**found, "age_seconds": 0 if counted is None else max(0, int((clock.now() - counted).total_seconds()))}
        return Response(body)


class _Rows:
    """Gauges made of the counted rows."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        found = counts()
        for name in ("nodes", "containers", "operations"):
            gauge = GaugeMetricFamily(f"lormas_{name}", f"{name.title()} by status.", labels=["status"])
            for status, count in sorted(found[name].items()):
                gauge.add_metric([status], count)
            yield gauge
        for name, value in found["queue"].items():
            if value is not None:
                yield GaugeMetricFamily(f"lormas_queue_{name}", "What waits for a worker or a node.", value=value)
        yield GaugeMetricFamily("lormas_uptime_seconds", "Since this process started.", value=time.monotonic() - STARTED)


@_looking_only
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text: with `METRICS_TOKEN` as bearer token, or signed in with `system.view`."""
    given = request.headers.get("Authorization", "").removeprefix("Bearer ")
    allowed = settings.METRICS_TOKEN is not None and constant_time_compare(given, settings.METRICS_TOKEN)
    if not allowed and not has(request.user, "system.view"):
        return HttpResponse("Give METRICS_TOKEN as a bearer token.\n", status=401, headers={"WWW-Authenticate": "Bearer"}, content_type="text/plain")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Rows())
    return HttpResponse(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")
