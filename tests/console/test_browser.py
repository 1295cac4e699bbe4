"""The console in a real browser against a real panel; the node is played over the bus."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from containers.models import StatsSample
from lormas import assets
from lormas.common import clock
from tests import axe
from tests.chromium import complaint, launched, opened
from tests.console.conftest import make_container
from tests.console.puppet import Puppet
from tests.nodes.rig import Panel, panel_of_a_module
from tests.rights.conftest import give

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]
MOST_SCRIPT_BYTES = 150 * 1024


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    assets.build()
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"  # playwright's sync API has a loop running in this thread


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with launched() as browser:
        yield browser


panel_process = panel_of_a_module(NODE_INACTIVE_SECONDS="600", NODE_NOT_READY_SECONDS="600")


@pytest.fixture
def panel(transactional_db: None, panel_process: Panel) -> Panel:
    if not panel_process.alive:
        panel_process.start()
    return panel_process


@pytest.fixture
def puppet(node: Any) -> Iterator[Puppet]:
    played = Puppet(node.pk).start()
    yield played
    played.stop()


def test_of_the_kit_is_built_in_what_pages_name() -> None:
    sheet = (assets.DIST / "app.css").read_text(encoding="utf-8")
    assert ".d-block" in sheet and "box-sizing:border-box" in sheet, "named by a page; what every page stands on"
    assert ".accordion-button" not in sheet and len(sheet) < 200_000


class Visitor:
    """One person's browser window; collects what the console complains of."""

    def __init__(self, page: Any, panel: Panel) -> None:
        self.page = page
        self.panel = panel
        self.complaints: list[str] = []
        page.on("console", lambda m: self.complaints.append(m.text) if complaint(m) else None)
        page.on("pageerror", lambda e: self.complaints.append(str(e)))
        page.on("dialog", lambda d: (self.complaints.append("dialog"), d.dismiss()))

    def go(self, path: str) -> Any:
        response = opened(self.page, self.panel.url + path)
        assert response.status < 400, path
        return self.page

    def until(self, script: str, *, seconds: float = 60, between: Callable[[], None] = lambda: None) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:  # not wait_for_function: it needs eval, which the policy forbids
            between()
            if found := self.page.evaluate(script):
                return found
            self.page.wait_for_timeout(50)
        raise AssertionError(f"not within {seconds} s: {script}")


@pytest.fixture
def visit(chromium: Any, panel: Panel) -> Iterator[Callable[..., Visitor]]:
    from django.conf import settings
    from django.test import Client

    contexts = []

    def inner(user: Any = None, *, by_password: bool = False, **options: Any) -> Visitor:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        if user is not None:
            client = Client()
            if by_password:  # pages about credentials want to have seen it lately
                assert client.post("/login", {"login": user.username, "password": "correct horse battery"}).status_code == 302
            else:
                client.force_login(user, backend="accounts.backends.EmailOrUsernameBackend")
            context.add_cookies(
                [{"name": settings.SESSION_COOKIE_NAME, "value": client.cookies[settings.SESSION_COOKIE_NAME].value, "url": panel.url}]
            )
        return Visitor(context.new_page(), panel)

    yield inner
    for context in contexts:
        context.close()


def addresses(web: Any, node: Any, egg: Any, failed: Any, pending: Any) -> list[str]:
    from accounts.models import User
    from reservations.models import Machine

    alice = User.objects.get(username="alice")
    machine = Machine.objects.create(name="m-1", host="192.0.2.1")
    one, it, known = f"/containers/{web.pk}", f"/nodes/{node.pk}", f"/eggs/{egg.pk}"
    containers = ["/containers", "/containers/new", "/containers/new?source=image", f"/containers/new?egg={egg.pk}"]
    details = [
        one,
        *(
            f"{one}/{tab}"
            for tab in ("stats", "files", "terminal", "settings", "backups", "schedules", "schedules/new", "access", "activity", "move", "delete")
        ),
    ]
    fleet = ["/nodes", "/nodes/new", it, f"{it}/edit", f"{it}/access", f"/nodes/{pending.pk}", "/operations", f"/operations/{failed.pk}"]
    shared = [f"/machines/{machine.pk}/access", f"{known}/activity"]  # one template for all kinds
    people = [
        "/users",
        "/users/new",
        "/users/invite",
        f"/users/{alice.pk}",
        f"/users/{alice.pk}/delete",
        "/roles",
        "/roles/new",
        "/recordings",
        "/backup-destinations",
        "/audit",
    ]
    own = ["/settings", "/settings/keys", "/settings/sessions", "/settings/totp", "/settings/email", "/confirm", "/profile", "/password"]
    return ["/", *containers, *details, *fleet, "/eggs", known, "/eggs/import", *shared, *people, f"/roles/{alice.role_id}", *own]


STRANGERS = ("/login", "/signup", "/password/forgot")


STICKS_OUT = """[...document.querySelectorAll("main .tbl")].filter(table => {
  const card = table.parentElement;
  return getComputedStyle(card).overflowX === "visible" && table.getBoundingClientRect().right > card.getBoundingClientRect().right + 1;
}).map(table => table.innerText.slice(0, 120))"""
"""Tables that are wider than the card they stand in, which does not scroll."""


PARTS = 3
"""So that no test comes near its time limit on a slow machine, however many pages the console gets."""


@pytest.mark.parametrize("part", range(PARTS))
def test_no_page_has_a_serious_finding_of_axe_a_complaint_or_a_sideways_scroll(
    part: int, visit: Callable[..., Visitor], root: Any, web: Any, node: Any, egg: Any, failed: Any, pending: Any
) -> None:
    """WCAG 2.2 AA in both themes; 360 px wide without a horizontal scroll bar; no violation of the policy."""
    from accounts.models import User

    calm = {"reduced_motion": "reduce"}
    pages = addresses(web, node, egg, failed, pending)
    for number, seconds in enumerate((None, 3 * 3600.0)):  # the access page with somebody on it
        friend = User.objects.create_user(f"friend{number}@example.org", username=f"friend-of-the-house-{number}", role=web.owner.role)
        give(web.owner, web, friend, "containers.view", "containers.schedules", seconds=seconds)
    make_container("gone", root, node, status="missing", status_reason="Removed on the node, not through Lormas.")  # the dashboard's widest rows
    make_container("busy", root, node, cpus=0.25, stats={"cpu_percent": 12.5, "memory_bytes": 648 * 1024})
    themes = ["light", "dark"]
    for user, addressed in ((None, STRANGERS[part::PARTS]), (root, pages[part::PARTS])):
        visitor = visit(user, by_password=user is not None, color_scheme=themes[0], **calm)
        axe.bring(visitor.page)
        phone = visit(user, by_password=user is not None, viewport={"width": 360, "height": 740}, has_touch=True, **calm)
        for address in addressed:
            page = visitor.go(address)
            bad = axe.seriously_wrong(page, themes[0])
            assert not bad, f"{address} {themes[0]}: {bad}"
            assert not (out := page.evaluate(STICKS_OUT)), f"{address}: {out}"
            themes.reverse()  # the next page is opened in the theme that this one is left in
            page.emulate_media(color_scheme=themes[0])
            page.evaluate(axe.STILL, themes[0])
            bad = axe.seriously_wrong(page, themes[0], axe.CONTRAST)
            assert not bad, f"{address} {themes[0]}: {bad}"
            assert phone.go(address).evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, address
        assert visitor.complaints == [] and phone.complaints == []


def test_signing_in_works_with_a_keyboard_and_without_javascript(visit: Callable[..., Visitor], alice: Any, web: Any) -> None:
    from django.contrib.auth.hashers import Argon2PasswordHasher

    hasher = Argon2PasswordHasher()  # the panel is a process of its own and knows only the real ones
    type(alice).objects.filter(pk=alice.pk).update(password=hasher.encode("correct horse battery", hasher.salt()))
    page = visit().go("/containers")
    page.keyboard.type("alice")
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse battery")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url.endswith("/containers") and "login" not in url)
    plain = visit(java_script_enabled=False).go("/login")
    plain.fill("[name=login]", "alice@example.org")
    plain.fill("[name=password]", "correct horse battery")
    plain.click("button[type=submit]")
    assert "/login" not in plain.url, plain.inner_text("main")
    opened(plain, plain.url.rstrip("/") + f"/containers/{web.pk}")
    plain.click(".pw-stop >> visible=true")
    assert plain.inner_text("#c-head .state") == "Stopping"


HOSTILE = [
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\x1b[31m<svg onload=window.pwned=1>\x1b[0m",
    "\x1b]8;;javascript:window.pwned=1\x1b\\click\x1b]8;;\x1b\\",
    "\x1b]52;c;cHduZWQ=\x07clipboard",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H\x1b[?1049halt screen\x1b[6n",
    "javascript:window.pwned=1 data:text/html,x http://good.example/a?b=<i>",
    "\u202egnp.exe\u2066",
    "progress 10%\rprogress 100%",
    "\x1b[38;5;196mred\x1b[48;2;1;2;3mback\x1b[1;3;4;9mall",
    "\x1b[",
    "\x1b]8;;",
    "a" * 20_000,
]


def test_hostile_log_lines_stay_text(visit: Callable[..., Visitor], alice: Any, web: Any, puppet: Puppet) -> None:
    """F08, F09: text only, http(s) links only, no title, no clipboard, no other escape than colours."""
    puppet.say(web.pk, *HOSTILE)
    visitor = visit(alice)
    page = visitor.go(f"/containers/{web.pk}")
    visitor.until(f"document.querySelectorAll('.ln').length >= {len(HOSTILE)}")
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("[...document.querySelectorAll('.log-view *')].every(el => ['DIV', 'SPAN', 'TIME', 'A', 'MARK'].includes(el.tagName))")
    assert page.evaluate("[...document.querySelectorAll('.log-view a')].map(a => a.protocol)") == ["http:"]
    text = page.evaluate("[...document.querySelectorAll('.ln > span')].map(el => el.textContent)")
    assert text[0] == HOSTILE[0] and text[3] == "click" and text[4] == "clipboard" and text[6] == "alt screen" and text[9] == "progress 100%"
    assert not any(character in "".join(text) for character in "\x1b\x07\u202e\u2066")
    assert "Lormas" in page.title() and visitor.complaints == []


def test_the_log_goes_on_after_the_panel_was_away_with_every_line_once(
    visit: Callable[..., Visitor], alice: Any, web: Any, puppet: Puppet, panel: Panel
) -> None:
    puppet.say(web.pk, *(f"line {n}" for n in range(1, 41)))
    visitor = visit(alice)
    page = visitor.go(f"/containers/{web.pk}")
    visitor.until("document.querySelectorAll('.ln').length === 40")
    puppet.say(web.pk, "line 41")
    visitor.until("document.querySelectorAll('.ln').length === 41")
    panel.stop()
    visitor.until("!document.querySelector('#linkbar').hidden")
    assert page.evaluate("document.documentElement.dataset.link") == "off"
    puppet.say(web.pk, *(f"line {n}" for n in range(42, 61)))
    visitor.until("document.querySelector('#linkbar [data-do=retry]').checkVisibility()")
    panel.start()
    page.evaluate("document.querySelector('#linkbar [data-do=retry]').click()")  # not by mouse: the page may have found it by itself just before
    visitor.until("document.querySelectorAll('.ln').length === 60", seconds=40)
    assert page.evaluate("[...document.querySelectorAll('.ln > span')].map(el => el.textContent)") == [f"line {n}" for n in range(1, 61)]
    visitor.until("document.querySelector('#linkbar').hidden")


def test_states_and_numbers_patch_themselves_and_power_tells_how_it_ends(visit: Callable[..., Visitor], alice: Any, web: Any, puppet: Puppet) -> None:
    from containers.models import Container
    from containers.services.publish import announce
    from nodes.operations import settle_operation

    visitor = visit(alice)
    page = visitor.go("/containers")
    row = f"#c-{web.pk}"
    page.wait_for_selector(f"{row} [data-stat=cpu]")
    for value in (11.0, 42.0):  # said again and again, as an agent does: the page may still be on its way to listening
        visitor.until(
            f"document.querySelector('{row} [data-stat=cpu]').textContent.startsWith('{value:.0f}')",
            between=lambda value=value: puppet.sample(web.pk, cpu_percent=value, memory_bytes=512 * 1024**2),  # type: ignore[misc]
        )
    page.click(f"{row} .pw-stop")
    page.wait_for_selector(f"{row} .state.busy >> text=Stopping")
    page.wait_for_selector("#toasts >> text=Stop web-1")
    operation_id = Container.objects.get(pk=web.pk).operation_id
    Container.objects.filter(pk=web.pk).update(status="crashed", status_reason="It would not stop.")
    settle_operation(operation_id, status="failed", error_code="x", error_detail="The process ignored every signal.")
    announce(Container.objects.get(pk=web.pk))
    page.wait_for_selector("#toasts >> text=The process ignored every signal.")
    page.wait_for_selector(f"{row} .state.red >> text=Crashed")
    assert page.locator(f"#toast-op-{operation_id}").count() == 0
    assert [c for c in visitor.complaints if "oob" in c] == []


def test_the_command_line_reaches_the_process_and_remembers(
    visit: Callable[..., Visitor], alice: Any, web: Any, puppet: Puppet, eventually: Any
) -> None:
    puppet.say(web.pk, "ready")
    visitor = visit(alice)
    page = visitor.go(f"/containers/{web.pk}")
    visitor.until("document.querySelectorAll('.ln').length === 1")
    page.fill("#log-command", "say <b>hi</b>")
    page.keyboard.press("Enter")
    eventually(lambda: puppet.typed == ["say <b>hi</b>"])
    page.keyboard.press("ArrowUp")
    assert page.input_value("#log-command") == "say <b>hi</b>"


def test_a_waiting_node_turns_green_by_itself(visit: Callable[..., Visitor], root: Any, pending: Any) -> None:
    from nodes.models import Node
    from nodes.services import publish_node

    visitor = visit(root)
    page = visitor.go(f"/nodes/{pending.pk}")
    page.wait_for_selector("text=Waiting for the agent")
    page.wait_for_timeout(500)
    Node.objects.filter(pk=pending.pk).update(status="ACTIVE", cpu_cores=4, total_memory_bytes=2**33, gateway="x", status_reason="")
    publish_node(Node.objects.get(pk=pending.pk))
    page.wait_for_selector("#node .state.green >> text=Active")
    assert page.locator("text=Waiting for the agent").count() == 0


def test_the_palette_goes_to_anything_by_keyboard(visit: Callable[..., Visitor], alice: Any, web: Any) -> None:
    visitor = visit(alice)
    page = visitor.go("/")
    page.keyboard.press("Control+k")
    page.keyboard.type("web-1")
    page.wait_for_selector("#palette a[aria-selected=true] >> text=web-1")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/containers/{web.pk}")


def test_scripts_stay_small() -> None:
    """At most 150 KiB, compressed, before a chart or a log is opened."""
    text = (assets.DIST / "app.js").read_text()
    first = [assets.DIST / "app.js", *(file for file in (assets.DIST / "chunks").glob("chunk-*.js") if file.name in text)]
    assert sum(len(gzip.compress(file.read_bytes())) for file in first) < MOST_SCRIPT_BYTES


def test_a_figure_that_is_not_of_now_says_of_when_it_is(visit: Callable[..., Visitor], alice: Any, web: Any) -> None:
    """The last one of what stopped ten minutes ago, and each that is pointed at; not the one of now."""
    shown = "document.querySelector('[data-chart=memory]').closest('.panel').querySelector('.chart-now')?.textContent || ''"
    for number in range(3):
        StatsSample.objects.create(subject_id=web.pk, time=clock.now() - timedelta(minutes=10 + number), memory_bytes=5 << 20)
    visitor = visit(alice)
    page = visitor.go(f"/containers/{web.pk}/stats")
    visitor.until(f"/^5\\.00\\s*MiB · [0-9:]+$/.test({shown})")
    StatsSample.objects.create(subject_id=web.pk, time=clock.now(), memory_bytes=6 << 20)
    visitor.go(f"/containers/{web.pk}/stats")
    visitor.until(f"/^6\\.00\\s*MiB$/.test({shown})")
    page.hover("[data-chart=memory] .u-over", position={"x": 10, "y": 40})
    visitor.until(f"/^5\\.00\\s*MiB · [0-9:]+$/.test({shown})")
    assert visitor.complaints == []


def test_a_flood_stays_bounded_and_is_followed_until_a_hand_scrolls(visit: Callable[..., Visitor], alice: Any, web: Any, puppet: Puppet) -> None:
    """F10: old lines leave the page; only a person stops the following."""
    puppet.say(web.pk, "first")
    visitor = visit(alice)
    page = visitor.go(f"/containers/{web.pk}")
    visitor.until("document.querySelectorAll('.ln').length === 1")
    for batch in range(20):
        puppet.say(web.pk, *(f"{batch}-{n}" for n in range(500)))
    visitor.until("[...document.querySelectorAll('.ln')].at(-1).textContent.endsWith('19-499')")
    bottom = "(v => v.scrollHeight - v.scrollTop - v.clientHeight)(document.querySelector('.log-view'))"
    visitor.until(f"{bottom} < 12")
    assert page.evaluate("document.querySelectorAll('.ln').length") <= 6000
    page.hover(".log-view")
    page.mouse.wheel(0, -800)
    visitor.until(f"{bottom} > 200")
    puppet.say(web.pk, "later")
    page.wait_for_selector(".log-new >> text=New lines: 1")
    assert page.evaluate(bottom) > 200
    page.click(".log-new")
    visitor.until(f"{bottom} < 12")
    # What a line says of itself is marked, and can be chosen by (the same rules as containers.loglevels).
    puppet.say(web.pk, "[WARN] slow", "12:01 ERROR: broken", '{"level":"debug","msg":"x"}', "no error here")
    visitor.until("[...document.querySelectorAll('.ln')].slice(-4).map(l => l.className).join() === 'ln l-warn,ln l-error,ln l-debug,ln'")
    page.select_option("[data-log=level]", "error")
    visitor.until("[...document.querySelectorAll('.ln:not([hidden])')].map(l => l.lastChild.textContent).join() === '12:01 ERROR: broken'")


def test_what_a_console_asks_is_answered_in_the_page(visit: Callable[[Any], Visitor], alice: Any, node: Any, puppet: Puppet) -> None:
    """A prompt comes by itself while somebody looks, does what it promises, and goes."""
    import json

    from agent.protocol.messages import ContainerReport
    from containers.models import Container
    from containers.services import observe
    from eggs.services import import_egg
    from nodes.commands import payload_of
    from nodes.models import Command

    plain = {
        "meta": {"version": "PTDL_v2"},
        "name": "Craft",
        "author": "lormas@example.org",
        "features": ["eula"],
        "docker_images": {"Java": "example.org/java:21"},
        "startup": "java -jar server.jar",
        "config": {"files": "{}", "startup": '{"done": "Done"}', "stop": "stop"},
        "scripts": {"installation": {"script": "", "container": "", "entrypoint": ""}},
        "variables": [],
    }
    egg = import_egg(json.dumps(plain).encode(), filename="craft.json").eggs[0]
    craft = make_container("craft", alice, node, egg=egg, egg_version=egg.current, image="example.org/java:21", observed="running")
    visitor = visit(alice)
    page = visitor.go(f"/containers/{craft.pk}/console")
    assert page.locator("#c-prompts section").count() == 0
    report = ContainerReport(container_id=str(craft.pk), state="exited", exit_code=0, seq=1, epoch=craft.epoch, cause="exit", features=["eula"])
    assert observe.observe(node.pk, report)
    visitor.until("document.querySelectorAll('#c-prompts section').length === 1")
    assert "Accept and start" in page.inner_text("#c-prompts")
    page.get_by_role("button", name="Accept and start").click()
    visitor.until("document.querySelectorAll('#c-prompts section').length === 0")
    command = Command.objects.get(subject_id=craft.pk)
    edits = payload_of(command)["edits"]
    assert [(edit["path"], edit["finds"]) for edit in edits] == [("eula.txt", [["eula", "true"]])]
    assert Container.objects.get(pk=craft.pk).prompts == []
    assert visitor.complaints == []


def test_files_are_dropped_on_the_import_page_and_each_is_answered(visit: Callable[..., Visitor], root: Any, tmp_path: Path) -> None:
    """With the mouse, on the field and beside it (a browser would leave the page); what came in, was repaired and was refused is told per file."""
    import json

    from eggs.models import Egg

    good = {
        "meta": {"version": "PTDL_v2"}, "name": "Dropped", "author": "nobody", "docker_images": {"a": "debian:12"}, "startup": "./x",
        "config": {"files": "{}", "startup": "{}", "stop": "^C"}, "variables": [],
    }  # fmt: skip
    paths = [tmp_path / "good.json", tmp_path / "broken.json", tmp_path / "imageless.yaml"]
    paths[0].write_text(json.dumps(good))
    paths[1].write_text("{")
    paths[2].write_text(json.dumps({**good, "docker_images": {}}))
    visitor = visit(root)
    page = visitor.go("/eggs/import")
    mouse = page.context.new_cdp_session(page)
    for where in ("#egg-file", "h1"):
        box = page.locator(where).bounding_box()
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            mouse.send("Input.dispatchDragEvent", {"type": kind, "x": box["x"] + 40, "y": box["y"] + box["height"] / 2, "data": data})
        visitor.until("document.querySelector('#egg-file').files.length === 3")
        assert page.url.endswith("/eggs/import")
        page.get_by_role("button", name="Import").click()
        page.wait_for_load_state()
        rows = [row.inner_text() for row in page.locator("table tbody tr").all()]
        assert [name for name, row in zip(("good.json", "broken.json", "imageless.yaml"), rows, strict=True) if name in row] == [
            p.name for p in paths
        ]
        assert ("new" if where == "#egg-file" else "unchanged") in rows[0]
        assert "W_AUTHOR_NOT_EMAIL" in rows[0] or where == "h1"
        assert ("E_SYNTAX" in rows[1], "E_IMAGES" in rows[2]) == (True, True)
    assert Egg.objects.filter(name="Dropped").count() == 1
    assert visitor.complaints == []
