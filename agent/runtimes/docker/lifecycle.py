"""Lifecycle verbs through the docker SDK: a bounded pool of threads, a time limit on each call.

The SDK's socket has a read limit of its own, so that a thread that waits for a hung engine comes back by itself (SECURITY.md R13);
the caller is let go at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import errors
from agent.runtimes.docker.wire import Endpoint

T = TypeVar("T")


class Lifecycle:
    """Runs functions of the SDK's low-level client. `threads`: more than 2x the cores only adds latency."""

    def __init__(self, endpoint: Endpoint, *, threads: int) -> None:
        self._endpoint = endpoint
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="lormas-docker")
        self._threads = threads
        self._local = threading.local()
        self._clients: list[Any] = []
        self.version = ""

    def _client(self, timeout: float) -> Any:
        """One client a thread: a session shared by threads mixes up its connections under load."""
        client = getattr(self._local, "client", None)
        if client is None or client.api_version != self.version:
            import docker  # heavy, and not needed where another runtime is used
            import docker.utils

            tls: Any = False
            if self._endpoint.tls is not None:
                tls = docker.utils.kwargs_from_env().get("tls", False)
            client = docker.APIClient(base_url=self._endpoint.sdk_url, version=self.version, tls=tls, max_pool_size=1, num_pools=1)
            client.headers["Accept-Encoding"] = "identity"
            # The SDK keeps a pool for every address it ever asked (up to 25 a client, whatever num_pools says), each with an idle connection.
            client.headers["Connection"] = "close"
            self._local.client = client
            self._clients.append(client)
        client.timeout = timeout
        return client

    async def run(self, verb: str, work: Callable[[Any], T], *, timeout: float) -> T:
        """`work(client)` in a thread, within `timeout` seconds.

        Raises:
            RuntimeFailure: with the engine's complaint translated.
        """

        def call() -> T:
            import docker.errors
            import requests.exceptions

            try:
                return work(self._client(timeout))
            except docker.errors.APIError as error:
                raise errors.translate(error.status_code or 500, error.explanation or str(error), verb=verb) from error
            except (requests.exceptions.Timeout, TimeoutError) as error:
                raise _late(verb, timeout) from error
            except (requests.exceptions.RequestException, docker.errors.DockerException, OSError) as error:
                if "timed out" in str(error).lower():
                    raise _late(verb, timeout) from error
                raise RuntimeFailure("engine_down", f"The engine can't be reached: {error}", retryable=True) from error

        future = asyncio.get_running_loop().run_in_executor(self._pool, call)
        try:
            async with asyncio.timeout(timeout + 1):
                return await future
        except TimeoutError:
            raise _late(verb, timeout) from None

    def close(self) -> None:
        """No new work; what waits for a hung engine ends by its own limit."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for client in self._clients:
            with contextlib.suppress(OSError):
                client.close()


def _late(verb: str, timeout: float) -> RuntimeFailure:
    return RuntimeFailure("timeout", f"The engine did not {verb} within {timeout:g} s.", retryable=True)
