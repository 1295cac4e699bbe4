"""PostgreSQL and Redis of the suite's own, that may be killed and come back on the same port."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import redis

from bench.panel import free_port


class Redis:
    """Keeps nothing on disk: what dies with it is gone, as with FLUSHALL."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._folder = Path(tempfile.mkdtemp(prefix="lormas-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Redis:
        words = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(self._folder)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                with redis.Redis.from_url(self.url, socket_timeout=1) as client:
                    client.ping()
                return self
            except redis.RedisError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def flush(self) -> None:
        with redis.Redis.from_url(self.url, socket_timeout=5) as client:
            client.flushall()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


def postgres_programs() -> Path | None:
    """Where initdb and pg_ctl are, or None."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    there = shutil.which("initdb")
    return Path(there).parent if there else None


def postgres_cannot() -> str:
    """ "" if a server can be made here, else why not."""
    if postgres_programs() is None:
        return "PostgreSQL's server programs are not installed"
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return "there is no account `postgres` to run the server as"
    return ""


class Postgres:
    """`restart` is the immediate one: no checkpoint, every connection cut, recovery from the log at the next start."""

    def __init__(self) -> None:
        programs = postgres_programs()
        assert programs is not None, postgres_cannot()
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="lormas-pg-"))
        shutil.chown(self._folder, "postgres")
        self.port = free_port()
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/lormas"

    def _run(self, *words: str) -> None:
        done = subprocess.run(
            [str(self._programs / words[0]), *words[1:]], user="postgres", cwd=self._folder, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{words[0]}: {done.stderr[-1000:]}")

    def start(self) -> Postgres:
        data = str(self._folder / "data")
        if not Path(data).exists():
            self._run("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
            self._control("start")
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "lormas")
            return self
        self._control("start")
        return self

    def _control(self, act: str, *more: str) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._folder} -c max_connections=100"
        where = ["-D", str(self._folder / "data"), "-l", str(self._folder / "log")]
        subprocess.run(
            [str(self._programs / "pg_ctl"), *where, "-w", "-t", "30", "-o", options, *more, act],
            user="postgres", cwd=self._folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=True,
        )  # fmt: skip

    def stop(self) -> None:
        self._control("stop", "-m", "immediate")

    def remove(self) -> None:
        if (self._folder / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
