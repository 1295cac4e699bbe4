"""Rendering: the values of this container and nothing else reach it, and they stay text (C05, C06, C07)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from eggs.formats import parse
from eggs.rendering import Rendered, evaluates_startup, render
from tests.eggs.conftest import egg_file, encoded, variable

CANARY = "CANARY-9f2c"


def rendered(values: dict[str, str] | None = None, *, image: str | None = "debian:12-slim", **changes: Any) -> Rendered:
    asked = {key: changes.pop(key) for key in ("privileged", "memory_bytes", "primary_port") if key in changes}
    definition = parse(encoded(egg_file(**changes))).definition
    return render(
        definition, values=values or {}, image=image, **{"memory_bytes": 512 * 1024**2, "primary_port": 25565, "container_id": "c-1", **asked}
    )


def shell(found: Rendered) -> list[str]:
    """What a shell inside would make of it: argv of a stand-in for the server, one a line."""
    line = found.command[-1].removeprefix("exec ")
    assert found.entrypoint == ["/bin/sh", "-c"]
    script = f'./server() {{ printf "%s\\n" "$@"; }}; {line}'.replace("./server", "server")
    done = subprocess.run(["/bin/sh", "-c", script], env=found.env, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.splitlines()


def test_built_in_values_are_always_there_and_can_not_be_overridden() -> None:
    found = rendered(
        {"SERVER_PORT": "1", "STARTUP": "evil", "server_ip": "6.6.6.6"},
        variables=[variable("SERVER_PORT"), variable("STARTUP"), variable("server_ip")],
    )
    assert (found.env["SERVER_PORT"], found.env["SERVER_MEMORY"], found.env["SERVER_IP"]) == ("25565", "512", "0.0.0.0")
    assert found.env["P_SERVER_UUID"] == "c-1"
    assert found.env["STARTUP"].startswith("./server")
    assert found.env["TZ"] == "UTC"


def test_an_image_made_for_eggs_gets_the_line_raw_and_others_a_shell() -> None:
    raw = rendered(image=None)
    assert (raw.command, raw.entrypoint, raw.data_target) == ([], None, "/home/container")
    assert raw.env["STARTUP"] == "./server --port {{SERVER_PORT}} --name {{SERVER_NAME}}"
    plain = rendered()
    assert plain.entrypoint == ["/bin/sh", "-c"]
    assert plain.command == ["exec ./server --port ${SERVER_PORT} --name ${SERVER_NAME}"]
    assert plain.working_dir == plain.data_target


@pytest.mark.parametrize(
    ("image", "raw"),
    [
        ("ghcr.io/pterodactyl/yolks:java_21", True),
        ("ghcr.io/parkervcp/steamcmd:debian", True),
        ("ghcr.io/pelican-eggs/games:x", True),
        ("bluefunny/pelican-yolks:x", True),
        ("quay.io/pterodactyl/core:java", True),
        ("debian:12", False),
        ("someone/pelicanet:1", False),
        ("someone/web:yolks", False),
        ("busybox:stable", False),
    ],
)
def test_images_made_for_eggs_are_known_by_their_names(image: str, raw: bool) -> None:
    assert evaluates_startup(image) is raw


TRICKY = [
    "a b",
    "  lead",
    "$HOME",
    "${SERVER_PORT}",
    "$(touch pwned)",
    "`id`",
    "; id",
    "| id",
    "&& id",
    "> file",
    "'single'",
    '"double"',
    "\\n \\",
    "*",
    "~",
    "!history",
    "#comment",
    "line1\nline2",
    "ünïcödé 漢字 🙂",
    "{{SERVER_PORT}}",
    "[[ -f x ]]",
    "%s%n",
    "-n",
    "a=b",
]


@pytest.mark.parametrize("value", TRICKY)
def test_a_value_reaches_the_server_unchanged_and_is_never_evaluated(value: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """C07, C01: by a real shell; the egg quotes its placeholder as eggs do."""
    monkeypatch.chdir(tmp_path)
    definition = parse(encoded(egg_file(startup='./server "{{SERVER_NAME}}"', variables=[variable("SERVER_NAME")]))).definition
    found = render(definition, values={"SERVER_NAME": value}, image="debian:12", primary_port=1)
    assert "\n".join(shell(found)) == value
    assert found.env["SERVER_NAME"] == value
    assert list(tmp_path.iterdir()) == []


AMBIENT = [
    "{{config.token}}",
    "{{config.api.key}}",
    "{{env.SECRET_KEY}}",
    "{{SECRET_KEY}}",
    "{{env.LORMAS_CANARY}}",
    "{{LORMAS_CANARY}}",
    "{{server.owner}}",
    "{{server.token}}",
    "{{ settings.SECRET_KEY }}",
    "{{7*7}}",
    "{{0.__class__}}",
    "{0.__class__.__mro__}",
    "{% debug %}",
    "{{request}}",
    "${{x}}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{{''.__class__}}",
    "{{self}}",
    "%(LORMAS_CANARY)s",
    "{LORMAS_CANARY}",
    "$LORMAS_CANARY_",
    "{{server.environment.PATH}}",
    "{{server.build.env.__class__}}",
    "{{__import__}}",
    "{{{{SERVER_PORT}}}}",
    "{{SERVER_PORT",
    "SERVER_PORT}}",
    "{{}}",
    "{{ }}",
    "{{.}}",
    "{{a.b.c.d}}",
]


@pytest.mark.parametrize("text", AMBIENT)
def test_nothing_of_ours_can_be_read_and_nothing_is_evaluated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """C05 (Wings CVE-2026-52855), C06: an egg speaks of its own container only."""
    monkeypatch.setenv("LORMAS_CANARY", CANARY)
    monkeypatch.setenv("SECRET_KEY", CANARY)
    files = json.dumps({f"a{text}.cfg": {"parser": "file", "find": {f"k{text}": text, "c": {text: text}}}})
    definition = parse(encoded(egg_file(startup=f"./server {text}", config={"files": files, "startup": '{"done": "x"}', "stop": text}))).definition
    for image in (None, "debian:12"):
        found = render(definition, values={"SERVER_NAME": text[:20]}, image=image, primary_port=25565)
        everything = json.dumps([found.env, found.startup, found.command, found.process_command, found.stop.command]) + str(found.config_files)
        assert CANARY not in everything
        assert os.environ["PATH"] not in everything
        assert "49" not in everything.replace("2.49", "")
        assert set(found.env) == {
            "SERVER_NAME",
            "TZ",
            "STARTUP",
            "SERVER_MEMORY",
            "SERVER_IP",
            "SERVER_PORT",
            "P_SERVER_UUID",
            "P_SERVER_LOCATION",
            "P_SERVER_ALLOCATION_LIMIT",
        }


def test_unknown_names_stay_as_they_are_written() -> None:
    definition = parse(encoded(egg_file(startup="./server {{NOBODY}} {{server.build.nothing}} [[ -f x ]] ${LEFT}"))).definition
    found = render(definition, values={}, image="debian:12", primary_port=1)
    assert "{{NOBODY}} {{server.build.nothing}} [[ -f x ]] ${LEFT}" in found.command[-1]


BRACKETS = (
    """if [[ "{{MODE}}" == on* && -n ${MODE} && ! {{MODE}} =~ ^off ]]; then echo "yes <{{MODE}}>"; fi; [[ -n "{{NONE}}" ]] || echo none; echo [[x]]"""
)


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not here")
@pytest.mark.parametrize("mode", ["on", "on; touch pwned", "on ]] || echo evil [[", "off"])
def test_what_is_in_double_brackets_is_the_shells_to_evaluate_and_values_in_it_stay_values(mode: str, tmp_path: Path) -> None:
    """C05: 249 startup lines of the corpus have `[[ ]]`. An image made for eggs gets them as they are written, another one a bash if it has one."""
    variables = [variable("MODE"), variable("NONE")]
    raw = rendered({"MODE": mode}, image=None, startup=BRACKETS, variables=variables)
    assert raw.env["STARTUP"] == BRACKETS
    found = rendered({"MODE": mode}, startup=BRACKETS, variables=variables)
    argv = [*(found.entrypoint or []), *found.command]
    env = {**found.env, "PATH": os.environ["PATH"]}
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.splitlines() == [*([f"yes <{mode}>"] if mode.startswith("on") else []), "none", "[[x]]"]
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []
    assert found.startup == BRACKETS.replace("{{MODE}}", mode).replace("${MODE}", mode).replace("{{NONE}}", "")


def test_every_spelling_of_configuration_placeholders_is_understood() -> None:
    keys = [
        "server.build.default.port",
        "server.allocations.default.port",
        "server.build.env.SERVER_NAME",
        "server.environment.SERVER_NAME",
        "env.SERVER_NAME",
        "SERVER_NAME",
        "env.SERVER_PORT",
        "server.build.memory",
        "server.build.default.ip",
        "server.build.env.SERVER_PORT",
        "server.build.env.SERVER_MEMORY",
        "server.build.env.SERVER_IP",
    ]
    find = {key: f"<{{{{{key}}}}}>" for key in keys} | {
        "unknown": "<{{server.build.env.NOPE}}>",
        "[[a]]": "[[ {{env.SERVER_NAME}} ]]",
        "node": "{{config.docker.interface}}",
        "n": 5,
        "b": True,
    }
    files = json.dumps({"{{SERVER_PORT}}.cfg": {"parser": "yaml", "find": find}})
    found = rendered({"SERVER_NAME": "Name"}, config={"files": files, "startup": '{"done": "x"}', "stop": "x"}).config_files[0]
    assert found.path == "25565.cfg"
    values = dict(found.find)
    expected = ["25565", "25565", "Name", "Name", "Name", "Name", "25565", "512", "0.0.0.0", "25565", "512", "0.0.0.0"]
    assert [values[key] for key in keys] == [f"<{text}>" for text in expected]
    assert (values["unknown"], values["node"], values["n"], values["b"]) == ("<>", "{{config.docker.interface}}", 5, True)
    assert values["[[a]]"] == "[[ Name ]]", "double brackets mean nothing in a file"


def test_people_see_the_line_filled_in_but_for_hidden_values() -> None:
    found = rendered(
        {"SERVER_NAME": "{{SECRET}} ${SECRET}"},
        variables=[variable("SERVER_NAME"), variable("SECRET", default_value=CANARY, user_viewable=False)],
    )
    assert found.startup == "./server --port 25565 --name {{SECRET}} ${SECRET}", "what a value says is no placeholder"
    definition = parse(
        encoded(egg_file(startup="./x {{SECRET}} ${SECRET}", variables=[variable("SECRET", default_value=CANARY, user_viewable=False)]))
    ).definition
    assert render(definition, values={}, image="debian:12").startup == "./x [hidden] [hidden]"


@pytest.mark.parametrize(
    ("stop", "signal", "command"),
    [
        ("^C", "SIGINT", ""),
        ("^c", "SIGINT", ""),
        ("^SIGTERM", "SIGTERM", ""),
        ("^sigint", "SIGINT", ""),
        ("^SIGABRT", "SIGABRT", ""),
        ("^^C", "SIGKILL", ""),
        ("^X", "SIGKILL", ""),
        ("^SIGKILL", "SIGKILL", ""),
        ("^C ^C", "SIGKILL", ""),
        ("stop", "SIGTERM", "stop"),
        ("/quit 5", "SIGTERM", "/quit 5"),
        (None, "SIGTERM", ""),
        ("", "SIGTERM", ""),
    ],
)
def test_stop_is_a_signal_or_a_line(stop: str | None, signal: str, command: str) -> None:
    found = rendered(config={"files": "{}", "startup": "{}", "stop": stop}).stop
    assert (found.signal, found.command) == (signal, command)


def test_values_are_checked_by_name_rule_and_right() -> None:
    variables = [
        variable("LEVEL", default_value="5", rules="required|integer|between:1,9"),
        variable("OWNED", default_value="x", user_editable=False),
        variable("BROKEN_HIDDEN", rules="required", user_viewable=False, user_editable=False),
        variable("BROKEN_OPEN", rules="required"),
    ]

    def errors(values: dict[str, str], *, privileged: bool) -> dict[str, str]:
        return {error.field: error.code for error in rendered(values, variables=variables, privileged=privileged).errors}

    missing = {"variables.BROKEN_OPEN": "required"}
    assert errors({}, privileged=False) == missing
    assert errors({"BROKEN_OPEN": "v"}, privileged=False) == {}
    assert errors({"LEVEL": "77", "BROKEN_OPEN": "v"}, privileged=False) == {"variables.LEVEL": "between"}
    assert errors({"NOPE": "1", "BROKEN_OPEN": "v"}, privileged=False) == {"variables.NOPE": "unknown_variable"}
    assert errors({"OWNED": "y", "BROKEN_OPEN": "v"}, privileged=False) == {"variables.OWNED": "not_editable"}
    assert errors({"OWNED": "y", "BROKEN_OPEN": "v"}, privileged=True) == {}
    assert errors({"LEVEL": "5\x00", "BROKEN_OPEN": "v"}, privileged=True) == {"variables.LEVEL": "invalid"}
    assert errors({"level": "6", "broken_open": "v"}, privileged=False) == {}, "names are found in any case"


def test_an_image_that_is_none_is_an_error_and_not_an_exception() -> None:
    """C08."""
    for image in ("--privileged", "a b", "Upper", "x" * 300, "http://x/y", "a:b:c", "-v", "a@sha256:zz", "a//b", "a\nb"):
        assert any(error.field == "image" for error in rendered(image=image).errors), image


@pytest.mark.parametrize(
    ("line", "made"),
    [
        ("java -jar {{JAR}}", "exec java -jar ${JAR}"),
        ("./run", "exec ./run"),
        ("exec ./run", "exec ./run"),
        ("cd x && ./run", "cd x && ./run"),
        ("A=1 ./run", "A=1 ./run"),
        ("if true; then ./run; fi", "if true; then ./run; fi"),
        ("./a | tee log", "./a | tee log"),
        ("(./run)", "(./run)"),
        ("./run $(cat x)", "./run $(cat x)"),
        ("./run\n./again", "./run\n./again"),
    ],
)
def test_a_single_command_replaces_the_shell_so_that_signals_reach_it(line: str, made: str) -> None:
    definition = parse(encoded(egg_file(startup=line, variables=[variable("JAR")]))).definition
    assert render(definition, values={}, image="debian:12").command == [made]
