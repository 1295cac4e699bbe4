"""Who may see a thing and nothing more: every verb about it, by API, page and socket, is refused as seen and not allowed."""

from __future__ import annotations

from typing import Any, Final

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from accounts import granting, grants
from containers.models import Container
from containers.services import edit
from containers.services.duplicate import duplicate
from containers.services.manners import settings_of
from lormas.common import live
from tests.console.conftest import make_node
from tests.rights.conftest import give
from tests.rights.stage import Stage, methods_of, routes
from tests.rights.test_matrix import Writes
from tests.rights.test_socket_matrix import HIDDEN, TABLE, asked, authorization, opened

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
OF: Final = ("{container_id}", "{node_id}", "{cluster_id}", "{egg_id}", "{machine_id}", "{machine}", "{object_id}")
OTHERS_TO_SAY: Final = {
    "/api/nodes/{node_id}/heartbeat": "by a node's token only: 401",
    "/api/nodes/{node_id}/resources": "by a node's token only: 401",
    "/api/eggs/{egg_id}/preview": "shows what would come of it, and makes nothing",
    "/eggs/{egg_id}/preview": "the same",
    "/api/eggs/{egg_id}/rollouts": "moves one's own containers, which are named in the body",
    "/eggs/{egg_id}/rollout": "the same",
    "/api/eggs/{egg_id}/rollouts/{rollout_id}/revert": "somebody else's roll-out: 404",
    "/eggs/{egg_id}/rollouts/{rollout_id}/revert": "the same",
    "/api/containers/{container_id}/duplicate": "makes a container of one's own, within one's own quota and role",
    "/containers/{container_id}/duplicate": "the same",
    "/api/containers/{container_id}/restore": "it is not in the trash, where this person would not see it: 404",
    "/containers/{container_id}/restore": "the same",
    "/containers/{container_id}/logs": "leads on to the page that shows them",
    "/containers/{container_id}/power/{action}": "there is no act of this name: 404",
}
"""Not refused with 403, and why not; but for this nothing of it happens."""
SEEN: Final = {"use", "subscribe_stats"}
"""Messages that somebody who sees the container may send about it."""


def lets_look(stage: Stage) -> None:
    """The stranger may see one object of each kind."""
    for kind in ("container", "node", "cluster", "egg", "machine"):
        target = grants.kind(kind).model._default_manager.get(pk=stage.ids[f"{kind}_id"])
        give(stage.cast["administrator"], target, stage.cast["stranger"], kind=kind)


def test_every_verb_is_refused_to_whom_only_sees(stage: Stage) -> None:
    """D07, D11: by API and by page, whatever the body; and nothing happens."""
    lets_look(stage)
    page, wrong, refused = stage.pages("stranger"), [], 0
    for path, view in routes().items():
        if not any(one in path for one in OF):
            continue
        api = path.startswith("/api")
        for method in (one for one in methods_of(view) if one != "get"):
            body: dict[str, Any] = {"data": {}, "content_type": "application/json"} if api else {"data": {}}
            wrote = Writes()
            with transaction.atomic():
                with connection.execute_wrapper(wrote):
                    answer = getattr(stage.clients["stranger"] if api else page(), method)(stage.address(path), **body)
                transaction.set_rollback(True)
            refused += answer.status_code == 403
            if wrote.acts or (answer.status_code not in (403, 405) and path not in OTHERS_TO_SAY):
                wrong.append(f"{method.upper()} {path}: {answer.status_code} {sorted(wrote.acts)}")
            if path in OTHERS_TO_SAY and answer.status_code == 403:
                wrong.append(f"{method.upper()} {path} is refused: it needs no exception")
    assert not wrong, "\n".join(wrong)
    assert refused > 120


async def test_every_message_is_refused_to_whom_only_sees(stage: Stage) -> None:
    """D11, F04: what a stranger is told not to exist, is here there and not allowed."""
    await sync_to_async(lets_look)(stage)
    socket, first = await opened("/ws", authorization(stage, "stranger"))
    assert first["type"] == "websocket.accept"
    found = {word: await asked(socket, word, str(stage.ids["container_id"])) for word, codes in TABLE.items() if codes[0] == HIDDEN}
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait(10)
    await live.hub().close()
    assert len(found) > 15
    assert {word: code for word, code in found.items() if code != ("ok" if word in SEEN else "forbidden")} == {}


def test_secrets_of_what_runs_are_for_those_who_may_change_it(stage: Stage, settings: Any) -> None:
    """I01, D14: by no door that somebody who only sees it can open, in no copy of theirs; its owner and whom a change was granted read them."""
    web = Container.objects.get(pk=stage.ids["container_id"])
    owner, looker = stage.cast["owner"], stage.cast["stranger"]
    secrets = {
        "env": {"MODE": "quiet", "DB_PASSWORD": "canary-of-the-environment"},
        "command": ["serve", "--token=canary-of-the-command"],
        "startup_script": "export API_KEY=canary-of-the-script",
    }
    for more in ({}, {"description": "twice, so that there is a revision with a difference"}):
        edit.change(web, user=owner, actor=owner.as_actor(), changes={**secrets, **more, "env": {**secrets["env"], "N": str(len(more))}})
    lets_look(stage)
    told = {"stranger": told_to(stage, "stranger"), "owner": told_to(stage, "owner")}
    assert {path: text for path, text in told["stranger"].items() if "canary-" in text} == {}
    for path in ("/api/containers/{container_id}", "/api/containers/{container_id}/settings", "/containers/{container_id}/settings"):
        assert "quiet" in told["stranger"][path] and "DB_PASSWORD" in told["stranger"][path], path
        assert "canary-of-the-environment" in told["owner"][path], path
    assert sum("canary-of-the-environment" in text for text in told["owner"].values()) > 6
    make_node("alive")
    copy, _ = duplicate(Container.objects.get(pk=web.pk), user=looker, actor=looker.as_actor())
    assert (copy.env, copy.command, settings_of(copy).startup_script) == ({"MODE": "quiet", "N": "1"}, [], "")
    mine, _ = duplicate(Container.objects.get(pk=web.pk), user=owner, actor=owner.as_actor())
    assert (mine.env["DB_PASSWORD"], settings_of(mine).startup_script) == ("canary-of-the-environment", secrets["startup_script"])
    kind = grants.kind("container")
    grant = next(one for one in granting.on(kind, web) if one.user == looker)
    by = stage.cast["administrator"]
    granting.change(by, kind, web, grant.id, changes={"permissions": ["containers.edit"]}, actor=by.as_actor())
    assert "canary-of-the-environment" in stage.client("stranger").get(f"/api/containers/{web.pk}").content.decode()


def told_to(stage: Stage, caller: str) -> dict[str, str]:
    """What each address says to them."""
    found, page = {}, stage.pages(caller)
    for path, view in routes().items():
        if "get" in methods_of(view):
            answer = (stage.clients[caller] if path.startswith("/api") else page()).get(stage.address(path))
            found[path] = "" if getattr(answer, "streaming", False) else answer.content.decode(errors="replace")
    return found
