"""Doors of a container's backups."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import structlog
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import has
from containers import access
from containers.api.fileparts import SANDBOX, _range
from containers.api.views import WAIT, actor_of, checked
from containers.models import Backup, BackupDestination, Container
from containers.services import backups
from containers.stores import StoreFault, store_of
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer
from lormas.common.crypto import WrongKey
from lormas.common.errors import Conflict, FieldError, Forbidden, NotFound, Refused
from nodes.api.operations import OperationAnswerSerializer, OperationSerializer, operation_response, wait_seconds

log = structlog.get_logger(__name__)

OPERATION = {202: OperationAnswerSerializer, 200: OperationAnswerSerializer}
WORKS = (409, 422, 423, 503)
"""What work on a backup can be refused with."""


class BackupSerializer(StrictModelSerializer):
    """One archive. Only `good` ones that are not damaged can be restored."""

    destination = serializers.CharField(source="destination.name", read_only=True)
    operation = serializers.SerializerMethodField(help_text="Work that runs on it now.")

    class Meta:
        model = Backup
        fields = [
            "id", "name", "state", "error_code", "error", "destination", "ignore", "was_stopped", "size_bytes", "content_bytes", "files",
            "left_out", "sha256", "is_locked", "is_damaged", "checked_at", "proof", "proof_at", "proof_detail",
            "by_label", "created_at", "finished_at", "operation",
        ]  # fmt: skip
        read_only_fields = fields

    def get_operation(self, backup: Backup) -> str | None:
        running = next((work for work in backup.work.all() if work.is_open), None)
        return str(running.operation_id) if running else None


class NewBackupSerializer(StrictSerializer):
    """Body of `POST …/backups`."""

    name = serializers.CharField(max_length=100, required=False, default="", allow_blank=True)
    ignore = serializers.ListField(
        child=serializers.CharField(max_length=256, allow_blank=True), max_length=100, required=False, help_text="Patterns as in a .gitignore."
    )
    stop_first = serializers.BooleanField(default=False, help_text="Stop it for the time, so that all files are of one moment.")
    is_locked = serializers.BooleanField(default=False)


class MadeBackupSerializer(StrictSerializer):
    """Answer of `POST …/backups`."""

    backup = BackupSerializer()
    operation = OperationSerializer()


class BackupChangeSerializer(StrictSerializer):
    """Body of `PATCH …/backups/{id}`."""

    name = serializers.CharField(max_length=100, required=False, allow_blank=True)
    is_locked = serializers.BooleanField(required=False)


class RestoreSerializer(StrictSerializer):
    """Body of `POST …/backups/{id}/restore`."""

    start = serializers.BooleanField(required=False, allow_null=True, default=None, help_text="Start it afterwards? null: if it ran before.")


class BackupPolicySerializer(StrictSerializer):
    """How backups are made and kept. Limits can be set by those who change the panel's settings."""

    keep = serializers.IntegerField(min_value=1, max_value=1000, allow_null=True, required=False, help_text="null: as the panel's settings say.")
    ignore = serializers.ListField(child=serializers.CharField(max_length=256, allow_blank=True), max_length=100, required=False)
    destination = serializers.UUIDField(allow_null=True, required=False, help_text="null: the default one.")
    most_count = serializers.IntegerField(min_value=0, max_value=10_000, allow_null=True, required=False)
    most_bytes = serializers.IntegerField(min_value=0, max_value=2**62, allow_null=True, required=False)


class BackupPolicyAnswerSerializer(BackupPolicySerializer):
    """With what counts in the end, and what is used."""

    counts = serializers.DictField(
        child=serializers.IntegerField(), help_text="keep, most_count, most_bytes: what holds; count, bytes: what is used."
    )


def rows_of(container: Container) -> Any:
    """Its backups with all that a row shows, newest first."""
    return Backup.objects.filter(container=container).select_related("destination", "container").prefetch_related("work__operation")


def get_backup(user: Any, container_id: Any, backup_id: Any, capability: str) -> tuple[Container, Backup]:
    """One backup of this container. Another container's is NotFound (D02)."""
    container = access.get_container(user, container_id, capability)
    found = rows_of(container).filter(pk=backup_id).first()
    if found is None:
        raise NotFound(f"{container.name} has no such backup.")
    return container, found


def may_restore(user: Any, container: Container, *, start: bool | None) -> None:
    """All that it does: stop what runs, replace the files, start it (C13). Raises Forbidden."""
    runs = container.observed in ("running", "paused", "restarting")
    if runs:
        access.get_container(user, container.pk, "containers.stop")
    if start or (start is None and runs):
        access.get_container(user, container.pk, "containers.start")


def may_stop_first(user: Any, container: Container) -> None:
    for capability in ("containers.stop", "containers.start"):
        access.get_container(user, container.pk, capability)


class Backups(ListAPIView):  # type: ignore[type-arg]
    """A container's backups, newest first; have one made."""

    serializer_class = BackupSerializer
    problem_statuses = (404, *WORKS)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Backup.objects.none()
        return rows_of(access.get_container(self.request.user, self.kwargs["container_id"], "containers.backups"))

    @extend_schema(request=NewBackupSerializer, responses={202: MadeBackupSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.backups")
        body = checked(NewBackupSerializer, request.data or {})
        if body["stop_first"]:
            may_stop_first(request.user, container)
        made, operation = backups.create_backup(
            container,
            user=request.user,
            actor=actor_of(request),
            name=body["name"],
            ignore=body.get("ignore"),
            stop_first=body["stop_first"],
            is_locked=body["is_locked"],
        )
        answer = {"backup": BackupSerializer(rows_of(container).get(pk=made.pk)).data, "operation": OperationSerializer(operation).data}
        return Response(answer, status=status.HTTP_202_ACCEPTED, headers={"Location": f"/api/operations/{operation.pk}"})


class BackupOne(APIView):
    """One of them."""

    problem_statuses = (409,)

    @extend_schema(responses={200: BackupSerializer})
    def get(self, request: Request, container_id: str, backup_id: str) -> Response:
        _, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        return Response(BackupSerializer(backup).data)

    @extend_schema(request=BackupChangeSerializer, responses={200: BackupSerializer})
    def patch(self, request: Request, container_id: str, backup_id: str) -> Response:
        container, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        body = checked(BackupChangeSerializer, request.data)
        backups.change_backup(backup, actor=actor_of(request), **body)
        return Response(BackupSerializer(rows_of(container).get(pk=backup.pk)).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, container_id: str, backup_id: str) -> Response:
        _, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        backups.delete_backup(backup, actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class BackupDownload(APIView):
    """The archive, a tar.gz; one `Range` is understood. It holds all files, so the right to files is asked for, too."""

    problem_statuses = (409, 422)

    @extend_schema(responses={(200, "application/gzip"): OpenApiTypes.BINARY, (206, "application/gzip"): OpenApiTypes.BINARY})
    def get(self, request: Request, container_id: str, backup_id: str) -> HttpResponseBase:
        container, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        access.get_container(request.user, container_id, "containers.files")
        return download(request, container, backup)


def download(request: Any, container: Container, backup: Backup) -> HttpResponseBase:
    """Streamed from its destination. Raises Conflict, Refused."""
    if backup.state != Backup.State.GOOD:
        raise Conflict("Only a finished backup can be downloaded.", code="not_usable", extra={"state": backup.state, "allowed": []})
    try:
        span = _range(request.headers.get("Range", ""), backup.size_bytes)
    except ValueError:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{backup.size_bytes}", "Accept-Ranges": "bytes"})
    offset, length = span or (0, backup.size_bytes)
    try:
        store = store_of(backup.destination)
        if store.size(backup.key) != backup.size_bytes:
            raise Refused("Its archive is not at its destination any more, or of another size: check it.", code="destination_failed")
        pieces = store.read(backup.key, offset=offset, length=length)
    except (StoreFault, WrongKey) as fault:
        raise Refused(f"{backup.destination.name}: {fault}", code="destination_failed") from fault
    response = StreamingHttpResponse(_flow(pieces), content_type="application/gzip", status=206 if span else 200)
    name = f"{container.name}-{backup.created_at:%Y-%m-%d-%H%M}.tar.gz"
    response.headers["Content-Length"] = str(length)
    response.headers["Accept-Ranges"] = "bytes"
    response.headers["Content-Disposition"] = content_disposition_header(True, name) or "attachment"
    response.headers["Content-Security-Policy"] = SANDBOX
    response.headers["ETag"] = f'"{backup.sha256}"'
    if span:
        response.headers["Content-Range"] = f"bytes {offset}-{offset + length - 1}/{backup.size_bytes}"
    return response


async def _flow(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Piece by piece: of a plain iterator an asynchronous server would take all before it sends the first."""
    try:
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece
    except StoreFault as fault:  # the answer has begun: its length will not fit, and the client knows
        log.warning("backups.download_broke", reason=fault.detail)


class BackupRestore(APIView):
    """Put it in place of all files of its container: what is there and not in the backup is gone. One that fails leaves the old files."""

    problem_statuses = WORKS

    @extend_schema(request=RestoreSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, container_id: str, backup_id: str) -> Response:
        container, backup = get_backup(request.user, container_id, backup_id, "containers.restore")
        start = checked(RestoreSerializer, request.data or {})["start"]
        wait_seconds(request)
        may_restore(request.user, container, start=start)
        operation = backups.restore_into(container, backup, user=request.user, actor=actor_of(request), start=start)
        return operation_response(request, operation)


class BackupVerify(APIView):
    """Read all its bytes again and compare their checksum."""

    problem_statuses = (409, 423)

    @extend_schema(request=None, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, container_id: str, backup_id: str) -> Response:
        _, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        wait_seconds(request)
        return operation_response(request, backups.verify(backup, user=request.user, actor=actor_of(request)))


class BackupProve(APIView):
    """Make a throw-away container of it, see it become ready, remove it: `proof` says how it went."""

    problem_statuses = (409, 423)

    @extend_schema(request=None, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, container_id: str, backup_id: str) -> Response:
        _, backup = get_backup(request.user, container_id, backup_id, "containers.backups")
        access.get_container(request.user, container_id, "containers.start")
        wait_seconds(request)
        return operation_response(request, backups.prove(backup, user=request.user, actor=actor_of(request)))


class BackupPolicyView(APIView):
    """How this container's backups are made and kept."""

    problem_statuses = (422,)

    @extend_schema(responses={200: BackupPolicyAnswerSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        return Response(policy_body(access.get_container(request.user, container_id, "containers.backups")))

    @extend_schema(request=BackupPolicySerializer, responses={200: BackupPolicyAnswerSerializer})
    def put(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.backups")
        body = checked(BackupPolicySerializer, request.data)
        limits = None
        if "most_count" in body or "most_bytes" in body:
            if not has(request.user, "settings.manage"):
                raise Forbidden("How many backups a container may have is set by administrators.")
            limits = (body.get("most_count"), body.get("most_bytes"))
        destination = None
        if body.get("destination"):
            destination = BackupDestination.objects.filter(pk=body["destination"]).first()
            if destination is None:
                raise Refused("There is no such destination.", errors=[FieldError("destination", "There is none of this id.", "not_found")])
        backups.set_policy(
            container, actor=actor_of(request), keep=body.get("keep"), ignore=body.get("ignore", []), destination=destination, limits=limits
        )
        return Response(policy_body(container))


def policy_body(container: Container) -> dict[str, Any]:
    """A policy as the API gives it."""
    from containers.models import BackupPolicy

    policy = BackupPolicy.objects.filter(pk=container.pk).first() or BackupPolicy(container=container)
    rules, held = backups.rules_of(container), Backup.objects.filter(container=container, state__in=backups.HELD)
    return {
        "keep": policy.keep,
        "ignore": policy.ignore,
        "destination": str(policy.destination_id) if policy.destination_id else None,
        "most_count": policy.most_count,
        "most_bytes": policy.most_bytes,
        "counts": {
            "keep": rules.keep,
            "most_count": rules.most_count,
            "most_bytes": rules.most_bytes,
            "count": held.count(),
            "bytes": backups.bytes_of(held),
        },
    }
