"""The small process that stands beside each container of the process runtime: it outlives the agent and never loses output or exit code.

Run as `python -I -S shim.py` with the container's folder as working directory and a JSON config on standard input; it detaches itself,
tells on standard output how the start went (one JSON line) and closes it. Standard library only, no import of the agent: it must start
in milliseconds and must not care which version of the agent started it.

In the folder: `run.json` (what runs; rewritten atomically at the end with the exit code), `s` (socket for standard input and terminal
size), and `<spool>/` with what was written: files named by the counters at their beginning (stdout bytes, stderr bytes, stdout lines,
stderr lines) that hold frames `stream (1 byte), Unix time (double), length (4 bytes), data`. Counters that jump from one file to the
next say that what lies between is lost, and how many lines it was.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import pty
import resource
import selectors
import signal
import socket
import struct
import sys
import termios
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # (importing typing itself takes longer than the rest)
    from typing import Any

FRAME = struct.Struct(">BdI")
READ = 65536
STDIN_MAX = 1024 * 1024
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LINGER_SECONDS = 5.0
RECORD_BYTES = 2048
CHECK_SECONDS_MAX = 4.0


def start_time(pid: int) -> int | None:
    """Clock ticks since boot at which this process began: tells it from a later one with the same pid. None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:  # noqa: PTH123
            return file.read().strip()
    except OSError:
        return ""


def tree(root: int) -> list[tuple[int, int]]:
    """(pid, resident bytes) of all descendants."""
    parents: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    page = os.sysconf("SC_PAGE_SIZE")
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:  # noqa: PTH123
                words = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(words[1]), []).append(int(name))
        sizes[int(name)] = int(words[21]) * page
    found: list[tuple[int, int]] = []
    todo = list(parents.get(root, ()))
    while todo:
        pid = todo.pop()
        found.append((pid, sizes[pid]))
        todo.extend(parents.get(pid, ()))
    return found


class Spool:
    """Files that grow; a full disk loses lines but never stops the container."""

    def __init__(self, folder: str, segment_bytes: int, total_bytes: int) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.total_bytes = total_bytes
        self.counts = [0, 0, 0, 0]
        self.fd = -1
        self.name = ""
        self.size = 0
        self.broken = False
        self.retry_at = 0.0
        os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
        self.begin()

    def begin(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
            if self.size == 0:  # a full disk took nothing
                with contextlib.suppress(OSError):
                    os.unlink(self.name)  # noqa: PTH108
        self.name = name = os.path.join(self.folder, "-".join(f"{count:018d}" for count in self.counts))  # noqa: PTH118
        self.fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = 0
        names = sorted(os.listdir(self.folder))  # noqa: PTH208
        while len(names) > max(2, self.total_bytes // self.segment_bytes):
            # Nobody has read them for so long (no agent): the newest are worth more.
            with contextlib.suppress(OSError):
                os.unlink(os.path.join(self.folder, names.pop(0)))  # noqa: PTH108, PTH118

    def write(self, stream: int, data: bytes) -> None:
        try:
            if self.fd < 0 or self.broken or self.size >= self.segment_bytes:
                if time.monotonic() < self.retry_at:
                    raise OSError(errno.ENOSPC, "full")
                self.begin()
                self.broken = False
            frame = memoryview(FRAME.pack(stream, time.time(), len(data)) + data)
            done = 0
            try:
                while done < len(frame):
                    done += os.write(self.fd, frame[done:])
            except OSError:
                os.ftruncate(self.fd, self.size)
                raise
            self.size += len(frame)
        except OSError:
            if time.monotonic() >= self.retry_at:
                self.retry_at = time.monotonic() + 1
            self.broken = True  # the next file's name will tell what is missing
        self.counts[stream - 1] += len(data)
        self.counts[stream + 1] += data.count(b"\n")


class Shim:
    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.selector = selectors.DefaultSelector()
        self.outputs: dict[int, int] = {}
        self.stdin_fd = -1
        self.stdin = b""
        self.terminal = -1
        self.pid = 0
        self.pid_start: int | None = None
        self.started_at = 0.0
        self.exit_code: int | None = None
        self.signal = 0
        self.pause = 1.0
        self.ended_at = 0.0
        self.finished_at = 0.0
        self.killed_for = ""
        self.libc = ctypes.CDLL(None, use_errno=True)

    # ------------------------------------------------------------------------------------------------------------ the start

    def spawn(self) -> str:
        """Start the command; "" or why it could not be started."""
        config = self.config
        if config["tty"]:
            self.terminal, child = pty.openpty()
            ends = (child, child, child)
            ours = {self.terminal: 1}
            self.stdin_fd = self.terminal
        else:
            in_read, in_write = os.pipe()
            out_read, out_write = os.pipe()
            err_read, err_write = os.pipe()
            ends = (in_read, out_write, err_write)
            ours = {out_read: 1, err_read: 2}
            self.stdin_fd = in_write
        told, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.become(ends, tell)
        os.close(tell)
        for fd in set(ends):
            os.close(fd)
        with os.fdopen(told, "rb") as file:
            why = file.read().decode("utf-8", "replace")
        if why:
            os.waitpid(self.pid, 0)
            return why
        for fd, stream in ours.items():
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)
            self.outputs[fd] = stream
            self.selector.register(fd, selectors.EVENT_READ, self.on_output)
        os.set_blocking(self.stdin_fd, False)
        os.set_inheritable(self.stdin_fd, False)
        if not config["stdin"] and self.terminal < 0:
            os.close(self.stdin_fd)
            self.stdin_fd = -1
        return ""

    def become(self, ends: tuple[int, int, int], tell: int) -> None:
        """In the child: never returns."""
        try:
            os.setsid()
            self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            for target, fd in enumerate(ends):
                os.dup2(fd, target)
            if self.terminal >= 0:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)
            for name, (soft, hard) in self.config["rlimits"].items():
                with contextlib.suppress(OSError, ValueError):
                    resource.setrlimit(getattr(resource, name), (soft, hard))
            os.chdir(self.config["cwd"])
            os.closerange(3, tell)
            os.closerange(tell + 1, 1024)
            argv, env = self.config["argv"], self.config["env"]
            os.execvpe(argv[0], argv, env)  # noqa: S606 - this is the container's command
        except OSError as error:
            os.write(tell, f"{self.config['argv'][0]}: {os.strerror(error.errno or 0)}".encode())
        except BaseException as error:  # noqa: BLE001 - a fork must never go on as its parent
            os.write(tell, repr(error).encode())
        os._exit(127)

    def save(self, **more: Any) -> None:
        record = {
            "run": self.config["run"],
            "shim_pid": os.getpid(),
            "shim_start": start_time(os.getpid()),
            "pid": self.pid,
            "pid_start": self.pid_start,
            "boot_id": boot_id(),
            "started_at": self.started_at,
            **more,
        }
        draft = f".run.{os.getpid()}"
        data = json.dumps(record).encode().ljust(RECORD_BYTES)
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(fd, data, 0)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(draft, "run.json")  # noqa: PTH105
        if not more:  # room for the last record, so that a disk that is full by then can't keep the exit code from being told
            with contextlib.suppress(OSError), open(draft, "wb") as file:  # noqa: PTH123
                file.write(b" " * RECORD_BYTES)

    def alone(self) -> bool:
        """One shim a container: the lock is held for life. False if another's run is on, or was while we waited."""
        self.lock = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        number = int(self.config["run"].rpartition(":")[2])
        until = time.monotonic() + LINGER_SECONDS
        while True:
            try:
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held = True
            else:
                held = False
            try:
                with open("run.json", encoding="utf-8") as file:  # noqa: PTH123
                    last = json.load(file)
            except FileNotFoundError:
                last = None
            if last is not None and int(last["run"].rpartition(":")[2]) >= number:
                return False
            if not held:
                return True
            if time.monotonic() > until:
                return False
            time.sleep(0.005)  # the last one is about to go

    # ------------------------------------------------------------------------------------------------------------- the loop

    def run(self, say: Any) -> None:
        if not self.alone():
            say({"busy": True})
            return
        self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
        wake_read, wake_write = os.pipe()
        for fd in (wake_read, wake_write):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        self.selector.register(wake_read, selectors.EVENT_READ, self.on_wake)
        with contextlib.suppress(FileNotFoundError):
            os.unlink("s")  # noqa: PTH108
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind("s")
        server.listen(8)
        server.setblocking(False)
        self.selector.register(server, selectors.EVENT_READ, self.on_connect)
        self.spool = Spool(self.config["spool"], self.config["segment_bytes"], self.config["total_bytes"])
        self.started_at = time.time()
        why = self.spawn()
        if why:
            say({"error": why})
            return
        self.pid_start = start_time(self.pid)
        self.save()
        say({"pid": self.pid})
        limit, pids = self.config["memory_bytes"], self.config["pids"]
        check_at = time.monotonic() + 1
        self.reap()
        while self.outputs or self.exit_code is None:
            for key, _ in self.selector.select(1.0 if limit or pids or self.exit_code is not None else None):
                key.data(key.fileobj)
            now = time.monotonic()
            if self.exit_code is not None:
                self.end_rest()
                if now - self.ended_at > LINGER_SECONDS:
                    break  # somebody who escaped holds the pipe
            elif (limit or pids) and now >= check_at:
                check_at = now + self.check(limit, pids)
        with contextlib.suppress(OSError):
            os.unlink("s")  # noqa: PTH108
        self.end_rest()
        self.save_end()

    def check(self, limit: int, pids: int) -> float:
        """End it all if it is over a limit; gives the seconds until the next look. A look walks /proc: seldom while there is room."""
        found = tree(os.getpid())
        size = sum(size for _, size in found)
        if limit and size > limit:
            self.killed_for = "memory"
        elif pids and len(found) > pids:
            self.killed_for = "pids"
        else:
            roomy = (not limit or 2 * size < limit) and (not pids or 2 * len(found) < pids)
            self.pause = min(CHECK_SECONDS_MAX, 1.5 * self.pause) if roomy else 1.0
            return self.pause
        self.end_rest()
        return 1.0

    def end_rest(self) -> None:
        """Kill all descendants. As their reaper we inherit even those that left their session, so 'no child' is 'nobody left'."""
        for _ in range(50):
            if self.reap():
                return
            for pid, _ in tree(os.getpid()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)

    def save_end(self) -> None:
        """The exit code is not lost to a full disk: it is tried on until it is written, or the container is removed."""
        while True:
            try:
                self.save(
                    exit_code=self.exit_code,
                    signal=self.signal,
                    finished_at=self.finished_at,
                    killed_for=self.killed_for,
                    stdout_bytes=self.spool.counts[0],
                    stderr_bytes=self.spool.counts[1],
                    stdout_lines=self.spool.counts[2],
                    stderr_lines=self.spool.counts[3],
                )
            except FileNotFoundError:
                return
            except OSError:
                time.sleep(1)
            else:
                return

    def on_wake(self, fd: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(fd, 4096)
        self.reap()

    def reap(self) -> bool:
        """Wait for who has ended; True if there is no child any more."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.pid and self.exit_code is None:
                code = os.waitstatus_to_exitcode(status)
                self.signal = -code if code < 0 else 0
                self.exit_code = code if code >= 0 else 128 - code
                self.ended_at, self.finished_at = time.monotonic(), time.time()

    def on_output(self, fd: int) -> None:
        for _ in range(16):
            try:
                data = os.read(fd, READ)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EIO:  # a terminal says so when nobody holds its other end any more
                    raise
                data = b""
            if not data:
                self.selector.unregister(fd)
                del self.outputs[fd]
                if fd == self.stdin_fd:
                    self.stdin_fd = -1
                os.close(fd)
                return
            self.spool.write(self.outputs[fd], data)

    # ---------------------------------------------------------------------------------------------------------- the socket

    def on_connect(self, server: socket.socket) -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        connection.settimeout(1.0)
        try:
            kind = connection.recv(1)
            size = int.from_bytes(self.exactly(connection, 4), "big")
            data = self.exactly(connection, min(size, STDIN_MAX))
            connection.sendall(b"K" if self.take(kind, data) else b"F")
        except OSError:
            pass
        finally:
            connection.close()

    @staticmethod
    def exactly(connection: socket.socket, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = connection.recv(size - len(found))
            if not more:
                raise OSError("closed")
            found += more
        return found

    def take(self, kind: bytes, data: bytes) -> bool:
        if kind == b"R" and self.terminal >= 0:
            columns, rows = struct.unpack(">HH", data)
            fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            return True
        if kind != b"I" or self.stdin_fd < 0 or len(self.stdin) + len(data) > STDIN_MAX:
            return False
        self.stdin += data
        self.push()
        return True

    def push(self, *_: object) -> None:
        """Write what is kept for standard input, as far as it is read."""
        fd = self.stdin_fd
        if fd < 0:
            return
        try:
            while self.stdin:
                self.stdin = self.stdin[os.write(fd, self.stdin) :]
        except BlockingIOError:
            pass
        except OSError:
            self.stdin = b""
        events = selectors.EVENT_WRITE if self.stdin else 0
        if self.terminal >= 0:
            events |= selectors.EVENT_READ
            self.selector.modify(fd, events, self.on_terminal if self.stdin else self.on_output)
            return
        registered = fd in self.selector.get_map()
        if events and not registered:
            self.selector.register(fd, events, self.push)
        elif not events and registered:
            self.selector.unregister(fd)

    def on_terminal(self, fd: int) -> None:
        self.on_output(fd)
        self.push()


def main() -> None:
    config = json.loads(sys.stdin.buffer.read())
    if os.fork():
        os._exit(0)
    os.setsid()
    os.umask(0o077)

    def say(answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the agent may have died meanwhile: no reason to die too
            os.write(1, json.dumps(answer).encode())
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)

    Shim(config).run(say)


if __name__ == "__main__":
    main()
