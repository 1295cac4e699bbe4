"""Hands by SSH (asyncssh): an event loop of its own in the calling thread's helper, all machines side by side, each within its time.

Nothing of this machine's own SSH set-up is used: no configuration, no agent, no known_hosts, no keys of the user who runs the panel.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Final

import asyncssh
import structlog

from reservations.hands import script
from reservations.hands.base import Account, Endpoint, Job, Outcome
from reservations.hostkeys import fingerprint

log = structlog.get_logger(__name__)

asyncssh.set_log_level("WARNING")  # below, it tells every command and every name

CONNECT_SECONDS: Final = 6.0
LOGIN_SECONDS: Final = 8.0
SECONDS: Final = {"check": 9.0, "create": 40.0, "extend": 20.0, "remove": 60.0, "verify": 25.0}
"""The whole of one job, however slow the machine."""
AT_ONCE: Final = 32
MAX_OUTPUT: Final = 256 * 1024

KEY_ALGORITHMS: Final = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


class HostKeyChanged(Exception):
    """Somebody answered with another key than the pinned one: `answered` is it."""

    def __init__(self, answered: str) -> None:
        super().__init__("the host key changed")
        self.answered = answered


class Failed(Exception):
    """The job can't be done; `code` and a sentence."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def public_text(key: Any) -> str:
    """`ssh-ed25519 AAAA…` of a key, without its comment."""
    words = key.export_public_key("openssh").decode("ascii").split()
    return " ".join(words[:2])


class _Pinned(asyncssh.SSHClient):
    """Takes down who answers, and lets pass only the pinned key (or anybody, at first use)."""

    def __init__(self, pinned: str) -> None:
        self.pinned = pinned
        self.answered = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: Any) -> bool:
        self.answered = public_text(key)
        return not self.pinned or self.answered == self.pinned


async def _who_answers(endpoint: Endpoint) -> str:
    """The host key that is offered now, of whatever kind. Raises Failed."""
    try:
        key = await asyncssh.get_server_host_key(endpoint.host, endpoint.port, config=None)
    except (asyncssh.Error, OSError) as error:
        raise Failed("unreachable", "The SSH server and Lormas have no algorithm in common.") from error
    if key is None:
        raise Failed("unreachable", "The SSH server shows no host key.")
    return public_text(key)


@contextlib.asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[tuple[Any, str, float]]:
    """A connection, the host key, and how long it took to be let in, in milliseconds.

    Raises:
        Failed (unreachable, login_refused), HostKeyChanged. The caller sets the whole time limit.
    """
    client = _Pinned(endpoint.host_key)
    options: dict[str, Any] = {}
    if endpoint.host_key:
        kind = endpoint.host_key.split(" ", 1)[0]
        options["server_host_key_algs"] = list(KEY_ALGORITHMS.get(kind, (kind,)))
    began = time.monotonic()
    try:
        keys = [asyncssh.import_private_key(endpoint.private_key)] if endpoint.private_key else []
        connection, _ = await asyncssh.create_connection(
            lambda: client,
            endpoint.host,
            endpoint.port,
            username=endpoint.user,
            password=endpoint.password or None,
            client_keys=keys or None,
            known_hosts=([], [], []),
            config=None,
            agent_path=None,
            x509_trusted_certs=None,
            gss_host=None,
            preferred_auth="publickey,keyboard-interactive,password",
            connect_timeout=CONNECT_SECONDS,
            login_timeout=LOGIN_SECONDS,
            keepalive_interval=5,
            **options,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyChanged(client.answered) from error
    except asyncssh.KeyExchangeFailed as error:
        if endpoint.host_key:
            raise HostKeyChanged(await _who_answers(endpoint)) from error  # it has none of the pinned kind any more
        raise Failed("unreachable", "The SSH server and Lormas have no algorithm in common.") from error
    except asyncssh.PermissionDenied as error:
        raise Failed("login_refused", f"The machine refused {endpoint.user}: its password or key is wrong there.") from error
    except asyncssh.KeyImportError as error:
        raise Failed("login_refused", "The stored private key can't be read: store it again, without a passphrase.") from error
    except TimeoutError as error:
        raise Failed("unreachable", f"{endpoint.host} port {endpoint.port} did not answer in time.") from error
    except OSError as error:
        raise Failed("unreachable", f"{endpoint.host} port {endpoint.port} can't be reached: {error.strerror or 'no connection'}.") from error
    except asyncssh.Error as error:
        raise Failed("unreachable", "What answers there is no usable SSH server, or it hung up.") from error
    try:
        yield connection, client.answered, (time.monotonic() - began) * 1000
    finally:
        connection.abort()


async def run(connection: Any, program: str, *arguments: str, endpoint: Endpoint, stdin: str = "") -> dict[str, list[str]]:
    """Run one of our programs; what it said. Raises Failed."""
    line = script.command(program, *arguments, as_root=endpoint.user == "root")
    try:
        done = await connection.run(line, input=stdin, encoding="utf-8", errors="replace", check=False)
    except asyncssh.Error as error:
        raise Failed("failed", "The machine hung up in the middle of it.") from error
    said = script.answers(str(done.stdout or "")[:MAX_OUTPUT])
    if "error" in said:
        raise Failed(said["error"][0], said.get("detail", [""])[0] or "The machine refused.")
    if "done" not in said:
        if endpoint.user != "root":
            raise Failed("no_root", f"{endpoint.user} may not become root there: let it run sudo without a password.")
        raise Failed("failed", "The machine did not finish what it was asked (no POSIX shell?).")
    return said


def _account(job: Job) -> Account:
    assert job.account is not None, f"{job.act} needs an account"
    return job.account


async def _check(connection: Any, job: Job) -> int | None:
    await run(connection, script.CHECK, "-", "-", endpoint=job.endpoint)
    return None


async def _create(connection: Any, job: Job) -> int | None:
    account = _account(job)
    said = await run(
        connection, script.CREATE, account.username, account.marker, str(account.seconds_left), "1" if account.sudo else "0", script.WATCH,
        endpoint=job.endpoint, stdin=f"{account.password}\n{account.public_key}\n",
    )  # fmt: skip
    uid = said.get("uid", [""])[0]
    return int(uid) if uid.isascii() and uid.isdigit() else None


async def _extend(connection: Any, job: Job) -> int | None:
    account = _account(job)
    await run(
        connection, script.EXTEND, account.username, account.marker, str(account.seconds_left),
        endpoint=job.endpoint, stdin=f"\n{account.public_key}\n",
    )  # fmt: skip
    return None


async def _remove(connection: Any, job: Job) -> int | None:
    account = _account(job)
    known = "" if account.uid is None else str(account.uid)
    said = await run(connection, script.REMOVE, account.username, account.marker, known, endpoint=job.endpoint)
    uid = said.get("uid", [known])[0]
    await verify_gone(connection, job, uid)
    return int(uid) if uid.isascii() and uid.isdigit() else None


async def _verify(connection: Any, job: Job) -> int | None:
    uid = _account(job).uid
    await verify_gone(connection, job, "" if uid is None else str(uid))
    return uid


async def verify_gone(connection: Any, job: Job, uid: str) -> None:
    """Look again, with another program than the one that removed; then knock as the account. Raises Failed(not_clean)."""
    account = _account(job)
    left = (await run(connection, script.VERIFY, account.username, account.marker, uid, endpoint=job.endpoint)).get("left", [])
    if left:
        raise Failed("not_clean", f"Still there: {', '.join(left)}.")
    if account.password:
        endpoint = job.endpoint
        guest = Endpoint(endpoint.name, endpoint.host, endpoint.port, account.username, password=account.password, host_key=endpoint.host_key)
        try:
            async with connected(guest):
                raise Failed("not_clean", "The machine still lets the account in.")
        except Failed as refused:
            if refused.code != "login_refused":
                raise


_ACTS: Final = {"check": _check, "create": _create, "extend": _extend, "remove": _remove, "verify": _verify}


async def _one(job: Job, gate: asyncio.Semaphore) -> Outcome:
    endpoint = job.endpoint
    answered, latency = "", None
    async with gate:
        try:
            async with asyncio.timeout(SECONDS[job.act]):
                async with connected(endpoint) as (connection, answered, latency):
                    uid = await _ACTS[job.act](connection, job)
            return Outcome(job, True, uid=uid, host_key=answered, latency_ms=latency)
        except HostKeyChanged as changed:
            detail = (
                f"Its host key changed: {fingerprint(endpoint.host_key)} is pinned, {fingerprint(changed.answered)} answered. "
                "Somebody may stand in between, or the machine was set up anew."
            )
            return Outcome(job, False, "host_key_changed", detail, host_key=changed.answered)
        except Failed as failed:
            return Outcome(job, False, failed.code, failed.detail, host_key=answered, latency_ms=latency)
        except TimeoutError:
            return Outcome(job, False, "timeout", f"It took longer than {SECONDS[job.act]:.0f} s.", host_key=answered, latency_ms=latency)
        except Exception as error:  # one machine's surprise must not become the others'
            log.exception("reservations.hands_failed", act=job.act, machine=endpoint.name, error=type(error).__name__)
            return Outcome(job, False, "failed", f"It failed in an unexpected way ({type(error).__name__}).", host_key=answered)


async def _all(jobs: Sequence[Job], out: queue.Queue[Outcome | None]) -> None:
    gate = asyncio.Semaphore(AT_ONCE)
    for done in asyncio.as_completed([_one(job, gate) for job in jobs]):
        out.put(await done)


def work(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """As `reservations.hands.work`. The loop lives in a thread of its own, so that the caller may use the database between outcomes."""
    if not jobs:
        return
    out: queue.Queue[Outcome | None] = queue.Queue()

    def body() -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(_all(jobs, out))
        finally:
            out.put(None)

    thread = threading.Thread(target=body, name="hands", daemon=True)
    thread.start()
    left = {job.id: job for job in jobs}
    while (outcome := out.get()) is not None:
        left.pop(outcome.job.id, None)
        yield outcome
    for job in left.values():  # the loop itself died: nobody is forgotten
        yield Outcome(job, False, "failed", "The work on it was cut short.")
