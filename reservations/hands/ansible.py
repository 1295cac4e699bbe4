"""Hands by Ansible, for those who have it (`RESERVATION_HANDS=ansible`): accounts are made and removed by the playbooks in `provision/playbooks`, run
through ansible-runner in a process of its own. All else (checks, extensions, and whether an account is gone) stays with `ssh`.

Nothing of Ansible's is imported here. The child sees none of the panel's environment; secrets stand in files of a folder that only we may read
(in memory, where there is /dev/shm) and that is gone when the play is over, and in no argument, no artifact that is kept and no log.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import structlog

from reservations.hands import script, ssh
from reservations.hands.base import Job, Outcome

log = structlog.get_logger(__name__)

PLAYBOOKS: Final = Path(__file__).resolve().parents[2] / "provision" / "playbooks"
BOOKS: Final = {"create": "create_users.yml", "remove": "remove_users.yml"}
PLAY_SECONDS: Final = 100
"""Of one play; with the look before and the one after it still less than the lease of `services.lifecycle`."""
STOP_SECONDS: Final = 8
AT_A_TIME: Final = 10
"""Machines in one play, so that each has its time however many there are: Ansible costs seconds of processor for each."""
FORKS: Final = 10
PREFIX: Final = "lormas-hands-"
STALE_SECONDS: Final = 3600
CODES: Final = ("name_taken", "no_root", "failed")
NOT_INSTALLED: Final = "Ansible is not installed beside the panel: install lormas[ansible], or set RESERVATION_HANDS=ssh."


def installed() -> bool:
    """Are ansible-runner and ansible-core there, and a `ssh` that Ansible can use?"""
    return bool(importlib.util.find_spec("ansible_runner") and importlib.util.find_spec("ansible") and shutil.which("ssh"))


def work(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """As `reservations.hands.work`."""
    yield from ssh.work([job for job in jobs if job.act not in BOOKS])
    for act in BOOKS:
        mine = [job for job in jobs if job.act == act]
        if mine and not installed():
            yield from (Outcome(job, False, "failed", NOT_INSTALLED) for job in mine)
        for first in range(0, len(mine) if installed() else 0, AT_A_TIME):
            yield from _book(act, mine[first : first + AT_A_TIME])


def _book(act: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Who answers first, by our own means: so that host keys, refused logins and machines out of reach are told alike by both kinds of hands."""
    known = {job.id: job for job in jobs}
    ready: list[Job] = []
    seen: dict[Any, Outcome] = {}
    for look in ssh.work([Job(job.id, "check", job.endpoint) for job in jobs]):
        job = known[look.job.id]
        if look.ok:
            seen[job.id] = look
            ready.append(replace(job, endpoint=replace(job.endpoint, host_key=look.host_key)))
        else:
            yield replace(look, job=job)
    played = []
    for outcome in _play(act, ready):
        told = replace(outcome, job=known[outcome.job.id], host_key=seen[outcome.job.id].host_key, latency_ms=seen[outcome.job.id].latency_ms)
        if act == "create" or not told.ok:
            yield told
        else:
            played.append(told)
    yield from _looked_again(played)


def _looked_again(played: Sequence[Outcome]) -> Iterator[Outcome]:
    """Gone is what another program than the one that removed finds gone."""
    by_id = {outcome.job.id: outcome for outcome in played}
    jobs = []
    for outcome in played:
        assert outcome.job.account is not None
        endpoint = replace(outcome.job.endpoint, host_key=outcome.host_key)
        jobs.append(Job(outcome.job.id, "verify", endpoint, replace(outcome.job.account, uid=outcome.uid)))
    for look in ssh.work(jobs):
        yield replace(by_id[look.job.id], ok=look.ok, code=look.code, detail=look.detail)


# ------------------------------------------------------------------------------------------------------------------- play


def _play(act: str, jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Run one playbook over all of them; an outcome for each, as it comes."""
    if not jobs:
        return
    left = {f"j{number}": job for number, job in enumerate(jobs)}
    with _folder() as folder:
        _write(folder, left)
        arguments = ("--project-dir", str(PLAYBOOKS), "--forks", str(FORKS))
        process = subprocess.Popen(
            [sys.executable, "-m", "ansible_runner", "run", str(folder), "-p", BOOKS[act], "-j", *arguments],
            env=_environment(folder), cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, encoding="utf-8", errors="replace", start_new_session=True,
        )  # fmt: skip
        clock = threading.Timer(PLAY_SECONDS + STOP_SECONDS, _stop, [process])  # Ansible's own limit comes first
        clock.daemon = True
        clock.start()
        began = time.monotonic()
        try:
            assert process.stdout is not None
            for line in process.stdout:
                host, outcome = _heard(line, left)
                if outcome is not None:
                    del left[host]
                    yield outcome
        finally:
            clock.cancel()
            _stop(process)
            if process.stdout is not None:
                process.stdout.close()
    late = time.monotonic() - began >= PLAY_SECONDS
    if left:
        log.warning("reservations.play_unfinished", act=act, machines=len(left), exit_code=process.returncode, late=late)
    for job in left.values():
        words = ("timeout", f"It took longer than {PLAY_SECONDS} s.") if late else ("failed", "Ansible ended before it was done with this machine.")
        yield Outcome(job, False, *words)


def _stop(process: subprocess.Popen[str]) -> None:
    """End it if it is still there: asked first, so that it ends its own children."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)


def _heard(line: str, left: Mapping[str, Job]) -> tuple[str, Outcome | None]:
    """What an event of ansible-runner's means for one of the hosts that are waited for."""
    try:
        event = json.loads(line)
        kind, data = event["event"], event.get("event_data") or {}
        host = data.get("host", "")
    except (ValueError, TypeError, KeyError, AttributeError):
        return "", None
    job = left.get(host)
    if job is None or data.get("ignore_errors"):
        return "", None
    task, result = str(data.get("task", "")), data.get("res") or {}
    if kind == "runner_on_ok" and task == "Done":
        uid = str(result.get("stdout", ""))
        return host, Outcome(job, True, uid=int(uid) if uid.isascii() and uid.isdigit() else None)
    if kind == "runner_on_unreachable":
        return host, Outcome(job, False, "unreachable", f"Ansible lost the machine at: {task}.")
    if kind == "runner_on_failed":
        return host, Outcome(job, False, *_why(task, result))
    return "", None


def _why(task: str, result: Mapping[str, Any]) -> tuple[str, str]:
    """Code and sentence. Our own refusals stand in `msg` as `code: sentence`; of all else the task's name is enough."""
    code, _, words = str(result.get("msg", "")).partition(": ")
    if code in CODES and words:
        return code, words[:300]
    return "failed", f"Ansible failed at: {task}."


# ----------------------------------------------------------------------------------------------------------------- folder


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """For one play: nobody else's to read, in memory where that can be had, and gone afterwards, also what a killed panel left behind."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp below makes a folder of our own in it
    parent = memory if memory.is_dir() and os.access(memory, os.W_OK | os.X_OK) else Path(tempfile.gettempdir())
    for old in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = old.lstat()
            if found.st_uid == os.geteuid() and time.time() - found.st_mtime > STALE_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: Path) -> None:
    """Take a play's folder away, whatever it holds."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # a child that was just killed may still have written
        time.sleep(0.2)
        shutil.rmtree(folder, ignore_errors=True)


def _write(folder: Path, jobs: Mapping[str, Job]) -> None:
    for name in ("inventory", "env", "tmp"):
        (folder / name).mkdir(mode=0o700)
    lines = ["all:", "  hosts:"]
    for host, job in jobs.items():
        lines.append(f"    {host}:")
        lines += [f"      {name}: {_scalar(value)}" for name, value in _variables(folder, host, job).items()]
    _private(folder / "inventory" / "hosts.yml", "\n".join(lines) + "\n")
    _private(folder / "known_hosts", "".join(f"{host} {job.endpoint.host_key}\n" for host, job in jobs.items()))
    _private(folder / "env" / "settings", json.dumps({"job_timeout": PLAY_SECONDS, "suppress_output_file": True}))


def _private(file: Path, text: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
        out.write(text)


def _scalar(value: str | int | bool) -> str:
    """YAML that Ansible takes as it is: `!unsafe`, or braces in a password would be a template that runs on the panel."""
    return json.dumps(value) if isinstance(value, bool | int) else f"!unsafe {json.dumps(value, ensure_ascii=False)}"


def _variables(folder: Path, host: str, job: Job) -> dict[str, str | int | bool]:
    endpoint, account = job.endpoint, job.account
    assert account is not None, f"{job.act} needs an account"
    kind = endpoint.host_key.split(" ", 1)[0]
    algorithms = ",".join(ssh.KEY_ALGORITHMS.get(kind, (kind,)))
    found: dict[str, str | int | bool] = {
        "ansible_host": endpoint.host, "ansible_port": endpoint.port, "ansible_user": endpoint.user, "ansible_become": endpoint.user != "root",
        "ansible_ssh_common_args": f"-o HostKeyAlias={host} -o HostKeyAlgorithms={algorithms}", "ansible_python_interpreter": "auto_silent",
        "lormas_user": account.username, "lormas_marker": account.marker, "lormas_password": account.password, "lormas_key": account.public_key,
        "lormas_seconds": account.seconds_left, "lormas_sudo": account.sudo, "lormas_uid": "" if account.uid is None else str(account.uid),
        "lormas_watch": script.WATCH, "lormas_rest": script.REST, "lormas_write_key": script.WRITE_KEY,
    }  # fmt: skip
    if endpoint.private_key:
        key = folder / f"{host}.key"
        _private(key, endpoint.private_key.rstrip("\n") + "\n")
        found["ansible_ssh_private_key_file"] = str(key)
    if endpoint.password:
        found["ansible_password"] = endpoint.password
    return found


def _environment(folder: Path) -> dict[str, str]:
    """All that the child sees. No configuration, agent, keys or known hosts of whoever runs the panel."""
    options = (
        "-F /dev/null", "-o ControlMaster=auto", "-o ControlPersist=5s", f"-o UserKnownHostsFile={folder}/known_hosts",
        "-o GlobalKnownHostsFile=/dev/null", "-o StrictHostKeyChecking=yes", "-o UpdateHostKeys=no", "-o IdentityAgent=none", "-o IdentitiesOnly=yes",
        f"-o ConnectTimeout={ssh.CONNECT_SECONDS:.0f}",
    )  # fmt: skip
    bin_folder = Path(sys.executable).parent
    return {
        "PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder / "tmp"), "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(folder / "tmp"), "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"), "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_SSH_ARGS": " ".join(options), "ANSIBLE_PIPELINING": "True", "ANSIBLE_HOST_KEY_CHECKING": "True", "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_RETRY_FILES_ENABLED": "False", "ANSIBLE_GATHERING": "explicit", "ANSIBLE_TIMEOUT": f"{ssh.LOGIN_SECONDS:.0f}",
        "ANSIBLE_INJECT_FACT_VARS": "False",
    }  # fmt: skip
