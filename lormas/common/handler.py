"""Django's ASGI handler with all middleware in one thread hop, and with request threads that are used again.

In its async mode most middleware hands each of its steps to a thread, one by one: two dozen hops a request. Ours all know both modes, so the whole
chain runs in the thread that the view needs anyway; an async view still runs on the event loop.

Django starts a thread for each request, and asgiref another one to see it end. A thread that is kept also keeps its SQLite connection: a new one
reads the whole schema first, which costs more than the queries of most requests.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import django
from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.db import connections

from lormas.common.bodies import ClientGone, Whole

KEPT: Final = 8
"""So many threads wait for requests; more are started when more requests come at once, and end with them."""

_idle: deque[ThreadPoolExecutor] = deque()


def _lend() -> ThreadPoolExecutor:
    """A thread for one request: a kept one, or a new one."""
    try:
        return _idle.pop()
    except IndexError:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix="request")


def _take_back(thread: ThreadPoolExecutor) -> None:
    """Runs in the thread itself, behind all that the request left there: one that still waits for something is not lent again before."""
    if len(_idle) < KEPT:
        _idle.append(thread)
        return
    connections.close_all()
    thread.shutdown(wait=False)


class Handler(ASGIHandler):
    """One hop to the request's own thread, and one back."""

    def load_middleware(self, is_async: bool = False) -> None:
        """The chain in its sync mode, whatever is asked for, behind the one door from the event loop."""
        super().load_middleware(is_async=False)
        self._middleware_chain: Any = sync_to_async(self._middleware_chain, thread_sensitive=True)

    async def read_body(self, receive: Any) -> Any:
        """A large body is in a file already: it is not copied into another one."""
        if not isinstance(receive, Whole):
            return await super().read_body(receive)
        try:
            return await receive.take()
        except ClientGone:
            raise RequestAborted from None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """As Django's; only the thread is lent."""
        thread = _lend()
        try:
            async with ThreadSensitiveContext() as context:
                SyncToAsync.context_to_thread_executor[context] = thread
                try:
                    await self.handle(scope, receive, send)
                finally:  # else the context would end it
                    SyncToAsync.context_to_thread_executor.pop(context, None)
        finally:
            thread.submit(_take_back, thread)


def application() -> Handler:
    """As `get_asgi_application`."""
    django.setup(set_prefix=False)
    return Handler()
