"""`Idempotency-Key`: a mutation that is sent again answers again, and acts once.

One row per (caller, key): made before the view runs, so that of two that race one runs and the other is told 409; filled with the answer
when it is known. A success is kept 24 h; a refusal left nothing behind, so its key is free again. A process that died in between leaves a
row without an answer: whether the act happened is unknown, and saying so (409) is the only answer that can't double it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final

import structlog
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.request import UnreadablePostError
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.settings import api_settings

from audit.models import StoredResponse
from lormas.common import clock
from lormas.common.addresses import client_address
from lormas.common.api import problems
from lormas.common.crypto import WrongKey, decrypt, encrypt
from lormas.common.errors import Problem

log = structlog.get_logger(__name__)
KEPT: Final = timedelta(hours=24)
RUNNING: Final = timedelta(minutes=3)
"""Longer than any request may take; after it a row without an answer means that its process died."""
MAX_STORED_BYTES: Final = 256 * 1024
MUTATIONS: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = ("Content-Type", "Location", "ETag")


def caller(request: HttpRequest) -> str:
    """Whose key it is: the signed-in person (or their API key, which may see less), else the address. A wrong credential is the view's to refuse."""
    classes: Sequence[type[BaseAuthentication]] = api_settings.DEFAULT_AUTHENTICATION_CLASSES  # type: ignore[assignment]
    try:
        user = Request(request, authenticators=[cls() for cls in classes]).user
    except (APIException, Problem):
        user = None
    if user is not None and user.is_authenticated:
        if (key := getattr(user, "api_key", None)) is not None:
            return f"api_key:{key.pk}"
        return f"user:{user.pk}"
    return f"anonymous:{client_address(request) or 'local'}"[:64]


def digest(request: HttpRequest) -> str:
    """What makes two requests the same: method, path with query, type and body."""
    summed = hashlib.sha256()
    for part in (request.method or "", request.get_full_path(), request.content_type or ""):
        summed.update(part.encode(errors="surrogateescape") + b"\x00")
    summed.update(request.body)
    return summed.hexdigest()


def _replay(row: StoredResponse) -> HttpResponse | None:
    try:
        body = base64.b64decode(decrypt(row.body, keys=settings.FIELD_KEYS))
    except WrongKey:
        return None
    response = HttpResponse(body, status=row.status_code, headers=row.headers)
    response.headers["Idempotency-Replayed"] = "true"
    return response


def begin(request: HttpRequest, key: str) -> StoredResponse | HttpResponse:
    """Claim the key (the row is ours to `finish`), or the answer that ends this request."""
    if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):
        return problems.response(request, 400, code="idempotency_key_invalid", detail="Idempotency-Key takes 1 to 255 printable ASCII characters.")
    try:
        summed = digest(request)  # first: it keeps the body, which the CSRF check of `caller` would otherwise consume
    except RequestDataTooBig:
        return problems.response(request, 413, detail="A body this large can't be sent with Idempotency-Key.")
    except UnreadablePostError:
        return problems.response(request, 400, code="malformed", detail="The body could not be read.")
    owner = caller(request)
    for _ in range(3):
        fresh = StoredResponse(owner=owner, key=key, method=request.method or "", path=request.path[:512], body_digest=summed, created_at=clock.now())
        try:
            with transaction.atomic():
                fresh.save(force_insert=True)
            return fresh
        except IntegrityError:
            known = StoredResponse.objects.filter(owner=owner, key=key).first()
        if known is None:
            continue
        if clock.now() - known.created_at > KEPT:
            StoredResponse.objects.filter(pk=known.pk, created_at=known.created_at).delete()
            continue
        return _answer(request, known, summed)
    return problems.response(request, 409, code="idempotency_in_flight", detail="Requests with this Idempotency-Key race; send it again.")


def _answer(request: HttpRequest, known: StoredResponse, summed: str) -> HttpResponse:
    if known.body_digest != summed:
        return problems.response(
            request, 422, code="idempotency_key_reused", detail="This Idempotency-Key was used for another request; take a new one."
        )
    if known.status_code is not None:
        return _replay(known) or problems.response(
            request, 409, code="idempotency_outcome_unknown", detail="It succeeded, but the stored answer can't be read any more."
        )
    if clock.now() - known.created_at > RUNNING:
        return problems.response(
            request,
            409,
            code="idempotency_outcome_unknown",
            detail="The first request was interrupted. Look whether it took effect; if not, send it with a new key.",
        )
    return problems.response(
        request, 409, code="idempotency_in_flight", detail="The first request with this Idempotency-Key is still running.", extra={"retry_after": 1}
    )


def finish(row: StoredResponse, response: HttpResponseBase) -> None:
    """Keep a success (and a 504: its operation goes on); free the key otherwise."""
    kept = 200 <= response.status_code < 300 or response.status_code == 504
    if not kept:
        row.delete()
        return
    content = response.content if isinstance(response, HttpResponse) else b""
    if len(content) > MAX_STORED_BYTES or not isinstance(response, HttpResponse):
        row.delete()  # downloads are no mutations; nothing that large is an answer to one
        return
    row.status_code = response.status_code
    row.headers = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    row.body = encrypt(base64.b64encode(content).decode(), keys=settings.FIELD_KEYS)  # answers may show a token once (I03)
    row.save(update_fields=["status_code", "headers", "body"])


def forget_expired(*, limit: int = 1000) -> int:
    """Retention: delete up to `limit` rows older than 24 h; returns how many went."""
    old = list(StoredResponse.objects.filter(created_at__lt=clock.now() - KEPT).values_list("pk", flat=True)[:limit])
    return StoredResponse.objects.filter(pk__in=old).delete()[0] if old else 0


class IdempotencyMiddleware:
    """Wraps API mutations that carry the header; all others pass untouched."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def _key(self, request: HttpRequest) -> str | None:
        if request.method in MUTATIONS and request.path_info.startswith("/api/"):
            return request.headers.get("Idempotency-Key")
        return None

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if iscoroutinefunction(self.get_response):
            return self._call_async(request)
        key = self._key(request)
        row = begin(request, key) if key is not None else None
        if isinstance(row, HttpResponse):
            return row
        try:
            response = self.get_response(request)
        except BaseException:
            if row is not None:
                row.delete()
            raise
        assert isinstance(response, HttpResponseBase)
        if row is not None:
            finish(row, response)
        return response

    async def _call_async(self, request: HttpRequest) -> HttpResponseBase:
        key = self._key(request)
        row = await sync_to_async(begin)(request, key) if key is not None else None
        if isinstance(row, HttpResponse):
            return row
        response: HttpResponseBase = await self.get_response(request)  # type: ignore[misc]
        if row is not None:
            await sync_to_async(finish)(row, response)
        return response
