"""Install scripts, `starting` until ready, the stop command on the console, and what a console asks a person for: the panel's side."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from django.test import Client
from django.urls import reverse

from agent.protocol.commands import CreatePayload, InstallPayload, RestartPayload, StartPayload
from containers.models import Container
from containers.services import act, observe, power, prompts, reinstall, sweep, update_container
from eggs.services import import_egg
from lormas.common import clock
from lormas.common.errors import Conflict, Invalid
from nodes.commands import payload_of
from nodes.models import Command

pytestmark = pytest.mark.django_db

MIB = 1024**2
GAME: dict[str, Any] = {
    "meta": {"version": "PTDL_v2"},
    "name": "Game",
    "author": "lormas@example.org",
    "features": ["eula", "java_version", "pid_limit", "gsl_token", "steam_disk_space", "fs_write"],
    "docker_images": {"Java 17": "example.org/yolks:java_17", "Java 21": "example.org/yolks:java_21"},
    "startup": "java -jar {{JAR}}",
    "config": {
        "files": '{"server.properties": {"parser": "properties", "find": {"server-port": "{{server.build.default.port}}"}}}',
        "startup": '{"done": "For help, type "}',
        "stop": "stop",
    },
    "scripts": {"installation": {"script": "#!/bin/ash\r\necho {{JAR}}\r\n", "container": "example.org/installers:alpine", "entrypoint": "ash"}},
    "variables": [
        {"name": "jar", "env_variable": "JAR", "default_value": "server.jar", "rules": "required|string"},
        {"name": "token", "env_variable": "STEAM_ACC", "default_value": "", "rules": "nullable|string|max:64"},
    ],
}


def egg_of(**changes: Any) -> Any:
    return import_egg(json.dumps({**GAME, **changes}).encode(), filename="game.json").eggs[0]


@pytest.fixture
def game(make: Any, agent: Any) -> Container:
    """alice's container of the egg, installed, running, ready."""
    container, _ = make("game", image="", egg=egg_of())
    agent.done(container, "running", readiness="ready", started_at="2026-01-01T00:00:00Z")
    assert container.status == "running"
    return container  # type: ignore[no-any-return]


def seen(container: Container, agent: Any, state: str = "running", **fields: Any) -> Container:
    """The node tells something by itself."""
    assert container.node_id is not None
    observe.observe(container.node_id, agent.report(container, state, **fields))
    container.refresh_from_db()
    return container


def payload(container: Container, agent: Any, kind: type[Any]) -> Any:
    return msgspec.convert(payload_of(agent.open_command(container)), kind)


# ------------------------------------------------------------------------------------------------------------------------------------- installing


def test_a_new_container_of_an_egg_with_a_script_is_installed_first(make: Any, agent: Any) -> None:
    container, operation = make("game", image="", egg=egg_of())
    assert (container.status, container.install_state, operation.kind) == ("installing", "needed", "container.install")
    asked = payload(container, agent, InstallPayload)
    assert (asked.install.image, asked.install.entrypoint, asked.install.script) == (
        "example.org/installers:alpine", "ash", "#!/bin/ash\necho {{JAR}}\n",
    )  # fmt: skip
    assert asked.install.env["JAR"] == "server.jar"
    assert asked.spec.confined
    assert asked.spec.readiness.done == ["For help, type "]
    assert (asked.spec.stop.command, asked.spec.config_files[0].path) == ("stop", "server.properties")
    agent.done(container, "running", readiness="waiting")
    assert (container.status, container.install_state) == ("starting", "done")
    with pytest.raises(Conflict) as refusal:
        act(container, "start", user=container.owner, actor=container.owner.as_actor())
    assert refusal.value.extra["allowed"] == ["delete", "kill", "restart", "stop"]


def test_one_without_a_script_is_only_made_and_can_not_be_installed_again(make: Any, agent: Any, alice: Any) -> None:
    container, operation = make("plain", image="", egg=egg_of(scripts={"installation": {"script": "#!/bin/sh\n# nothing\n"}}))
    assert operation.kind == "container.create"
    agent.done(container, "running", readiness="ready")
    with pytest.raises(Conflict) as refusal:
        reinstall(container, user=alice, actor=alice.as_actor())
    assert refusal.value.code == "no_install_script"


def test_a_failed_script_is_a_state_of_its_own_and_the_way_out_is_another_try(make: Any, agent: Any, alice: Any) -> None:
    container, operation = make("game", image="", egg=egg_of())
    agent.failed(container, "install_failed", "The install script ended with exit code 3.")
    container.refresh_from_db()
    operation.refresh_from_db()
    assert (container.status, container.status_reason, operation.status) == (
        "install_failed", "The install script ended with exit code 3.", "failed",
    )  # fmt: skip
    with pytest.raises(Conflict) as refusal:
        act(container, "start", user=alice, actor=alice.as_actor())
    assert refusal.value.extra["allowed"] == ["delete", "reinstall"]
    reinstall(container, user=alice, actor=alice.as_actor(), start=True)
    container.refresh_from_db()
    assert container.status == "installing"
    agent.done(container, "running", readiness="ready")
    assert (container.status, container.install_state) == ("running", "done")


def test_reinstalling_needs_the_right_and_says_what_it_does(game: Container, agent: Any, alice: Any, charlie: Any) -> None:
    """D07, D11, H02: strangers see nothing; the page changes nothing before it is confirmed."""
    address = f"/api/containers/{game.pk}/reinstall"
    stranger, owner = Client(), Client(enforce_csrf_checks=False)
    stranger.force_login(charlie, backend="accounts.backends.EmailOrUsernameBackend")
    owner.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    assert stranger.post(address).status_code == 404
    page = reverse("containers:reinstall", args=[game.pk])
    assert b"may overwrite and delete files" in owner.get(page).content
    assert owner.post(page).status_code == 400
    assert Command.objects.filter(subject_id=game.pk, kind="container.install").count() == 1
    assert owner.post(address, {"start": False}, content_type="application/json").status_code == 202
    asked = payload(game, agent, InstallPayload)
    assert (asked.start, asked.stop.command) == (False, "stop")
    assert owner.post(address, {}, content_type="application/json").status_code == 423


# -------------------------------------------------------------------------------------------------------------------------------------- readiness


def test_it_is_starting_until_its_console_has_said_so_and_not_for_ever(game: Container, agent: Any, alice: Any) -> None:
    """R54"""
    act(game, "restart", user=alice, actor=alice.as_actor())
    assert isinstance(payload(game, agent, RestartPayload), RestartPayload)
    agent.done(game, "running", readiness="waiting")
    assert game.status == "starting"
    deadline = game.status_deadline
    assert deadline is not None
    seen(game, agent, readiness="waiting")
    assert game.status_deadline == deadline, "news of it give it no more time"
    seen(game, agent, readiness="ready")
    assert (game.status, game.status_deadline) == ("running", None)

    act(game, "restart", user=alice, actor=alice.as_actor())
    agent.done(game, "running", readiness="waiting")
    Container.objects.filter(pk=game.pk).update(status_deadline=clock.now() - timedelta(seconds=1))
    assert sweep.settle_stuck() == 1
    game.refresh_from_db()
    assert game.status == "running"


def test_a_health_check_tells_where_no_line_is_waited_for(running: Container, agent: Any) -> None:
    assert seen(running, agent, health="starting").status == "starting"
    assert seen(running, agent, health="healthy").status == "running"
    assert seen(running, agent, health="unhealthy").status == "running", "it runs, whatever else"


def test_the_stop_command_on_the_console_is_a_wish_and_no_crash(game: Container, agent: Any) -> None:
    assert not power.typed(game, "say stop")
    game.refresh_from_db()
    assert game.status == "running"
    assert power.typed(game, " stop\n")
    game.refresh_from_db()
    assert (game.status, game.desired) == ("stopping", "stopped")
    seen(game, agent, "exited", exit_code=1, cause="exit")
    assert (game.status, game.restart_at) == ("stopped", None)


def test_who_does_not_listen_to_its_stop_command_runs_on(game: Container, agent: Any) -> None:
    assert power.typed(game, "stop")
    Container.objects.filter(pk=game.pk).update(status_deadline=clock.now() - timedelta(seconds=1))
    assert sweep.settle_stuck() == 1
    game.refresh_from_db()
    assert (game.status, game.desired) == ("running", "running")


# ---------------------------------------------------------------------------------------------------------------------------------------- prompts


def asked(game: Container, agent: Any, feature: str) -> prompts.Prompt:
    seen(game, agent, readiness="ready", features=[feature])
    [prompt] = prompts.open_prompts(game)
    assert prompt.feature == feature
    return prompt


def test_accepting_the_eula_writes_the_file_with_that_start_only(game: Container, agent: Any, alice: Any) -> None:
    seen(game, agent, "exited", exit_code=0, cause="exit", features=["eula"])
    assert (game.status, game.prompts) == ("stopped", ["eula"])
    prompts.answer(game, "eula", user=alice, actor=alice.as_actor())
    asked_for = payload(game, agent, StartPayload)
    [edit] = asked_for.edits
    assert (edit.path, edit.finds) == ("eula.txt", [("eula", "true")])
    assert [file.path for file in asked_for.spec.config_files] == ["server.properties"]
    agent.done(game, "running", readiness="ready")
    assert game.prompts == []
    with pytest.raises(Conflict) as refusal:
        prompts.answer(game, "eula", user=alice, actor=alice.as_actor())
    assert refusal.value.code == "no_such_prompt"


def test_another_java_is_another_image_of_its_egg(game: Container, agent: Any, alice: Any) -> None:
    assert asked(game, agent, "java_version").choices == [("Java 21", "example.org/yolks:java_21")]
    with pytest.raises(Invalid):
        prompts.answer(game, "java_version", value="evil.example/java", user=alice, actor=alice.as_actor())
    game.refresh_from_db()
    assert (game.image, game.prompts, game.running_operation) == ("example.org/yolks:java_17", ["java_version"], None)
    prompts.answer(game, "java_version", value="example.org/yolks:java_21", user=alice, actor=alice.as_actor())
    made = payload(game, agent, CreatePayload)
    assert (made.spec.image, made.replace) == ("example.org/yolks:java_21", True)


def test_more_processes_are_a_higher_limit(game: Container, agent: Any, alice: Any) -> None:
    assert asked(game, agent, "pid_limit").suggestion == "1024"
    for wrong in ("512", "-1", "999999", "many"):
        with pytest.raises(Invalid):
            prompts.answer(game, "pid_limit", value=wrong, user=alice, actor=alice.as_actor())
    prompts.answer(game, "pid_limit", value="1024", user=alice, actor=alice.as_actor())
    assert payload_of(agent.open_command(game))["spec"]["limits"]["pids"] == 1024


def test_a_token_goes_into_the_variable_that_the_egg_has_for_it(game: Container, agent: Any, alice: Any) -> None:
    assert asked(game, agent, "gsl_token").variable == "STEAM_ACC"
    with pytest.raises(Invalid):
        prompts.answer(game, "gsl_token", value="two words", user=alice, actor=alice.as_actor())
    prompts.answer(game, "gsl_token", value="ABCDEF0123456789", user=alice, actor=alice.as_actor())
    assert payload_of(agent.open_command(game))["spec"]["env"]["STEAM_ACC"] == "ABCDEF0123456789"


def test_a_full_disk_says_how_much_is_free_and_a_limit_can_be_raised(game: Container, agent: Any, alice: Any) -> None:
    """Whose limit is what is full can raise it; whose node is full is told so; what is not known is not shown."""
    page, client = reverse("containers:prompts", args=[game.pk]), Client()
    client.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    room = asked(game, agent, "steam_disk_space").room
    assert room is not None
    assert (room.needed_bytes, room.node_free_bytes, room.used_bytes, room.limit_bytes) == (250 * MIB, None, None, 0)
    assert b"<a href" in client.get(page).content
    assert b"None" not in client.get(page).content

    assert game.node is not None
    game.node.usage = {"storage_used_bytes": game.node.total_storage_bytes - 100 * MIB}
    game.node.save(update_fields=["usage"])
    Container.objects.filter(pk=game.pk).update(stats={"disk_bytes": 900 * MIB}, disk_bytes=1024 * MIB)
    text = " ".join(client.get(page).content.decode().replace("\u202f", " ").split())
    for words in (
        "at least 250 MiB free", "node-1 has 100 MiB free.", "Its files take 900 MiB of the 1.00 GiB they may.", "The disk of node-1 is what is full",
    ):  # fmt: skip
        assert words in text, words
    [prompt] = client.get(f"/api/containers/{game.pk}/prompts").json()["prompts"]
    told = {"needed_bytes": 250 * MIB, "node_free_bytes": 100 * MIB, "used_bytes": 900 * MIB, "limit_bytes": 1024 * MIB}
    assert (prompt["room"], prompt["suggestion"]) == (told, "2")

    game.refresh_from_db()
    for wrong in ("1", "0.5", "many", "99999999"):
        with pytest.raises(Invalid):
            prompts.answer(game, "steam_disk_space", value=wrong, user=alice, actor=alice.as_actor())
    prompts.answer(game, "steam_disk_space", value="2", user=alice, actor=alice.as_actor())
    game.refresh_from_db()
    assert (game.disk_bytes, game.prompts, agent.open_command(game).kind) == (2048 * MIB, [], "container.create")


def test_after_making_room_it_is_started_as_it_is(game: Container, agent: Any, alice: Any) -> None:
    asked(game, agent, "steam_disk_space")
    with pytest.raises(Invalid):
        prompts.answer(game, "steam_disk_space", value="2", user=alice, actor=alice.as_actor())  # it has no limit that could be raised
    prompts.answer(game, "steam_disk_space", user=alice, actor=alice.as_actor())
    assert agent.open_command(game).kind == "container.restart"


def test_what_was_put_away_comes_back_with_another_start_only(game: Container, agent: Any, alice: Any) -> None:
    asked(game, agent, "pid_limit")
    prompts.dismiss(game, "pid_limit", actor=alice.as_actor())
    seen(game, agent, readiness="ready", features=["pid_limit"])
    assert game.prompts == []
    seen(game, agent, readiness="waiting", features=[])
    seen(game, agent, readiness="ready", features=["pid_limit", "unknown"])
    assert game.prompts == ["pid_limit"]


def test_an_egg_that_gives_nothing_to_answer_with_is_only_told(make: Any, agent: Any, alice: Any) -> None:
    container, _ = make("poor", image="", egg=egg_of(docker_images={"a": "example.org/a:1"}, variables=GAME["variables"][:1]))
    agent.done(container, "running", readiness="ready")
    for feature in ("java_version", "gsl_token"):
        assert not asked(container, agent, feature).can_answer
        with pytest.raises(Conflict):
            prompts.answer(container, feature, value="x", user=alice, actor=alice.as_actor())


def test_pages_and_api_ask_and_answer_for_those_who_may(game: Container, agent: Any, alice: Any, charlie: Any) -> None:
    """D07, H02"""
    asked(game, agent, "pid_limit")
    stranger, owner = Client(), Client()
    stranger.force_login(charlie, backend="accounts.backends.EmailOrUsernameBackend")
    owner.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
    api = f"/api/containers/{game.pk}/prompts"
    assert stranger.get(api).status_code == stranger.post(f"{api}/pid_limit").status_code == 404
    [prompt] = owner.get(api).json()["prompts"]
    assert (prompt["feature"], prompt["suggestion"], prompt["can_answer"]) == ("pid_limit", "1024", True)
    wrong = owner.post(f"{api}/pid_limit", {"value": "1"}, content_type="application/json")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (400, "value")
    assert b"limit of processes" in owner.get(reverse("containers:prompts", args=[game.pk])).content
    page = reverse("containers:prompt", args=[game.pk, "pid_limit"])
    assert stranger.post(page, {"value": "2048"}).status_code == 404
    assert owner.get(page).status_code == 405
    assert owner.post(page, {"value": "2048"}).status_code == 302
    game.refresh_from_db()
    assert (game.pids, game.prompts) == (2048, [])
    assert owner.delete(f"{api}/pid_limit").status_code == 409


def test_a_restart_without_changes_makes_nothing_anew(game: Container, agent: Any, alice: Any) -> None:
    """A spec with configuration files is the same spec when it comes back from its row."""
    act(game, "restart", user=alice, actor=alice.as_actor())
    assert agent.open_command(game).kind == "container.restart"
    game.refresh_from_db()
    assert not game.spec_changed


def test_edits_of_an_egg_container_come_with_its_next_start(game: Container, agent: Any, alice: Any) -> None:
    changed, _ = update_container(game, user=alice, actor=alice.as_actor(), changes={"variables": {"JAR": "other.jar"}})
    act(changed, "restart", user=alice, actor=alice.as_actor())
    made = payload(game, agent, CreatePayload)
    assert (made.spec.env["JAR"], made.stop.command, made.replace) == ("other.jar", "stop", True)
