"""The hello egg, deployed once: a row of the journal says that it was, so nobody who deleted it finds it again."""

from __future__ import annotations

import urllib.error
import urllib.request
from typing import Any

from lormas.env import Env
from lormas.quickstart import engine
from lormas.quickstart.say import step
from lormas.quickstart.tree import wait

ACTION = "quickstart.deployed"
PULL_SECONDS = 20
DEPLOY_SECONDS = 45
ANSWER_SECONDS = 10
HELLO_BYTES = 64 * 1024**2


def hello(env: Env, *, node_is_up: bool, runtime: str) -> str:
    """Deploy it unless that was done; returns where its page answers, or why it does not, or nothing."""
    from audit.models import Entry

    done = Entry.objects.filter(action=ACTION).order_by("pk").first()
    if done is not None:
        return _where(done.target_id)
    if not env["LORMAS_DEMO"]:
        return ""
    if not node_is_up:
        return "not deployed yet: no local agent is connected; the next start tries again" if runtime != "none" else ""
    with step("hello egg") as current:
        problem, container_id = _deploy(env, runtime=runtime)
        current.note = problem or "deployed on this node"
    return problem or _where(container_id)


def image_for(env: Env, wanted: str) -> str:
    """`wanted` if the engine has it or can pull it; else one made of this machine's busybox; "" if that can't be, either."""
    host = env["DOCKER_HOST"]
    if engine.has_image(host, wanted) or engine.pull(host, wanted, seconds=PULL_SECONDS):
        return wanted
    return engine.LOCAL_IMAGE if engine.import_busybox(host, engine.LOCAL_IMAGE) else ""


def _deploy(env: Env, *, runtime: str) -> tuple[str, str]:
    """(what went wrong, the container's id)."""
    from django.conf import settings
    from django.db import transaction
    from docker.errors import DockerException
    from requests import RequestException

    from accounts.models import User
    from audit.services import SYSTEM, Target, record
    from containers.services import NewContainer, create_container
    from containers.spec import Asked
    from eggs.models import Egg
    from lormas.common.errors import Problem
    from nodes.models import Node
    from nodes.operations import wait_for

    egg = Egg.objects.filter(is_bundled=True, name__istartswith="hello").select_related("current").first()
    owner = User.objects.filter(email=settings.SUPERUSER_EMAIL).first() or User.objects.filter(is_superuser=True).order_by("created_at").first()
    if egg is None or egg.current is None or owner is None:
        return "not deployed: the bundled egg is missing, see `lormas seed`", ""
    image = ""
    if runtime == "docker":
        wanted = _first_image(egg.current.definition)
        try:
            image = image_for(env, wanted)
        except (DockerException, RequestException, OSError) as error:
            return f"not deployed: the engine refused ({' '.join(str(error).split())[:160]})", ""
        if not image:
            return f"not deployed: {wanted} can't be pulled, and there is no static busybox to make an image of (apt-get install busybox-static)", ""
    node = Node.objects.filter(is_local=True).order_by("created_at").first()
    try:
        with transaction.atomic():
            container, operation = create_container(
                user=owner,
                actor=SYSTEM,
                data=NewContainer(name="hello", egg=egg, image=image, node=node, asked=Asked(cpus=0.25, memory_bytes=HELLO_BYTES)),
            )
            record(ACTION, actor=SYSTEM, target=Target("container", str(container.pk), container.name), message="first start")
    except Problem as error:
        return f"not deployed: {error.detail}", ""
    settled = wait_for(operation.pk, DEPLOY_SECONDS)
    if settled.status == "succeeded":
        return "", str(container.pk)
    return f"{settled.status}: {settled.error_detail or 'see Operations in the console'}", str(container.pk)


def _first_image(definition: dict[str, Any]) -> str:
    from eggs.definition import EggDefinition

    return EggDefinition.from_json(definition).default_image or "busybox:stable"


def _where(container_id: str) -> str:
    """Its address, if it runs and answers."""
    from containers.models import Container

    container = Container.objects.alive().filter(pk=container_id).select_related("node").first()
    port = container.ports.first() if container is not None else None
    if container is None or port is None:
        return ""
    if container.desired != "running":
        return f"stopped: start {container.name} in the console"
    address = f"http://{container.node.public_address if container.node else '127.0.0.1'}:{port.host_port}/"
    return address if wait(lambda: _answers(address), seconds=ANSWER_SECONDS, pause=0.1) else f"{address} (does not answer yet)"


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:  # noqa: S310 - made above, http only
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
