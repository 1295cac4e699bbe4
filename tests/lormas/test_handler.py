"""The panel's own ASGI handler: one hop, threads that are used again, and connections that belong to the file that is there."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import ConnectionHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

from lormas.common import handler
from lormas.urls import handler400, handler403, handler404, handler500  # noqa: F401

THREADS: list[int] = []
HELD = threading.Event()
GO_ON = threading.Event()


def note(request: HttpRequest) -> HttpResponse:
    THREADS.append(threading.get_ident())
    return HttpResponse("noted")


def hold(request: HttpRequest) -> HttpResponse:
    THREADS.append(threading.get_ident())
    HELD.set()
    assert GO_ON.wait(60)
    return HttpResponse("held")


async def away(request: HttpRequest) -> HttpResponse:
    """An async view: on the loop, its sync parts in the request's thread."""
    on_loop = threading.get_ident()
    await sync_to_async(note)(request)
    return HttpResponse(f"{on_loop} {threading.get_ident()}")


urlpatterns = [path("note", note), path("hold", hold), path("away", away)]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@pytest.fixture
def served(settings: Any, monkeypatch: pytest.MonkeyPatch) -> handler.Handler:
    settings.ROOT_URLCONF = __name__
    THREADS.clear()
    HELD.clear()
    GO_ON.clear()
    monkeypatch.setattr(handler, "_idle", type(handler._idle)())
    return handler.application()


def asked(served: handler.Handler, where: str) -> ApplicationCommunicator:
    scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": where, "query_string": b"", "headers": [(b"host", b"testserver")]}
    return ApplicationCommunicator(served, scope)


async def get(served: handler.Handler, where: str) -> tuple[int, dict[bytes, bytes], bytes]:
    """Status, headers and body; returns when the request is over."""
    talk = asked(served, where)
    await talk.send_input({"type": "http.request"})
    begun = await talk.receive_output(60)
    body = await talk.receive_output(60)
    await talk.wait(60)
    return begun["status"], dict(begun["headers"]), body["body"]


async def test_a_request_passes_all_middleware_and_its_thread_serves_the_next_one(served: handler.Handler) -> None:
    status, headers, body = await get(served, "/note")
    assert (status, body) == (200, b"noted")
    names = {name.lower() for name in headers}
    assert {b"x-request-id", b"content-security-policy", b"x-frame-options", b"cache-control"} <= names
    while not handler._idle:  # it comes back behind the request's end
        await asyncio.sleep(0.01)
    await get(served, "/note")
    assert len(set(THREADS)) == 1
    assert THREADS[0] != threading.get_ident()


async def test_a_thread_that_waits_is_not_lent_to_another_request(served: handler.Handler) -> None:
    slow = asyncio.create_task(get(served, "/hold"))
    await sync_to_async(HELD.wait, thread_sensitive=False)(60)
    assert (await get(served, "/note"))[2] == b"noted"
    GO_ON.set()
    assert (await slow)[2] == b"held"
    assert len(set(THREADS)) == 2


async def test_nor_is_one_whose_client_has_gone_before_it_is_done(served: handler.Handler) -> None:
    talk = asked(served, "/hold")
    await talk.send_input({"type": "http.request"})
    await sync_to_async(HELD.wait, thread_sensitive=False)(60)
    await talk.send_input({"type": "http.disconnect"})
    assert (await get(served, "/note"))[2] == b"noted"
    GO_ON.set()
    await talk.wait(60)
    assert len(set(THREADS)) == 2


async def test_an_async_view_runs_on_the_loop_and_its_sync_parts_in_the_request_s_thread(served: handler.Handler) -> None:
    loop = str(threading.get_ident())
    assert (await get(served, "/away"))[2].decode().split() == [loop, loop]
    assert threading.get_ident() not in THREADS


async def test_more_threads_than_are_kept_end(served: handler.Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handler, "KEPT", 0)
    await get(served, "/note")
    await get(served, "/note")
    assert not handler._idle


def test_a_kept_connection_is_opened_anew_where_another_file_has_its_name(tmp_path: Path) -> None:
    ours, other = tmp_path / "ours.sqlite3", tmp_path / "other.sqlite3"
    connection = ConnectionHandler({"default": {"ENGINE": "lormas.common.sqlite3", "NAME": str(ours), "CONN_MAX_AGE": 300}})["default"]
    try:
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE old (id integer)")
        kept = connection.connection
        connection.close_if_unusable_or_obsolete()
        assert connection.connection is kept
        shutil.copy(ours, other)
        other.replace(ours)
        connection.close_if_unusable_or_obsolete()
        assert connection.connection is None
    finally:
        connection.close()
