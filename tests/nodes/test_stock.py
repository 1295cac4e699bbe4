"""Images, volumes and networks of a node: on a real engine, and the doors to them with the agent's answers played over the real bus."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.nodeacts import NodeActs
from agent.protocol.messages import ErrorInfo
from agent.protocol.nodework import ImagePull, Prune, StockList
from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.fake import FakeRuntime
from agent.stock import stock_answers
from nodes import commands
from nodes.models import Command, Node, Operation
from tests.console.puppet import Puppet
from tests.nodes.test_registries import tiny_image


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
async def engine() -> AsyncIterator[DockerRuntime]:
    runtime = DockerRuntime()
    await runtime.open(instance=f"test-{uuid.uuid4().hex[:8]}")
    yield runtime
    await runtime.close()


@pytest.mark.docker
@pytest.mark.timeout(180)
async def test_unused_ones_are_removed_used_ones_are_refused_and_labels_tell_whose_they_are(engine: DockerRuntime, tmp_path: Path) -> None:
    """A11: what is ours is told by label and instance; what a container uses is never removed."""
    mark = uuid.uuid4().hex[:8]
    image, volume, used, network = f"lormas-test/{mark}:1", f"v-{mark}", f"u-{mark}", f"n-{mark}"
    labels = ("--label", f"{LABEL_INSTANCE}={engine._instance}", "--label", f"{LABEL_CONTAINER}=c-{mark}")
    holder = ""
    try:
        tiny_image(image, tmp_path)
        docker("volume", "create", *labels, volume)
        docker("network", "create", *labels, network)
        holder = docker("create", "-v", f"{used}:/data", "lormas-test/busybox:1", "true")

        async def named(kind: Any, name: str) -> dict[str, Any]:
            return next(item for item in await engine.stock.listing(kind) if item["name"] == name)

        assert (await named("images", image))["in_use"] is False
        assert (await named("images", "lormas-test/busybox:1"))["in_use"] is True
        ours = await named("volumes", volume)
        assert (ours["ours"], ours["container_id"], ours["in_use"]) == (True, f"c-{mark}", False)
        theirs = await named("volumes", used)
        assert (theirs["ours"], theirs["in_use"]) == (False, True)
        assert (await named("networks", network))["ours"] is True
        assert (await named("networks", "bridge"))["in_use"] is True, "the engine's own are never offered"
        for kind, name in (("images", "lormas-test/busybox:1"), ("volumes", used), ("networks", "bridge")):
            with pytest.raises(RuntimeFailure) as refused:
                await engine.stock.remove(kind, name, force=True)  # type: ignore[arg-type]
            assert refused.value.code == "in_use"
        acts, told = NodeActs(engine), []
        image_id = (await named("images", image))["id"]
        for kind, ids in (("images", [image_id]), ("volumes", [volume, used]), ("networks", [network, "gone-already"])):
            done = await acts._prune(Prune(kind=kind, ids=ids), progress=lambda percent, word: told.append(percent))
            assert done["removed"] == [i for i in ids if i != used], done
            assert [row[0] for row in done["kept"]] == [i for i in ids if i == used]
        assert told
        for name in ("../containers/x", "a/../../info", "x?force=1", ""):
            with pytest.raises(RuntimeFailure):
                await engine.stock.remove("volumes", name)
    finally:
        for words in (("rm", "-f", holder), ("volume", "rm", "-f", volume, used), ("network", "rm", network), ("rmi", "-f", image)):
            subprocess.run(["docker", *words], capture_output=True, timeout=60, check=False)


async def test_a_runtime_without_images_says_so() -> None:
    runtime = FakeRuntime()
    answers = stock_answers(runtime, tidy=None, cancel=None)  # type: ignore[arg-type]
    with pytest.raises(RuntimeFailure) as refused:
        await answers["stock.list"]("stock.list", StockList(kind="images"))
    assert refused.value.code == "unsupported" and "no images" in refused.value.detail


# ------------------------------------------------------------------------------------------------------------ the doors


class Played(Puppet):
    """Answers questions about stock; `refuse` makes it refuse."""

    refuse: tuple[str, str] | None = None
    asked: list[dict[str, Any]]
    gives_up = True

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(question)
        if question["kind"] == "stock.list":
            kind = question["payload"]["kind"]
            rows = [
                ("used", True, True, ""),
                ("free", False, False, ""),
                ("known", False, True, self.known),
                ("left", False, True, str(uuid.uuid4())),
            ]
            return {
                "items": [
                    {"id": f"{kind}-{n}", "name": n, "in_use": used, "ours": ours, **({"container_id": owner} if ours else {})}
                    for n, used, ours, owner in rows
                ]
            }
        if question["kind"] == "node.cancel":
            return {"found": self.gives_up}
        return {"removed": [question["payload"]["name"]]}


@pytest.fixture
def played(transactional_db: None, make_node: Callable[..., Any]) -> Iterator[Any]:
    node = make_node(gateway="test", last_heartbeat="2100-01-01T00:00:00Z")
    puppet = Played(node.pk)
    puppet.asked, puppet.known, puppet.node = [], "", node  # type: ignore[attr-defined]
    puppet.start()
    yield puppet
    puppet.stop()


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_a_preview_shows_what_goes_and_prune_sends_exactly_that(played: Any, api: Any, olga: Any, alice: Any) -> None:
    from containers.models import Container

    made = Container.objects.create(name="w", owner=alice, node=played.node, image="x", status="stopped", desired="stopped")
    played.known = str(made.pk)
    base = f"/api/nodes/{played.node.pk}"
    assert api(alice).get(f"{base}/images").status_code == 404
    assert [i["name"] for i in api(olga).get(f"{base}/volumes").json()["items"]] == ["used", "free", "known", "left"]
    assert [i["name"] for i in api(olga).get(f"{base}/prune/images").json()["items"]] == ["free", "known", "left"]
    preview = api(olga).get(f"{base}/prune/volumes").json()["items"]
    assert [i["name"] for i in preview] == ["left"], "not ours, or a container known here needs it: not offered"
    answer = api(olga).post(f"{base}/prune", {"kind": "volumes", "ids": [i["id"] for i in preview]})
    assert answer.status_code == 202, answer.content
    command = Command.objects.get(kind="node.prune")
    assert commands.payload_of(command) == {"kind": "volumes", "ids": ["volumes-left"]}
    commands.settle(command.pk, ok=True, data={"removed": ["volumes-left"], "kept": []})
    assert Operation.objects.get().result == {"removed": ["volumes-left"], "kept": []}
    assert api(olga).post(f"{base}/prune", {"kind": "volumes", "ids": []}).status_code == 422
    assert api(olga).delete(f"{base}/images", {"name": "x"}).json() == {"removed": ["x"]}


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_pull_is_an_operation_with_the_stored_password_that_rests_encrypted(played: Any, api: Any, olga: Any) -> None:
    from audit.services import SYSTEM
    from nodes import registries

    registries.create_registry(actor=SYSTEM, name="r", server="r.example.org", username="u", password="s3cret-word")
    base = f"/api/nodes/{played.node.pk}"
    answer = api(olga).post(f"{base}/images", {"image": "r.example.org/app:1"})
    assert answer.status_code == 202, answer.content
    command = Command.objects.get()
    assert "s3cret-word" not in str(command.payload)
    assert commands.payload_of(command)["registry_auth"]["password"] == "s3cret-word"
    commands.mark_acked(command.pk, node_id=played.node.pk)
    commands.note_progress(command.pk, node_id=played.node.pk, percent=40, message="layer 2 of 5")
    shown = api(olga).get(f"/api/operations/{answer.json()['operation']['id']}").json()
    assert (shown["progress"], shown["message"]) == (40, "layer 2 of 5")
    commands.settle(command.pk, ok=False, error=ErrorInfo(code="image_not_found", detail="There is no such image."))
    ended = api(olga).get(f"/api/operations/{answer.json()['operation']['id']}").json()
    assert (ended["status"], ended["error"]["code"]) == ("failed", "image_not_found")
    for bad in ("", "-x", "a b", "x" * 600, "a;b"):
        assert api(olga).post(f"{base}/images", {"image": bad}).status_code == 400, bad
    assert isinstance(ImagePull(image="x"), ImagePull)


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_a_pull_is_called_off_on_its_node_too(played: Any, api: Any, olga: Any) -> None:
    """J07: also while it goes on; a node that is just done with it says so, and nothing is changed."""
    base = f"/api/nodes/{played.node.pk}"
    for gives_up, status, state in ((True, 200, "cancelled"), (False, 409, "acked")):
        played.gives_up = gives_up
        operation = api(olga).post(f"{base}/images", {"image": f"app:{int(gives_up)}"}).json()["operation"]["id"]
        command = Command.objects.get(operation_id=operation)
        commands.mark_acked(command.pk, node_id=played.node.pk)
        answer = api(olga).post(f"/api/operations/{operation}/cancel")
        assert answer.status_code == status, answer.content
        assert played.asked[-1]["payload"] == {"command_id": str(command.pk)}
        command.refresh_from_db()
        assert command.state == state
        assert (Operation.objects.get(pk=operation).status == "cancelled") is gives_up


@pytest.mark.django_db
@pytest.mark.redis
def test_a_node_that_is_away_is_503_and_says_since_when(make_node: Any, api: Any, olga: Any) -> None:
    node = make_node(status="INACTIVE", gateway="", status_reason="Nothing heard for 35 s.")
    for answer in (
        api(olga).get(f"/api/nodes/{node.pk}/images"),
        api(olga).post(f"/api/nodes/{node.pk}/images", {"image": "x"}),
        api(olga).post(f"/api/nodes/{node.pk}/prune", {"kind": "images", "ids": ["x"]}),
        api(olga).post(f"/api/nodes/{node.pk}/upgrade"),
    ):
        assert answer.status_code == 503 and "Nothing heard" in answer.json()["detail"], answer.content
    assert Node.objects.get(pk=node.pk).status == "INACTIVE" and not Command.objects.exists()
