"""Registries with stored credentials: encrypted, never given out, used only where they may be; proved against a real registry with a password."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest

from agent.protocol.messages import RegistryAuth
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import DockerRuntime
from audit.models import Entry
from nodes import registries
from nodes.models import Registry

HASH = "$2b$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG"  # bcrypt of "s3cret"


@pytest.mark.django_db
def test_a_password_goes_in_and_never_comes_out(api: Any, olga: Any, alice: Any) -> None:
    body = {"name": "ours", "server": "registry.example.org:5000", "username": "ci", "password": "s3cret-word"}
    assert api(alice).post("/api/registries", body).status_code == 403
    made = api(olga).post("/api/registries", body)
    assert made.status_code == 201, made.content
    row = Registry.objects.get()
    seen = made.content.decode() + api(olga).get("/api/registries").content.decode() + str(list(Entry.objects.values()))
    assert "s3cret-word" not in seen + row.password and made.json()["has_password"] is True
    assert registries.auth_for("registry.example.org:5000/team/app:1", shared_only=False) == RegistryAuth(
        server="registry.example.org:5000", username="ci", password="s3cret-word"
    )
    taken = api(olga).post("/api/registries", {**body, "name": "other"})
    assert (taken.status_code, taken.json()["code"]) == (409, "server_taken")
    assert api(olga).post("/api/registries", {**body, "server": "http://x/y"}).status_code == 400
    renamed = api(olga).patch(f"/api/registries/{row.pk}", {"name": "renamed"})
    assert (renamed.status_code, renamed.json()["has_password"]) == (200, True)
    assert api(olga).delete(f"/api/registries/{row.pk}").status_code == 204


@pytest.mark.django_db
def test_another_server_without_the_password_forgets_it(api: Any, olga: Any) -> None:
    """D15: else whoever changes the address has the password sent to a machine of theirs."""
    made = api(olga).post("/api/registries", {"name": "ours", "server": "a.example.org", "username": "ci", "password": "s3cret"}).json()
    moved = api(olga).patch(f"/api/registries/{made['id']}", {"server": "evil.example.org"})
    assert (moved.status_code, moved.json()["has_password"]) == (200, False)
    auth = registries.auth_for("evil.example.org/app", shared_only=False)
    assert auth is not None and auth.password == ""


@pytest.mark.django_db
def test_peoples_containers_use_only_shared_ones_and_only_for_their_server() -> None:
    """D15: a stored registry is not everybody's key."""
    from audit.services import SYSTEM

    registries.create_registry(actor=SYSTEM, name="private", server="private.example.org", username="u", password="p")
    registries.create_registry(actor=SYSTEM, name="shared", server="shared.example.org", username="u", password="p", is_shared=True)
    assert registries.auth_for("private.example.org/app", shared_only=True) is None
    assert registries.auth_for("shared.example.org/app", shared_only=True) is not None
    for other in ("app", "team/app", "shared.example.org.evil.example/app", "evil.example/shared.example.org/app"):
        assert registries.auth_for(other, shared_only=False) is None, other


# ------------------------------------------------------------------------------------------------- with a real registry


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Debian's docker-registry on a loopback port, with one account: ci / s3cret. Gives host:port."""
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "htpasswd").write_text(f"ci:{HASH}\n")
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\nhttp:\n  addr: 127.0.0.1:{port}\n"
        f"auth:\n  htpasswd:\n    realm: test\n    path: {folder}/htpasswd\n"
    )
    with (folder / "log").open("wb") as out:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=out, stderr=out, cwd=folder)
    server = f"127.0.0.1:{port}"
    try:
        from tests.conftest import wait_until

        def answers() -> bool:
            assert process.poll() is None, Path(folder / "log").read_text()
            try:
                with urlopen(Request(f"http://{server}/v2/", headers={"Authorization": "Basic " + base64.b64encode(b"ci:s3cret").decode()})):
                    return True
            except URLError:
                return False

        wait_until(answers, seconds=60)
        yield server
    finally:
        process.terminate()
        process.wait(20)


def tiny_image(name: str, folder: Path) -> None:
    """An image of its own content, so that no container of another test uses it."""
    (folder / "word").write_text(name)
    with tarfile.open(folder / "image.tar", "w") as tar:
        tar.add(folder / "word", "word")
    docker("import", str(folder / "image.tar"), name, config=folder)


def docker(*words: str, config: Path) -> str:
    done = subprocess.run(["docker", "--config", str(config), *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.docker
@pytest.mark.timeout(300)
async def test_a_private_image_is_pulled_with_the_stored_credentials_and_not_without(registry: str, tmp_path: Path) -> None:
    """The engine itself asks: right, wrong and no password; progress is told; and no secret stays in the engine."""
    name = f"{registry}/team/{uuid.uuid4().hex[:8]}:1"
    config = tmp_path / "docker"
    config.mkdir()
    (config / "config.json").write_text(json.dumps({"auths": {registry: {"auth": base64.b64encode(b"ci:s3cret").decode()}}}))
    tiny_image(name, tmp_path)
    docker("push", "-q", name, config=config)
    docker("rmi", name, config=config)
    runtime = DockerRuntime()
    await runtime.open(instance=f"test-{uuid.uuid4().hex[:8]}")
    told: list[str] = []
    try:
        for auth in (None, RegistryAuth(server=registry, username="ci", password="wrong")):
            with pytest.raises(RuntimeFailure) as refused:
                await runtime.pull(name, auth=auth, progress=lambda p: None, timeout_seconds=60)
            assert refused.value.code in ("image_forbidden", "image_not_found", "registry_refused", "pull_failed", "unauthorized"), refused.value
            assert "wrong" not in refused.value.detail
        good = RegistryAuth(server=registry, username="ci", password="s3cret")
        await runtime.pull(name, auth=good, progress=lambda p: told.append(p.message), timeout_seconds=120)
        items = {tag for item in await runtime.stock.listing("images") for tag in item.get("tags", [])}
        assert name in items and told
        assert await runtime.stock.remove("images", name)
        with pytest.raises(RuntimeFailure) as again:
            await runtime.stock.remove("images", name)
        assert again.value.code == "not_found"
    finally:
        await runtime.close()
        subprocess.run(["docker", "rmi", name], capture_output=True, timeout=60, check=False)


@pytest.fixture(autouse=True)
def _needs_registry(request: pytest.FixtureRequest) -> None:
    if "registry" in request.fixturenames and not shutil.which("docker-registry"):
        pytest.skip("no docker-registry on this machine: apt-get install docker-registry")
