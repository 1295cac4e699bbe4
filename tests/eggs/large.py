"""Files as large as may come in, each made so that some parser would be slow with it or hungry."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.eggs.conftest import egg_file, variable

N = 1_000_000


def _egg(**changes: Any) -> Callable[[], bytes]:
    return lambda: json.dumps(egg_file(**changes)).encode()


def _compose(**service: Any) -> Callable[[], bytes]:
    return lambda: json.dumps({"services": {"a": {"image": "a", **service}}}).encode()


def _family() -> bytes:
    base = {"image": "a", "environment": [f"N{n}" for n in range(1900)]}
    return json.dumps({"services": {"a": base} | {f"s{n}": {"extends": "a", "environment": ["A=1"]} for n in range(15_000)}}).encode()


def _keys() -> bytes:
    return b",".join(b"k%d: 1" % n for n in range(1500))


def _portainer(template: dict[str, Any]) -> Callable[[], bytes]:
    return lambda: json.dumps([{"title": "t", "image": "a", **template}]).encode()


def _config(files: Any) -> Callable[[], bytes]:
    return _egg(config={"files": files, "startup": {}, "stop": "x"})


def _fits(piece: str, *, end: str = "", room: int = 900_000) -> str:
    return piece * (room // len(piece.encode())) + end


LARGE: dict[str, tuple[Callable[[], bytes], str]] = {
    "json: open lists": (lambda: b"[" * N, "json"),
    "json: open maps": (lambda: b'{"a":' * (N // 5), "json"),
    "json: small maps": (lambda: b"[" + b"{}," * (N // 3 - 2) + b"{}]", "json"),
    "json: small lists": (lambda: b"[" + b"[]," * (N // 3 - 2) + b"[]]", "json"),
    "json: keys": (lambda: b"{" + b",".join(b'"%d":1' % n for n in range(90_000)) + b"}", "json"),
    "json: the same key": (lambda: b"{" + b'"a":1,' * 160_000 + b'"a":1}', "json"),
    "json: escapes": (lambda: b'"' + b"\\u00e4" * 160_000 + b'"', "json"),
    "json: a number": (lambda: b"9" * N, "json"),
    "json: a fraction": (lambda: b"0." + b"9" * (N - 2), "json"),
    "json: blanks": (lambda: b" " * (N - 2) + b"{}", "json"),
    "yaml: open lists": (lambda: b"[" * N, "yaml"),
    "yaml: open maps": (lambda: b"{" * N, "yaml"),
    "yaml: open items": (lambda: b"- " * (N // 2), "yaml"),
    "yaml: open keys": (lambda: b"? " * (N // 2), "yaml"),
    "yaml: steps": (lambda: "".join(" " * n + "a:\n" for n in range(1400)).encode(), "yaml"),
    "yaml: items": (lambda: b"- a\n" * (N // 4), "yaml"),
    "yaml: words in a list": (lambda: b"[" + b"a," * (N // 2 - 1) + b"]", "yaml"),
    "yaml: keys": (lambda: b"".join(b"k%d: 1\n" % n for n in range(90_000)), "yaml"),
    "yaml: one long word": (lambda: b"a" * N, "yaml"),
    "yaml: one long key": (lambda: b"a" * (N - 4) + b": 1\n", "yaml"),
    "yaml: a word of many lines": (lambda: b"a: b\n" + b"  c\n" * (N // 4 - 2), "yaml"),
    "yaml: a block": (lambda: b"a: |\n" + b"  c\n" * (N // 4 - 2), "yaml"),
    "yaml: a folded block": (lambda: b"a: >\n" + b" c\n\n" * (N // 4 - 2), "yaml"),
    "yaml: an empty block": (lambda: b"a: |\n" + b"\n" * (N - 6), "yaml"),
    "yaml: quotes": (lambda: b'a: "' + b"\\x41" * (N // 4 - 3) + b'"', "yaml"),
    "yaml: an open quote": (lambda: b'a: "' + b"b\n " * (N // 3 - 2), "yaml"),
    "yaml: comments": (lambda: b"#\n" * (N // 2), "yaml"),
    "yaml: one comment": (lambda: b"a: 1 #" + b"x" * (N - 7), "yaml"),
    "yaml: anchors": (lambda: b"".join(b"- &a%d x\n" % n for n in range(70_000)), "yaml"),
    "yaml: one long anchor": (lambda: b"&" + b"a" * (N - 3) + b" x", "yaml"),
    "yaml: aliases": (lambda: b"- &a x\n" + b"- *a\n" * (N // 5 - 2), "yaml"),
    "yaml: aliases of a large text": (lambda: b"- &a " + b"x" * 900_000 + b"\n" + b"- *a\n" * 31, "yaml"),
    "yaml: aliases of many values": (lambda: b"- &a [" + b"x," * 40_000 + b"]\n" + b"- *a\n" * 31, "yaml"),
    "yaml: merges": (lambda: b"a: &a {" + _keys() + b"}\n" + b"".join(b"b%d: {<<: *a}\n" % n for n in range(31)), "yaml"),
    "yaml: tags": (lambda: b"- !!str x\n" * (N // 10), "yaml"),
    "yaml: one long tag": (lambda: b"!" + b"a" * (N - 3) + b" x", "yaml"),
    "yaml: directives": (lambda: b"%TAG ! !x\n" * (N // 10), "yaml"),
    "yaml: documents": (lambda: b"---\n" * (N // 4), "yaml"),
    "yaml: tabs": (lambda: b"a:" + b"\t" * (N - 3) + b"b", "yaml"),
    "yaml: blanks": (lambda: b" " * (N - 1) + b"a", "yaml"),
    "yaml: colons": (lambda: b"a" + b":" * (N - 2), "yaml"),
    "yaml: keys in a line": (lambda: b"a: " * (N // 3), "yaml"),
    "yaml: numbers": (lambda: b"[" + b"1.5e3," * 49_000 + b"1]", "yaml"),
    "yaml: one long number": (lambda: b"a: 1" + b"0" * (N - 5), "yaml"),
    "egg: images": (_egg(docker_images={f"label {n}": f"registry.example.org/team/image:{n}" for n in range(14_000)}), "json"),
    "egg: one long image": (_egg(docker_images={"a": "a/" * 400_000 + "b"}), "json"),
    "egg: variables": (_egg(variables=[variable(f"V{n}", rules="required|in:a,b") for n in range(5_400)]), "json"),
    "egg: rules": (_egg(variables=[variable("A", rules=_fits("min:1|"))]), "json"),
    "egg: other rules": (_egg(variables=[variable("A", rules=[f"max:{n}" for n in range(80_000)])]), "json"),
    "egg: a choice": (_egg(variables=[variable("A", default_value="x", rules="in:" + _fits("a,"))]), "json"),
    "egg: a choice in quotes": (_egg(variables=[variable("A", default_value="x", rules="in:" + _fits('"a""",', room=500_000))]), "json"),
    "egg: patterns": (_egg(variables=[variable("A", default_value="a" * 40 + "!", rules=["regex:/^(a+)+$/"] * 9)]), "json"),
    "egg: different patterns": (_egg(variables=[variable("A", rules=[f"regex:/{'a?' * 40}{n}/" for n in range(9_000)])]), "json"),
    "egg: one long pattern": (_egg(variables=[variable("A", rules=["regex:/" + _fits("(a|b)") + "/"])]), "json"),
    "egg: bars in patterns": (_egg(variables=[variable("A", rules="regex:/" + _fits("/|"))]), "json"),
    "egg: many regex rules in one text": (_egg(variables=[variable("A", rules=_fits("regex:/a/|"))]), "json"),
    "egg: open braces": (_egg(startup="x" + _fits("{{ ")), "json"),
    "egg: placeholders": (_egg(startup="x" + _fits("{{SERVER_PORT}} ")), "json"),
    "egg: one long placeholder": (_egg(startup="x{{" + _fits("a") + "}}"), "json"),
    "egg: open dollars": (_egg(startup="x" + _fits("${A")), "json"),
    "egg: blanks": (_egg(startup="x" + _fits(" ") + "y"), "json"),
    "egg: bash": (_egg(startup="x" + _fits("$'[[ <<< =~ ${A")), "json"),
    "egg: assignments": (_egg(startup=_fits("A=1 ", end="x")), "json"),
    "egg: a long install script": (_egg(scripts={"installation": {"script": _fits("\r\n", room=400_000) + "x", "container": "a"}}), "json"),
    "egg: config files": (_config({f"f{n}": {"parser": "file", "find": {"a": "b"}} for n in range(16_000)}), "json"),
    "egg: finds": (_config({"f": {"parser": "file", "find": {f"k{n}": "{{env.X}}" for n in range(38_000)}}}), "json"),
    "egg: nested finds": (_config('{"f":{"find":' + '{"a":' * 50 + "1" + "}" * 52), "json"),
    "egg: json in json": (_config("[" * 900_000), "json"),
    "egg: done": (_egg(config={"files": {}, "startup": {"done": ["a"] * 200_000}}), "json"),
    "egg: tags": (_egg(tags=["a"] * 200_000), "json"),
    "egg: deny list": (_egg(file_denylist=[f"{n}" for n in range(90_000)]), "json"),
    "egg: startup commands": (_egg(meta={"version": "PLCN_v3"}, startup_commands={f"c{n}": "x" for n in range(60_000)}), "json"),
    "egg: a picture": (_egg(icon="data:image/png;base64," + _fits("A")), "json"),
    "egg: blanks in a picture": (_egg(icon="data:image/png;base64,iVBORw0KGgo=" + _fits(" ", room=390_000)), "json"),
    "egg: restored variables": (_egg(lormas={"restore": {"variables": [{"index": 0, "of": "SERVER_NAME", "name": "x"}] * 15_000}}), "json"),
    "egg: privileges": (_egg(lormas={"privileges": [{"kind": "bind", "value": "/" + "a/" * 500 + "b:/x"}] * 800}), "json"),
    "egg: one long path": (_egg(lormas={"data_target": "/" + _fits("a/"), "working_dir": "/" + "a" * 50_000}), "json"),
    "egg: control characters": (_egg(description=_fits("\u2028\x7f:", room=300_000)), "json"),
    "portainer: templates": (lambda: json.dumps([{"title": f"t{n}", "image": "a"} for n in range(24_000)]).encode(), "json"),
    "portainer: environment": (_portainer({"env": [{"name": f"N{n}"} for n in range(40_000)]}), "json"),
    "portainer: choices": (_portainer({"env": [{"name": "N", "select": [{"value": "x", "text": "y"}] * 25_000}]}), "json"),
    "portainer: open tags": (_portainer({"note": _fits("<a "), "description": _fits("<!--")[:90_000]}), "json"),
    "portainer: entities": (_portainer({"note": _fits("&#x41;"), "description": _fits("<![CDATA[")[:90_000]}), "json"),
    "portainer: a command": (_portainer({"command": _fits("a ")}), "json"),
    "portainer: ports": (_portainer({"ports": ["1-64/tcp"] * 60_000}), "json"),
    "portainer: volumes": (_portainer({"volumes": [{"bind": "/a", "container": "/b"}] * 20_000}), "json"),
    "compose: services": (lambda: json.dumps({"services": {f"s{n}": {"image": "a"} for n in range(38_000)}}).encode(), "json"),
    "compose: interpolations": (_compose(command=_fits("${A:-b} ")), "json"),
    "compose: open interpolations": (_compose(command=_fits("${A:-")), "json"),
    "compose: a quoted command": (_compose(command=_fits("'a' ")), "json"),
    "compose: environment": (_compose(environment=[f"N{n}=${{M{n}}}" for n in range(45_000)]), "json"),
    "compose: nested interpolations": (_compose(command=_fits("${A:-${B:-")), "json"),
    "compose: interpolations in one": (_compose(command="${A:-" + _fits("${B}")), "json"),
    "compose: a family": (_family, "json"),
    "compose: durations": (_compose(healthcheck={"test": "x", "interval": _fits("1s")}), "json"),
    "compose: ports": (_compose(ports=["1-64:1-64"] * 60_000), "json"),
}  # fmt: skip
