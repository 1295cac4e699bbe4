"""The agent's upgrade from the panel: a real agent on a real panel and engine; the new version runs, or the old one comes back and says why."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent import upgrade
from agent.config import Config
from agent.protocol.nodework import Upgrade
from agent.runtimes.base import RuntimeFailure
from nodes import commands, upgrades
from nodes.models import Command, Node, NodeEvent, Operation
from tests.e2e.conftest import remove_leftovers
from tests.e2e.stack import AgentProcess
from tests.nodes.rig import ROOT, Panel
from tests.nodes.test_crashes import Rig, engine


def make_wheel(folder: Path, version: str, *, change: Callable[[str, str], str] = lambda path, text: text) -> Path:
    """The agent as it is here, with another version; `change(path, text)` alters its files."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"lormas-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for source in sorted((ROOT / "agent").rglob("*.py")):
            path = str(source.relative_to(ROOT))
            text = source.read_text(encoding="utf-8")
            if path == "agent/__init__.py":
                text = text.replace('__version__ = "', f'__version__ = "{version}"  # "', 1)
            archive.writestr(path, change(path, text))
        archive.writestr(f"lormas-{version}.dist-info/METADATA", "not unpacked")
    return file


@pytest.fixture
async def rig(panel: Panel, registered: Any, tmp_path: Path, in_thread: Any, until: Any) -> AsyncIterator[Rig]:
    from django.conf import settings

    node, token = registered
    agent = AgentProcess(data=tmp_path / "agent", panel_url=panel.url, token=token, LORMAS_AGENT_TRIAL_SECONDS="40")
    made = Rig(node, agent, in_thread, until)
    yield made
    await asyncio.to_thread(agent.stop)
    await asyncio.to_thread(remove_leftovers, made.containers)
    shutil.rmtree(settings.DATA_DIR / "agent", ignore_errors=True)


async def upgraded(rig: Rig, **wheel: Any) -> Operation:
    from django.conf import settings

    from audit.services import SYSTEM

    await asyncio.to_thread(make_wheel, settings.DATA_DIR / "agent", "9.9.9", **wheel)
    operation = await rig.in_thread(lambda: upgrades.upgrade(Node.objects.get(pk=rig.node.pk), user=None, actor=SYSTEM))
    ended: Operation = await rig.until(
        lambda: Operation.objects.filter(pk=operation.pk).exclude(status__in=("queued", "running")).first(), seconds=150, what="end of the upgrade"
    )
    return ended


BEFORE_MOVES = "2fdf6d22d9e2d6cfa9695d0b77c75a3933239373"
"""A commit whose agent can neither hand over files nor be fenced."""


def older_agent(folder: Path) -> Path:
    """The agent's code of an earlier day; where the history is not here, ours without what came since."""
    folder.mkdir()
    packed = subprocess.run(["git", "archive", BEFORE_MOVES, "agent"], cwd=ROOT, capture_output=True, timeout=60, check=False)
    if packed.returncode == 0:
        subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True, timeout=60)
        return folder
    shutil.copytree(ROOT / "agent", folder / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    for file, found, instead in (
        ("protocol/moving.py", '    "container.', '    "unknown.'),
        ("program.py", '"upgrade", "fence"}', '"upgrade"} - {"move"}'),
    ):
        source = folder / "agent" / file
        source.write_text(source.read_text().replace(found, instead))
    return folder


def newer(path: str, text: str) -> str:
    """Speaks the protocol after ours best, and ours as well."""
    return text.replace("PROTOCOL_VERSION = 1\n", "PROTOCOL_VERSION = 2\n", 1) if path == "agent/protocol/messages.py" else text


@pytest.mark.docker
@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
async def test_the_agent_becomes_the_new_version_its_containers_go_on_and_it_stays_that_after_a_restart(rig: Rig, tmp_path: Path) -> None:
    """R42: no container is restarted; a command that comes meanwhile is carried out. The old agent is a real older one, the new one speaks a newer
    protocol than the panel: with both it goes on."""
    rig.agent.code = await asyncio.to_thread(older_agent, tmp_path / "older")
    await asyncio.to_thread(rig.agent.start)
    await rig.active()
    old = await rig.in_thread(lambda: Node.objects.get(pk=rig.node.pk))
    assert not {"move", "fence"} & set(old.capabilities) and old.protocol_version == 1
    container = rig.new()
    assert (await rig.ended(await rig.ask("container.create", container))).state == "done"
    before = engine(container)[0]["State"]
    ended = await upgraded(rig, change=newer)
    assert (ended.status, ended.result) == ("succeeded", {"version": "9.9.9"}), (ended.error_code, ended.error_detail)
    await rig.active()
    node = await rig.in_thread(lambda: Node.objects.get(pk=rig.node.pk))
    assert (node.agent_version, node.protocol_version) == ("9.9.9", 1)
    assert {"move", "fence"} <= set(node.capabilities)
    assert rig.agent.process is not None and rig.agent.process.poll() is None, "who supervises it sees the same process"
    after = engine(container)[0]["State"]
    assert (after["StartedAt"], after["Pid"]) == (before["StartedAt"], before["Pid"])
    assert (await rig.ended(await rig.ask("container.stop", container))).state == "done"
    assert await rig.in_thread(lambda: NodeEvent.objects.filter(node=rig.node, kind="upgrade", message__contains="9.9.9").exists())
    await asyncio.to_thread(rig.agent.stop)
    await asyncio.to_thread(rig.agent.start)
    await rig.until(lambda: Node.objects.filter(pk=rig.node.pk, session_epoch__gt=node.session_epoch, agent_version="9.9.9").exists(), seconds=60)


@pytest.mark.docker
@pytest.mark.redis
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(300)
async def test_a_version_that_does_not_come_up_is_taken_back_and_the_reason_is_told(rig: Rig) -> None:
    """R42: it starts well enough to be tried, and then dies: the old agent is back by itself."""
    await asyncio.to_thread(rig.agent.start)
    await rig.active()
    own = (await rig.in_thread(lambda: Node.objects.get(pk=rig.node.pk))).agent_version

    def broken(path: str, text: str) -> str:
        return (
            text.replace("def _run(settings: Config) -> int:", "def _run(settings: Config) -> int:\n    sys.exit(7)\n", 1)
            if path == "agent/cli.py"
            else text
        )

    ended = await upgraded(rig, change=broken)
    assert (ended.status, ended.error_code) == ("failed", "upgrade_failed"), ended.error_detail
    assert "exit code 7" in ended.error_detail
    await rig.active()
    assert (await rig.in_thread(lambda: Node.objects.get(pk=rig.node.pk))).agent_version == own
    container = rig.new()
    assert (await rig.ended(await rig.ask("container.create", container))).state == "done"


@pytest.fixture
def settings_of(tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path / "data", panel_url="http://127.0.0.1:9", token="t", instance_id="i")


def fetching(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Upgrade:
    monkeypatch.setattr(upgrade, "_fetch", lambda settings, path, most: data)
    return Upgrade(path="/agent/lormas-9.9.9-py3-none-any.whl", version="9.9.9", sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def told(percent: int, words: str) -> None:
    """Progress that nobody reads."""


async def test_a_package_of_another_hash_or_place_is_not_even_unpacked(settings_of: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """S06: what the panel said, byte for byte, from the panel and from nowhere else."""
    good = fetching(monkeypatch, b"something else")
    for changed in (
        Upgrade(path=good.path, version="9.9.9", sha256="0" * 64),
        Upgrade(path="//evil.example/agent/x.whl", version="9.9.9", sha256=good.sha256),
        Upgrade(path="/agent/../x.whl", version="9.9.9", sha256=good.sha256),
        Upgrade(path="https://evil.example/agent/x.whl", version="9.9.9", sha256=good.sha256),
    ):
        with pytest.raises(RuntimeFailure):
            await upgrade.prepare(settings_of, changed, progress=told)
    assert not (settings_of.data_dir / "versions").exists()


@pytest.mark.parametrize("name", ["agent/../../evil.py", "agent/a\\b.py", "agent/link.py"])
async def test_a_package_with_files_that_lead_elsewhere_is_refused_whole(
    settings_of: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """B07, B08."""
    file = make_wheel(tmp_path, "9.9.9")
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (0o120777 if "link" in name else 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(RuntimeFailure):
        await upgrade.prepare(settings_of, fetching(monkeypatch, file.read_bytes()), progress=told)
    assert list((settings_of.data_dir / "versions").glob("*")) == [] and not (tmp_path / "evil.py").exists()


async def test_code_that_can_not_run_here_is_never_installed(settings_of: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = make_wheel(tmp_path, "9.9.9", change=lambda path, text: text + "\nimport not_a_module_at_all\n" if path == "agent/cli.py" else text)
    with pytest.raises(RuntimeFailure) as refused:
        await upgrade.prepare(settings_of, fetching(monkeypatch, file.read_bytes()), progress=told)
    assert "not_a_module_at_all" in refused.value.detail and "not installed" in refused.value.detail
    assert upgrade.read(settings_of.data_dir) is None and list((settings_of.data_dir / "versions").glob("[0-9a-f]*")) == []


def test_a_death_at_any_point_of_a_trial_ends_in_one_of_the_two_versions(tmp_path: Path) -> None:
    new, old = tmp_path / "versions" / "new", tmp_path / "versions" / "old"
    for folder in (new, old):
        folder.mkdir(parents=True)
    trial = upgrade.Trial("c", "2", str(new), "trial", previous=str(old))
    upgrade.write(tmp_path, trial)
    assert upgrade.folder_in_use(tmp_path) == str(old), "not yet"
    assert upgrade.mark(tmp_path, "good") is not None
    assert upgrade.folder_in_use(tmp_path) == str(new)
    assert upgrade.mark(tmp_path, "failed", "too late") is None, "what was good stays good"
    shutil.rmtree(new)
    assert upgrade.folder_in_use(tmp_path) == "", "a folder that is gone is not used"
    (tmp_path / upgrade.FILE).write_text("{ broken")
    assert upgrade.folder_in_use(tmp_path) == ""


def test_the_command_line_finds_the_installation_wherever_it_was_started_from(tmp_path: Path) -> None:
    environment = upgrade.environment("")
    line = upgrade.command_line(tmp_path)
    done = subprocess.run([*line[:-3], "version"], cwd="/", env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.django_db
@pytest.mark.redis
def test_an_upgrade_is_refused_with_the_reason(make_node: Any, api: Any, olga: Any, alice: Any, settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    node = make_node(gateway="test", capabilities=["upgrade"], agent_version="0.0.9")
    address = f"/api/nodes/{node.pk}/upgrade"
    assert api(alice).post(address).status_code == 404
    assert api(olga).post(address).json()["code"] == "no_package"
    make_wheel(tmp_path / "agent", "9.9.9")
    Node.objects.filter(pk=node.pk).update(capabilities=[])
    assert api(olga).post(address).json()["code"] == "unsupported"
    Node.objects.filter(pk=node.pk).update(capabilities=["upgrade"])
    answer = api(olga).post(address)
    assert answer.status_code == 202, answer.content
    assert api(olga).post(address).status_code == 409
    command = Command.objects.get()
    payload = commands.payload_of(command)
    assert (payload["version"], payload["path"]) == ("9.9.9", "/agent/lormas-9.9.9-py3-none-any.whl")
    assert payload["sha256"] == hashlib.sha256((tmp_path / "agent" / "lormas-9.9.9-py3-none-any.whl").read_bytes()).hexdigest()
