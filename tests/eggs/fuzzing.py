"""The fuzzer of everything that reads eggs, in a process of its own: `python -m tests.eggs.fuzzing KIND SEED COUNT`.

An input may cost 2 s of processor time and 256 MB at most, and may end in nothing but a refusal. The first that does otherwise is written to
`crash-<kind>` in the working folder and named on stderr; put it (smaller) into `corpus/`, where every run begins with it.
"""

from __future__ import annotations

import json
import random
import resource
import signal
import string
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 2.0
BYTES = 256 * 1024 * 1024
LIMIT = 1_000_000
ODD: list[Any] = [
    None,
    True,
    0,
    -1,
    1.5,
    10**18,
    "",
    " ",
    "x",
    "\u202e",
    "{{X}}",
    "${X}",
    "^C",
    "regex:(",
    "--privileged",
    [],
    [None],
    {},
    {"": None},
]
SCRAPS = [
    b"{", b"}", b"[", b"]", b'"', b"'", b":", b": ", b",", b"\n", b"\r", b"\t", b" ", b"-", b"- ", b"? ", b"&a ", b"*a", b"<<: *a",
    b"!!", b"!<", b"|\n", b">-\n",
    b"%YAML 1.2\n", b"---\n", b"...\n", b"#",
    b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"1e999", b"-0", b"null", b"true", b"~",
    b"{{", b"}}", b"${", b"[[", b"]]", b"regex:", b"|", b"PLCN_v3", b"services:", b"templates:", b"<script>", b"data:image/png;base64,",
]  # fmt: skip


class TooSlow(BaseException):
    """Past 2 s of processor time. No subclass of Exception: no parser can swallow it."""


def _late(*_: Any) -> None:
    raise TooSlow


def mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    """One seed with a few bytes, scraps and pieces changed, moved, repeated or cut."""
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 6)):
        at, size = chance.randrange(len(data) + 1), chance.randrange(1, 40)
        how = chance.randrange(7)
        if how == 0:
            data[at : at + 1] = bytes([chance.randrange(256)])
        elif how == 1:
            data[at:at] = chance.choice(SCRAPS) * chance.choice((1, 1, 2, 50))
        elif how == 2:
            del data[at : at + size]
        elif how == 3:
            data[at:at] = data[at : at + size] * chance.choice((1, 2, 30))
        elif how == 4:
            other = chance.choice(seeds)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + size * 5]
        elif how == 5:
            data[at : at + size] = chance.choice(SCRAPS)
        else:
            data = data[: max(1, at)]
    return bytes(data[:LIMIT])


def reshaped(chance: random.Random, value: Any) -> Any:
    """Plain data with a few of its values changed for odd ones, or put where others belong."""
    if chance.random() < 0.06:
        return chance.choice(ODD)
    if isinstance(value, dict):
        made = {key: reshaped(chance, child) for key, child in value.items() if chance.random() > 0.03}
        if made and chance.random() < 0.1:
            made[chance.choice([*made, "image", "lormas", "x"])] = chance.choice([*made.values(), *ODD])
        return made
    if isinstance(value, list):
        made_list = [reshaped(chance, child) for child in value]
        return made_list * chance.choice((1, 1, 1, 2)) if chance.random() > 0.03 else value[:1]
    if isinstance(value, str) and chance.random() < 0.1:
        at = chance.randrange(len(value) + 1)
        return value[:at] + chance.choice(SCRAPS).decode(errors="replace") + value[at:]
    return value


def files() -> list[tuple[bytes, str]]:
    """The corpus: (content, name)."""
    return [(path.read_bytes(), path.name) for path in sorted(CORPUS.iterdir())]


def as_text(chance: random.Random, *, most: int = 60) -> str:
    """A short text of the characters that mean something to one of the parsers."""
    return "".join(chance.choices(string.printable + "äß{}$|:,()[]*+?\\^/\u202e\x00", k=chance.randrange(most)))


def everything(data: bytes, name: str) -> None:
    """Read a file and do with its eggs all that the panel does with an egg that came in."""
    from eggs.definition import EggDefinition
    from eggs.diffing import differences
    from eggs.formats import EggRefused, export, parse_all

    try:
        found = parse_all(data, filename=name).eggs
    except EggRefused:
        return
    for one in found[:3]:
        egg = one.definition
        again = EggDefinition.from_json(json.loads(json.dumps(egg.to_json())))
        assert again.digest() == egg.digest()
        use(egg, {})
        export.as_json(export.ptdl_v2(egg))
        export.as_yaml(export.plcn_v3(egg))
        differences(found[0].definition, egg, manager=True)


def use(egg: Any, values: dict[str, str]) -> None:
    """Render, mask, and ask for values."""
    from eggs.controls import controls_of
    from eggs.rendering import masked, render

    rendered = render(egg, values=values, primary_port=25565, memory_bytes=2**30)
    masked(egg, rendered)
    controls_of(egg, values)


def bytes_of_files(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Text that is nearly an egg."""
    corpus = files()
    for data, name in corpus:
        yield data, lambda data=data, name=name: everything(data, name)  # type: ignore[misc]
    for _ in range(count):
        suffix = chance.choice(("json", "yaml"))
        data = mutated(chance, [data for data, name in corpus if name.endswith(suffix)])
        yield data, lambda data=data, suffix=suffix: everything(data, f"x.{suffix}")  # type: ignore[misc]


def shapes_of_eggs(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Good JSON with wrong things in it."""
    from eggs.formats import EggRefused
    from eggs.formats.reading import read
    from eggs.problems import Warnings

    seeds = []
    for data, name in files():
        try:
            seeds.append(read(data, filename=name, warnings=Warnings()))
        except EggRefused:
            continue
    for _ in range(count):
        data = json.dumps(reshaped(chance, chance.choice(seeds))).encode()
        yield data, lambda data=data: everything(data, "x.json")  # type: ignore[misc]


def rules_and_values(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Rules (patterns too), the control they give, and values."""
    from eggs import rules
    from eggs.controls import look_of

    names = sorted(rules._KNOWN)
    for _ in range(count):
        text = "|".join(f"{chance.choice(names)}:{as_text(chance, most=24)}" for _ in range(chance.randrange(4))) + as_text(chance, most=6)
        value = as_text(chance)

        def run(text: str = text, value: str = value) -> None:
            found = rules.split(text)
            rules.broken(found, value)
            look_of(found, name=value)

        yield (text, value), run


def values_of_eggs(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Good eggs with any values."""
    from eggs.formats import EggRefused, parse

    eggs = []
    for data, name in files():
        try:
            eggs.append(parse(data, filename=name).definition)
        except EggRefused:
            continue
    for _ in range(count):
        egg = chance.choice(eggs)
        values = {v.env_variable: as_text(chance) for v in egg.variables} | {as_text(chance, most=6): "x"}
        yield values, lambda egg=egg, values=values: use(egg, values)  # type: ignore[misc]


def pictures_and_html(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Icons, and descriptions that are HTML."""
    from eggs import pictures
    from eggs.formats.plain import plain_text

    seeds = [b"data:image/png;base64,iVBORw0KGgo=", b"<p>a<script>x</script><!-- b --><a href='x'>c</a>&amp;&#x41;&bogus;<![CDATA[x]]></p>"]
    for _ in range(count):
        text = mutated(chance, seeds).decode(errors="replace")

        def run(text: str = text) -> None:
            said = pictures.sanitised(text)
            assert not said or pictures.read(said)
            plain_text(text)

        yield text, run


def large_inputs(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """Up to the size limit: whatever a parser could be slow or hungry with."""
    from tests.eggs.large import LARGE

    for name, (make, suffix) in LARGE.items():
        yield name, lambda make=make, suffix=suffix: everything(make()[:LIMIT], f"x.{suffix}")  # type: ignore[misc]


CONFIGS: dict[str, tuple[bytes, ...]] = {
    "properties": (b"#c\nserver-port=1\nmotd = \\u00a7a b\\\n  c\nx:y\n",),
    "file": (b"set port 1\r\n// name\nname=x\n",),
    "json": (b'{"a": {"b": [1, {"c": "d"}], "e.f": true}, "g": null}\n',),
    "yaml": (b"# c\na: &x {b: 1}\nlist:\n  - host: 'h'\n    port: 1\n  - *x\ntext: |\n  one\n  two\n",),
    "ini": (b"; c\n[s.t/u]\nkey = value ; c\nnone\n[other]\na: b\n",),
    "xml": (b"<?xml version='1.0'?>\n<!-- c --><a><b x='1'>t</b><b/><c><![CDATA[d]]></c></a>\n",),
    "toml": (b'# c\na = 1\n[b.c]\nd = ["x", 1.5]\n[[e]]\nf = {g = true}\n[[e]]\nf = {}\n',),
}
FINDS: list[Any] = [
    "a",
    "a.b",
    "a.*.b",
    "list[0].port",
    "list.*",
    "s.t",
    "[s.t/u].key",
    "e[1].f.g",
    "motd",
    "set port",
    "a.b.c.d.e",
    "",
    ".",
    "a..b",
    "x[99]",
]
WANTED: list[Any] = ["v", "", "5", True, 7, {"1": "2"}, {"regex:^(.*)$": "$1x"}, "[x='1']", "\u202e\n<>&\\"]
DEEP: list[tuple[str, bytes]] = [
    *[(parser, piece * 8000) for parser in ("json", "yaml", "toml", "ini", "xml") for piece in (b"[", b"{", b"{a: ", b"- ", b"<a>", b"a.", b"\n [")],
    ("yaml", b"a: &a [x,x]\n" + b"".join(b"%c: &%c [*%c,*%c]\n" % (n + 1, n + 1, n, n) for n in range(97, 121))),
    ("yaml", b"<<: " * 3000), ("yaml", b"? " * 5000), ("yaml", b"&a " * 5000), ("toml", b"[" + b"a." * 7000 + b"a]\n"),
    ("toml", b"a" + b".a" * 7000 + b" = 1\n"),
    ("xml", b"<!DOCTYPE a [" + b"".join(b'<!ENTITY e%d "&e%d;&e%d;">' % (n + 1, n, n) for n in range(60)) + b"]><a>&e60;</a>"),
    ("xml", b"<a " + b"".join(b"b%d='1' " % n for n in range(6000)) + b"/>"), ("properties", b"a\\\n" * 12_000), ("ini", b"[a]\n" * 12_000),
    ("json", b'{"a":' + b"1" * 60_000 + b"}"), ("yaml", b"a: " + b"1" * 15_000), ("toml", b"a = " + b"1" * 15_000),
    ("json", b'"' + b"\\" * 60_001 + b'"'),
]  # fmt: skip


def configs(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """What a container's own configuration files may be: as large as they are read in the agent itself (the rest has a process with limits)."""
    from agent.configfiles import ConfigProblem, rewrite
    from agent.configfiles.worker import SMALL_BYTES, SMALL_BYTES_ELSE

    def case(parser: str, data: bytes) -> tuple[Any, Callable[[], None]]:
        finds = [(chance.choice(FINDS), chance.choice(WANTED)) for _ in range(chance.randrange(1, 4))]
        data = data[: SMALL_BYTES.get(parser, SMALL_BYTES_ELSE)]

        def run() -> None:
            try:
                assert isinstance(rewrite(parser, data, finds), bytes)
            except ConfigProblem as problem:
                assert str(problem)

        return f"{parser} {finds!r} {data!r}", run

    for parser, seeds in CONFIGS.items():
        case(parser, seeds[0])[1]()  # the imports are nobody's cost
    for parser, data in DEEP:
        yield case(parser, data)
    for _ in range(count):
        parser = chance.choice(list(CONFIGS))
        yield case(parser, mutated(chance, list(CONFIGS[parser])))


def faults(chance: random.Random, count: int) -> Iterator[tuple[Any, Callable[[], None]]]:
    """What the fuzzer itself must notice; `count` 0: an error, -1: hunger, -2: a hang."""

    def hang() -> None:
        while True:
            pass

    yield "fault", [lambda: divmod(1, count), lambda: bytearray(BYTES * 2), hang][-count]


KINDS: dict[str, Callable[[random.Random, int], Iterator[tuple[Any, Callable[[], None]]]]] = {
    "bytes": bytes_of_files, "shapes": shapes_of_eggs, "rules": rules_and_values, "values": values_of_eggs, "pictures": pictures_and_html,
    "large": large_inputs, "configs": configs, "faults": faults,
}  # fmt: skip


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def main(kind: str, seed: int, count: int) -> int:
    everything(*files()[0])  # imports and caches are nobody's cost
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, resource.RLIM_INFINITY))
    signal.signal(signal.SIGPROF, _late)
    tried, slowest, which = 0, 0.0, ""
    for given, run in KINDS[kind](random.Random(seed), count):
        begun = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            run()
        except BaseException as error:
            signal.setitimer(signal.ITIMER_PROF, 0)
            Path(f"crash-{kind}").write_bytes(given if isinstance(given, bytes) else repr(given).encode())
            _say(f"{kind} {seed}: {type(error).__name__} {error} on {given[:300] if isinstance(given, bytes) else repr(given)[:300]}")
            if "-v" in sys.argv:
                raise
            return 1
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        cost = time.process_time() - begun
        tried += 1
        if cost > slowest:
            slowest, which = cost, given[:60].decode(errors="replace") if isinstance(given, bytes) else str(given)[:60]
        if "-v" in sys.argv and kind == "large":
            _say(f"{cost:.3f} {given}")
    sys.stdout.write(json.dumps({"tried": tried, "slowest_seconds": round(slowest, 3), "which": which}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
