"""Files, commands and terminals of real containers through the whole chain, on both runtimes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from accounts.services import sign_in
from containers.models import Container, ExecRecord
from containers.services import NewContainer, create_container
from containers.spec import Asked
from tests.e2e.conftest import Stack, in_thread, running_stack, until
from tests.e2e.stack import IMAGE

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

Ask = Callable[..., Awaitable[tuple[int, Any]]]


class Person:
    """alice with her token: HTTP and sockets on a running panel."""

    def __init__(self, stack: Stack, token: str, session: aiohttp.ClientSession) -> None:
        self.stack = stack
        self.token = token
        self.session = session

    async def ask(self, method: str, path: str, **kwargs: Any) -> tuple[int, Any]:
        """(status, JSON or bytes)."""
        async with self.session.request(method, self.stack.panel.url + path, **kwargs) as answer:
            body = await answer.read()
            self.headers = answer.headers
            return answer.status, json.loads(body) if body and "json" in answer.content_type else body

    @contextlib.asynccontextmanager
    async def socket(self) -> AsyncIterator[Talk]:
        async with self.session.ws_connect(self.stack.panel.url + "/ws", max_msg_size=0) as socket:
            talk = Talk(socket)
            await talk.expect("authenticated")
            yield talk


class Talk:
    """A browser's socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.seen: list[dict[str, Any]] = []

    async def say(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def next(self, seconds: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while True:
                message: dict[str, Any] = json.loads(await self.socket.receive_str())
                if message["type"] == "ping":
                    await self.socket.send_json({"type": "pong", "reply_to": message["id"]})
                    continue
                self.seen.append(message)
                return message

    async def expect(self, kind: str, seconds: float = 60) -> dict[str, Any]:
        async with asyncio.timeout(seconds):
            while (message := await self.next(seconds))["type"] != kind:
                pass
            return message

    async def output_until(self, text: str, seconds: float = 60) -> str:
        """What a terminal wrote, up to a text that ends the waiting."""
        got = ""
        async with asyncio.timeout(seconds):
            while text not in got:
                got += (await self.expect("terminal_output", seconds))["data"]
        return got


EGG = {
    "meta": {"version": "PTDL_v2"},
    "name": "Loop",
    "author": "team@example.org",
    "description": "",
    "docker_images": {"Busybox": IMAGE},
    "file_denylist": ["secret.txt"],
    "startup": "while :; do sleep 1; done",
    "config": {"files": "{}", "startup": "{}", "logs": "{}", "stop": "^C"},
    "scripts": {"installation": {"script": None, "container": "", "entrypoint": ""}},
    "variables": [],
    "lormas": {"startup_mode": "shell"},
}


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
async def test_what_is_inside_a_container(runtime: str, transactional_db: None, tmp_path: Path, alice: Any, bob: Any, root: Any) -> None:
    """One chain per runtime, because it takes seconds to build; each part is a promise of its own below (B01, B14, F04, F11, F12, J03)."""
    from eggs.services import import_egg

    async with running_stack(tmp_path, runtime=runtime) as stack:
        token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
        egg = (await in_thread(lambda: import_egg(json.dumps(EGG).encode(), filename="egg.json"))).eggs[0]
        new = NewContainer(name="web", egg=egg, asked=Asked(disk_bytes=400 * 1024**2), restart_policy="no")
        container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
        await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}, timeout=timeout) as session:
            person, at = Person(stack, token, session), f"/api/containers/{container.pk}"
            await check_files(person, at)
            await check_a_large_upload_goes_on_where_it_broke(person, at)
            await check_commands_run_and_are_remembered(person, at)
            await check_a_terminal_survives_the_page_and_is_shared_and_recorded(person, at, root)
            await check_files_over_the_socket(person, at)
            await check_every_message_asks_for_the_right_to_it(person, at, bob)
            await check_a_stalled_browser_costs_little_and_harms_nobody(person, at)
            if runtime == "process":
                await check_a_hundred_megabytes_cost_no_memory(person, at)
            await check_what_a_killed_agent_left_in_a_terminal_ends(person, at)
            await check_stopped_ones_too(person, at)
            if runtime == "docker":
                await check_one_without_a_folder_of_its_own(person, alice)


async def check_files(alice: Person, at: str) -> None:
    """List, write, read, edit with an ETag, rename, copy, chmod, compress, decompress, search, trash, upload, download; both spellings. B14"""
    files = f"{at}/files"

    status, made = await alice.ask("PUT", f"{files}/notes/one.txt", json={"content": "first\n"})
    assert (status, made["created"]) == (201, True), made
    etag = alice.headers["ETag"]
    status, body = await alice.ask("GET", f"{files}/content", params={"path": "notes/one.txt"})
    assert (status, body, alice.headers["ETag"]) == (200, b"first\n", etag)
    status, _ = await alice.ask("GET", f"{files}/content", params={"path": "notes/one.txt"}, headers={"If-None-Match": etag})
    assert status == 304
    status, _ = await alice.ask("PUT", f"{files}/content", params={"path": "notes/one.txt"}, data=b"second\n", headers={"If-Match": etag})
    assert status == 200
    status, refused = await alice.ask("PUT", f"{files}/content", params={"path": "notes/one.txt"}, data=b"third\n", headers={"If-Match": etag})
    assert (status, refused["code"]) == (412, "changed")
    status, body = await alice.ask("GET", f"{files}/content", params={"path": "notes/one.txt"}, headers={"Range": "bytes=2-4"})
    assert (status, body) == (206, b"con")

    for kind in ("directory", "file"):
        status, found = await alice.ask("POST", f"{files}/create", json={"path": f"made-{kind}", "type": kind})
        assert status == 201, found
    status, _ = await alice.ask("POST", f"{files}/rename", json={"source": "made-file", "target": "made-directory/moved"})
    assert status == 200
    status, copied = await alice.ask("POST", f"{files}/copy", json={"source": "notes"})
    assert (status, copied["copied"]) == (200, ["notes copy"])
    status, _ = await alice.ask("POST", f"{files}/chmod", json={"paths": ["notes/one.txt"], "mode": "750"})
    assert status == 200
    status, listed = await alice.ask("GET", files)
    names = {entry["name"]: entry for entry in listed["entries"]}
    assert status == 200 and {"notes", "notes copy", "made-directory"} <= set(names), listed
    assert listed == (await alice.ask("GET", f"/api/files/{at.rpartition('/')[2]}/"))[1], "the other spelling"
    status, listed = await alice.ask("GET", files, params={"path": "notes"})
    assert listed["entries"][0]["mode"] == 0o750

    for kind in ("tar.gz", "zip"):
        status, packed = await alice.ask("POST", f"{files}/compress", json={"paths": ["notes"], "format": kind})
        assert (status, packed["path"]) == (201, f"notes.{kind}"), packed
        status, unpacked = await alice.ask("POST", f"{files}/decompress", json={"path": packed["path"], "target": f"out-{kind}"})
        assert (status, unpacked["files"]) == (200, 1), unpacked
        status, body = await alice.ask("GET", f"{files}/out-{kind}/notes/one.txt")
        assert (status, body) == (200, b"second\n")
    for kind in ("tar.gz", "zip"):
        status, body = await alice.ask("GET", f"{files}/download", params={"path": "notes", "format": kind})
        assert status == 200 and "attachment" in alice.headers["Content-Disposition"]
        if kind == "zip":
            assert zipfile.ZipFile(io.BytesIO(body)).read("notes/one.txt") == b"second\n"
        else:
            with tarfile.open(fileobj=io.BytesIO(body)) as archive:
                taken = archive.extractfile("notes/one.txt")
                assert taken is not None and taken.read() == b"second\n"
    status, found = await alice.ask("GET", f"{files}/search", params={"query": "secon", "content": "true"})
    assert status == 200 and any(one["path"] == "notes/one.txt" and one["line"] == 1 for one in found["found"]), found
    status, found = await alice.ask("GET", f"{files}/search", params={"query": "one.*"})
    assert len(found["found"]) >= 3

    form = aiohttp.FormData()
    for name in ("a.bin", "b.bin"):
        form.add_field("files", name.encode() * 1000, filename=name)
    status, sent = await alice.ask("POST", f"{files}/upload", params={"path": "up"}, data=form)
    assert (status, [one["name"] for one in sent["entries"]]) == (201, ["a.bin", "b.bin"]), sent

    status, gone = await alice.ask("DELETE", files, params=[("path", "notes"), ("path", "up")])
    assert status == 200 and len(gone["deleted"]) == 2
    if True:
        status, trash = await alice.ask("GET", f"{files}/trash")
        assert [one["path"] for one in trash["items"]] == ["up", "notes"]
        status, back = await alice.ask("POST", f"{files}/restore", json={"ids": [trash["items"][1]["id"]]})
        assert (status, back["restored"][0]["path"]) == (200, "notes")
        status, emptied = await alice.ask("DELETE", f"{files}/trash")
        assert (status, emptied["gone"]) == (200, 1)
        status, used = await alice.ask("GET", f"{files}/usage")
        assert status == 200 and used["bytes"] > 0
    status, missing = await alice.ask("GET", f"{files}/no/such/file")
    assert (status, missing["code"]) == (404, "not_found")
    for bad in ("../etc/passwd", "%252e%252e/etc/passwd", "a/..%5c../b"):
        assert (await alice.ask("GET", f"{files}/content?path={bad}"))[0] == 400, bad


async def check_a_large_upload_goes_on_where_it_broke(alice: Person, at: str) -> None:
    """Pieces with an offset; the panel grows by no more than a window."""
    piece, count = 4 * 1024 * 1024, 6
    digest = hashlib.sha256()
    parts = [os.urandom(piece) for _ in range(count)]
    status, begun = await alice.ask("POST", f"{at}/files/uploads", json={"path": "big.bin", "size": piece * count})
    assert (status, begun["offset"]) == (201, 0), begun
    place = f"{at}/files/uploads/{begun['id']}"
    for number, part in enumerate(parts):
        digest.update(part)
        if number == 3:  # half of it comes, then the browser goes away
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):

                async def half(part: bytes = part) -> AsyncIterator[bytes]:
                    yield part[: piece // 2]
                    raise ConnectionResetError

                await alice.ask("PUT", f"{place}?offset={number * piece}", data=half(), headers={"Content-Length": str(piece)})
            status, state = await alice.ask("GET", place)
            assert status == 200 and number * piece <= state["offset"] <= number * piece + piece // 2
        status, done = await alice.ask("PUT", f"{place}?offset={number * piece}", data=part)
        assert (status, done["offset"]) == (200, (number + 1) * piece), done
    assert done["entry"]["size"] == piece * count
    status, body = await alice.ask("GET", f"{at}/files/download", params={"path": "big.bin"})
    assert status == 200 and hashlib.sha256(body).hexdigest() == digest.hexdigest()
    status, late = await alice.ask("PUT", f"{place}?offset=0", data=b"x")
    assert status == 404, late


async def check_commands_run_and_are_remembered(alice: Person, at: str) -> None:
    """One-shot exec with its exit code, streamed exec, cancel, history, processes, signals. F12"""
    container_id = at.rpartition("/")[2]
    status, done = await alice.ask("POST", f"{at}/exec", json={"command": "echo out; echo err >&2; exit 3"})
    assert (status, done["exit_code"], done["stdout"], done["stderr"]) == (200, 3, "out\n", "err\n"), done
    async with alice.socket() as talk:
        await talk.say("execute_command", container_id=container_id, command="echo one; sleep 0.2; echo two; exit 4", id=1)
        got = ""
        while (message := await talk.next())["type"] != "exit":
            assert (message["type"], message["reply_to"]) == ("output", 1), message
            got += message["data"]
        assert (got, message["code"], message["reply_to"]) == ("one\ntwo\n", 4, 1)
        await talk.say("exec_command", container_id=container_id, command="echo", args=["$HOME", "|"], id="x")
        assert (await talk.expect("output"))["data"] == "$HOME |\n"
        await talk.expect("exit")

        await talk.say("execute_command", container_id=container_id, command=["sleep", "4321"], id=7)

        async def sleeping() -> list[dict[str, Any]]:
            _, found = await alice.ask("GET", f"{at}/processes")
            return [one for one in found["processes"] if "4321" in one["command"]]

        async with asyncio.timeout(60):
            while not (found := await sleeping()):
                await asyncio.sleep(0.1)
        assert found[0]["is_exec"] is True
        await talk.say("cancel", id=7)
        async with asyncio.timeout(60):
            while await sleeping():
                await asyncio.sleep(0.1)

        await talk.say("execute_command", container_id=container_id, command=["sleep", "4321"], id=8)
        async with asyncio.timeout(60):
            while not (found := await sleeping()):
                await asyncio.sleep(0.1)
        status, answer = await alice.ask("POST", f"{at}/processes/{found[0]['pid']}/signal", json={"signal": "TERM"})
        assert status == 204, answer
        assert (await talk.expect("exit"))["code"] in (143, -15, 15)
        status, answer = await alice.ask("POST", f"{at}/processes/1/signal", json={"signal": "NOSUCH"})
        assert status == 400
    async with alice.socket() as talk:  # the socket goes, and with it what it ran
        await talk.say("execute_command", container_id=container_id, command=["sleep", "4321"], id=9)
        async with asyncio.timeout(60):
            while not await sleeping():
                await asyncio.sleep(0.1)
    async with asyncio.timeout(60):
        while await sleeping():
            await asyncio.sleep(0.1)
    status, history = await alice.ask("GET", f"{at}/exec/history")
    assert status == 200 and history["results"][-1]["command"] == "echo out; echo err >&2; exit 3"
    assert [one["exit_code"] for one in history["results"]][-3:] == [0, 4, 3]
    await until(lambda: not ExecRecord.objects.filter(finished_at=None).exists(), what="every command has an end in the history")


async def listed_terminals(person: Person, at: str, wanted: list[tuple[str, int]]) -> None:
    """Wait until the list says (name, viewers) so."""
    async with asyncio.timeout(60):
        while [(one["name"], one["viewers"]) for one in (await person.ask("GET", f"{at}/terminals"))[1]["terminals"]] != wanted:
            await asyncio.sleep(0.1)


async def check_a_terminal_survives_the_page_and_is_shared_and_recorded(alice: Person, at: str, root: Any) -> None:
    """Named, shared, replayed, resized, recorded as asciicast v2, closed by kill."""
    from containers.services import execs

    container_id = at.rpartition("/")[2]
    role = await in_thread(lambda: Container.objects.select_related("owner__role").get(pk=container_id).owner.role)
    await in_thread(lambda: execs.set_policy(actor=root.as_actor(), role=role, record_terminals=True))
    async with alice.socket() as talk:
        await talk.say("terminal_open", container_id=container_id, name="work", cols=90, rows=30, command=["sh"], id="t")
        opened = await talk.expect("terminal_opened")
        assert (opened["reply_to"], opened["name"], opened["cols"], opened["rows"], opened["recorded"]) == ("t", "work", 90, 30, True)
        await talk.say("terminal_input", terminal_id=opened["terminal_id"], data="stty size; echo fir''st-$((40+2))\n")
        assert "30 90" in await talk.output_until("first-42")
        await talk.say("terminal_resize", terminal_id=opened["terminal_id"], cols=101, rows=33)
        await talk.expect("terminal_resized")
        await talk.say("terminal_input", terminal_id=opened["terminal_id"], data="stty size; echo res''ized\n")
        assert "33 101" in await talk.output_until("resized")
    async with alice.socket() as one, alice.socket() as other:
        seen = []
        for talk in (one, other):
            await talk.say("terminal_open", container_id=container_id, name="work", cols=101, rows=33)
            seen.append((await talk.expect("terminal_opened"))["terminal_id"])
            assert "first-42" in await talk.output_until("resized"), "who joins sees what was there"
        await one.say("terminal_input", terminal_id=seen[0], data="echo sha''red\n")
        await one.output_until("shared")
        await other.output_until("shared")
        await listed_terminals(alice, at, [("work", 2)])  # the browser that left is on its way out
        await other.say("terminal_close", terminal_id=seen[1], kill=True)
        assert (await one.expect("terminal_closed"))["name"] == "work"
    await listed_terminals(alice, at, [])
    status, found = await alice.ask("GET", f"{at}/recordings")
    assert status == 200 and len(found["recordings"]) == 1, found
    status, cast = await alice.ask("GET", f"{at}/recordings/{found['recordings'][0]['id']}")
    head, *events = [json.loads(line) for line in cast.decode().splitlines()]
    assert (status, head["version"], head["width"], head["height"]) == (200, 2, 90, 30)
    assert {kind for _, kind, _ in events} <= {"o", "r"} and "shared" in "".join(data for _, kind, data in events if kind == "o")
    times = [at for at, _, _ in events]
    assert times == sorted(times)


async def check_files_over_the_socket(alice: Person, at: str) -> None:
    """write_file, read_file, list_files; a stale etag and a wrong path are errors that leave the socket open."""
    async with alice.socket() as talk:
        await talk.say("use", container_id=at.rpartition("/")[2])
        await talk.say("write_file", path="s.txt", content="grüße\n", id=1)
        written = await talk.expect("file_written")
        await talk.say("read_file", path="s.txt", id=2)
        read = await talk.expect("file")
        assert (read["content"], read["encoding"], read["etag"], read["reply_to"]) == ("grüße\n", "utf-8", written["etag"], 2)
        await talk.say("write_file", path="s.txt", content="x", etag="stale", id=3)
        assert (await talk.expect("error"))["code"] == "changed"
        await talk.say("list_files", id=4)
        assert "s.txt" in {one["name"] for one in (await talk.expect("files"))["entries"]}
        await talk.say("read_file", path="../../etc/passwd", id=5)
        assert (await talk.expect("error"))["reply_to"] == 5
        await talk.say("ping", id=6)
        await talk.expect("pong")


async def check_every_message_asks_for_the_right_to_it(alice: Person, at: str, bob: Any) -> None:
    """F04 F12: another's container is not there, another's terminal can't be typed into; at most five commands of one person run at a time."""
    token = (await in_thread(sign_in, bob, address=None, user_agent="test")).access
    container_id = at.rpartition("/")[2]
    async with alice.socket() as mine, aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        await mine.say("terminal_open", container_id=container_id, name="own", cols=80, rows=24, command=["sh"])
        terminal_id = (await mine.expect("terminal_opened"))["terminal_id"]
        async with Person(alice.stack, token, session).socket() as talk:
            asked = (
                ("execute_command", {"command": "id"}), ("terminal_open", {"cols": 80, "rows": 24, "name": "own"}), ("terminal_list", {}),
                ("read_file", {"path": "a"}),
                ("write_file", {"path": "a", "content": "x"}), ("list_files", {}), ("signal", {"pid": 1, "signal": "KILL"}), ("stdin", {"data": "x"}),
            )  # fmt: skip
            for number, (kind, fields) in enumerate(asked):
                await talk.say(kind, container_id=container_id, id=number, **fields)
                assert (await talk.expect("error"))["code"] == "not_found", kind
            for kind, fields in (
                ("terminal_input", {"data": "touch /tmp/evil\n"}),
                ("terminal_resize", {"cols": 10, "rows": 10}),
                ("terminal_close", {"kill": True}),
            ):
                await talk.say(kind, terminal_id=terminal_id, **fields)
                assert (await talk.expect("error"))["code"] == "no_such_terminal", kind
        await mine.say("terminal_close", terminal_id=terminal_id, kill=True)
        await mine.expect("terminal_closed")
        for number in range(6):
            await mine.say("execute_command", container_id=container_id, command=["sleep", "9"], id=f"n{number}")
        assert (await mine.expect("error"))["code"] == "too_many"
        for number in range(5):
            await mine.say("cancel", exec_id=f"n{number}", id="c")


async def counted(count: Callable[[], Awaitable[int]], wanted: int, seconds: float = 60) -> None:
    """Wait until there are so many."""
    end = asyncio.get_running_loop().time() + seconds
    while (found := await count()) != wanted:
        assert asyncio.get_running_loop().time() < end, f"{found} instead of {wanted}"
        await asyncio.sleep(0.2)


def memory(process: Any) -> int:
    """Bytes that it has in memory now; its peak begins anew here."""
    pid = process.pid
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return field_of(pid, "VmRSS")


def peak(process: Any) -> int:
    return field_of(process.pid, "VmHWM")


def field_of(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(name)


async def check_a_stalled_browser_costs_little_and_harms_nobody(alice: Person, at: str) -> None:
    """F11, M3: it is sent a megabyte that it does not confirm, and no more; the terminal goes on for another who looks."""
    container_id = at.rpartition("/")[2]
    async with alice.socket() as stalled, alice.socket() as talk:
        for one in (stalled, talk):
            await one.say("terminal_open", container_id=container_id, name="flood", cols=80, rows=24, command=["sh"])
        terminal_id = (await talk.expect("terminal_opened"))["terminal_id"]
        most = 16 * 1024**2
        for number in range(3):  # what it keeps of each flood, it would keep of every one; something else may grow once
            before = memory(alice.stack.panel.process)
            flood = "dd if=/dev/zero bs=1024 count=6144 2>/dev/null | tr '\\0' x"
            await talk.say("terminal_input", terminal_id=terminal_id, data=f"{flood}; echo do''ne-{number}\n")
            await talk.output_until(f"done-{number}", 120)
            if (grown := peak(alice.stack.panel.process) - before) < most:
                break
        assert grown < most, f"{grown} bytes for 6 MiB that one did not read"
        await talk.say("terminal_input", terminal_id=terminal_id, data="echo still-$((1+1))-here\n")
        await talk.output_until("still-2-here")
        got = 0
        with contextlib.suppress(TimeoutError, aiohttp.WSMessageTypeError):  # nothing more comes, or it was hung up on
            while True:
                message = json.loads(await asyncio.wait_for(stalled.socket.receive_str(), 1))
                got += len(message.get("data", ""))
        assert got < 2 * 1024**2, "what waited for it is bounded"
        await talk.say("terminal_close", terminal_id=terminal_id, kill=True)
        await talk.expect("terminal_closed")


async def check_a_hundred_megabytes_cost_no_memory(alice: Person, at: str) -> None:
    """Up in one request and down again, beside one who stalls; panel and agent grow by at most 32 MB (J03, F11)."""
    size, piece = 100 * 1024**2, os.urandom(1024**2)
    panel, agent = alice.stack.panel.process, alice.stack.agent.process
    before = memory(panel), memory(agent)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield piece

    status, written = await alice.ask("PUT", f"{at}/files/content", params={"path": "hundred"}, data=body(), headers={"Content-Length": str(size)})
    assert (status, written["entry"]["size"]) == (201, size), written
    up = peak(panel) - before[0], peak(agent) - before[1]
    before = memory(panel), memory(agent)
    reader, writer = await asyncio.open_connection("127.0.0.1", alice.stack.panel.port)  # one begins to take it, and stops
    head = f"GET {at}/files/download?path=hundred HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {alice.token}\r\n\r\n"
    writer.write(head.encode())
    assert b" 200 " in await reader.readline()
    async with alice.session.get(f"{alice.stack.panel.url}{at}/files/download", params={"path": "hundred"}) as answer:
        got = 0
        async for data in answer.content.iter_chunked(1024**2):
            got += len(data)
    assert got == size
    writer.close()
    down = peak(panel) - before[0], peak(agent) - before[1]
    assert max(*up, *down) < 32 * 1024**2, f"up {up}, down {down} (panel, agent)"
    assert (await alice.ask("DELETE", f"{at}/files", params={"path": "hundred", "forever": "true"}))[0] == 200


async def check_what_a_killed_agent_left_in_a_terminal_ends(alice: Person, at: str) -> None:
    """F12: nobody can reach it any more, so the next agent ends it; the container itself runs on."""
    container_id, number = at.rpartition("/")[2], 100_000 + os.getpid()

    async def sleepers() -> int:
        status, found = await alice.ask("GET", f"{at}/processes")
        return sum(f"sleep {number}" in one["command"] for one in found["processes"]) if status == 200 else -1

    async with alice.socket() as talk:
        await talk.say("terminal_open", container_id=container_id, name="left", cols=80, rows=24, command=["sh"])
        opened = await talk.expect("terminal_opened")
        await talk.say("terminal_input", terminal_id=opened["terminal_id"], data=f"trap '' HUP TERM; sleep {number} & echo be''gun\n")
        await talk.output_until("begun")
        await counted(sleepers, 1)  # the shell's child may not have become it yet
    started_at = (await in_thread(lambda: Container.objects.get(pk=container_id))).started_at
    await asyncio.to_thread(alice.stack.agent.kill)
    await asyncio.to_thread(alice.stack.agent.start)
    await alice.stack.active(60)
    await counted(sleepers, 0)
    after = await in_thread(lambda: Container.objects.get(pk=container_id))
    assert (after.status, after.started_at) == ("running", started_at)


async def check_stopped_ones_too(alice: Person, at: str) -> None:
    """Files are there while it is stopped; commands and terminals say why they are not."""
    status, answer = await alice.ask("POST", f"{at}/stop?wait=60", json={"timeout_seconds": 1})
    assert status == 200, answer
    status, _ = await alice.ask("PUT", f"{at}/files/stopped.txt", json={"content": "while stopped"})
    assert status == 201
    assert (await alice.ask("GET", f"{at}/files/stopped.txt"))[1] == b"while stopped"
    status, answer = await alice.ask("POST", f"{at}/exec", json={"command": "true"})
    assert (status, answer["code"]) == (409, "not_running"), answer
    async with alice.socket() as talk:
        await talk.say("terminal_open", container_id=at.rpartition("/")[2], cols=80, rows=24)
        assert (await talk.expect("error"))["code"] == "not_running"


async def check_one_without_a_folder_of_its_own(person: Person, alice: Any) -> None:
    """From an image: its whole file system while it runs, without trash and quota; what it denies says why."""
    command = ["sh", "-c", "ln -s /etc/passwd /tmp/inside; while :; do sleep 1; done"]
    new = NewContainer(name="plain", image=IMAGE, command=command, restart_policy="no")
    container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
    await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
    at = f"/api/containers/{container.pk}"
    status, listed = await person.ask("GET", f"{at}/files")
    assert status == 200 and listed["whole"] is True and "tmp" in {one["name"] for one in listed["entries"]}
    status, body = await person.ask("GET", f"{at}/files/tmp/inside")
    host = Path("/etc/passwd").read_bytes()
    assert status == 200 and b"root" in body and body != host, "a link means what it means inside"
    assert (await person.ask("PUT", f"{at}/files/tmp/x", json={"content": "x"}))[0] == 201
    assert (await person.ask("POST", f"{at}/exec", json={"command": "cat /tmp/x"}))[1]["stdout"] == "x"
    assert (await person.ask("POST", f"{at}/stop?wait=60", json={"timeout_seconds": 1}))[0] == 200
    status, answer = await person.ask("GET", f"{at}/files")
    assert (status, answer["code"]) == (409, "not_running") and "start it" in answer["detail"], answer
