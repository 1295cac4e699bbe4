"""Files, Terminal, Backups and the tunnel of a real container in a real browser: panel, agent and program as processes, one stack for all."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from audit.services import SYSTEM
from containers.models import Backup, BackupWork, Container, ContainerTunnel
from containers.services import NewContainer, backupwork, create_container, drills, execs, power
from containers.services import destinations as places
from lormas import assets
from tests.chromium import opened_soon
from tests.chromium import options as chromium_options
from tests.e2e.conftest import Stack, in_thread, running_stack, until
from tests.e2e.test_inside import EGG

pytestmark = [
    pytest.mark.browser, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240),
]  # fmt: skip
STANDIN = Path(__file__).parent.parent / "agent" / "standin"
MOST_SCRIPT_BYTES = 150 * 1024
DOT = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c63f8cfc0f01f00050001ff89993d1d0000000049454e44ae426082"
)
"""A PNG of one pixel."""
TOKEN = "good-eyJhIjoiY2FuYXJ5In0"
DROP = """([name, size]) => { const data = new DataTransfer(); data.items.add(new File([new Uint8Array(size).fill(97)], name));
for (const kind of ["dragenter", "dragover", "drop"]) document.querySelector(".fm-list").dispatchEvent(
  new DragEvent(kind, { dataTransfer: data, bubbles: true, cancelable: true })); }"""


class Window:
    """One person's page; `scripts` are the bytes of script it loaded, as they would be sent."""

    def __init__(self, page: Any, stack: Stack) -> None:
        self.page = page
        self.stack = stack
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda m: self.complaints.append(m.text) if "Content Security Policy" in m.text else None)

    async def go(self, path: str) -> None:
        answer = await opened_soon(self.page, self.stack.panel.url + path)
        assert answer.status < 400, path

    async def until(self, script: str, *, seconds: float = 60) -> Any:
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:  # not wait_for_function: it needs eval, which the policy forbids
            if found := await self.page.evaluate(script):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {script}; it shows: {(await self.page.inner_text('main'))[-1500:]}")

    async def script_bytes(self) -> int:
        loaded = await self.page.evaluate("performance.getEntriesByType('resource').map(e => e.name).filter(n => n.endsWith('.js'))")
        files = {Path(name.partition("?")[0]).name for name in loaded}
        return sum(len(gzip.compress(file.read_bytes())) for file in assets.DIST.rglob("*.js") if file.name in files)


@contextlib.asynccontextmanager
async def windows(stack: Stack, user: Any) -> AsyncIterator[Any]:
    """`await open()` gives a fresh window of this person."""
    from django.conf import settings
    from django.test import Client
    from playwright.async_api import async_playwright

    def sign_in() -> str:
        client = Client()
        client.force_login(user, backend="accounts.backends.EmailOrUsernameBackend")
        return client.cookies[settings.SESSION_COOKIE_NAME].value

    cookie = {"name": settings.SESSION_COOKIE_NAME, "value": await in_thread(sign_in), "url": stack.panel.url}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**chromium_options())

        async def opened() -> Window:
            context = await browser.new_context(viewport={"width": 1280, "height": 800})
            await context.add_cookies([cookie])
            return Window(await context.new_page(), stack)

        try:
            yield opened
        finally:
            await browser.close()


async def test_files_terminal_tunnel_and_backups(transactional_db: None, tmp_path: Path, alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F09, CONSOLE: files with drag and drop, an editor that tells of somebody else's change, terminals that survive the page and are shared."""
    import json

    from eggs.services import import_egg

    await asyncio.to_thread(assets.build)
    async with running_stack(tmp_path, runtime="process", PATH=f"{STANDIN}:{os.environ['PATH']}") as stack:
        egg = (await in_thread(lambda: import_egg(json.dumps(EGG).encode(), filename="egg.json"))).eggs[0]
        new = NewContainer(name="web", egg=egg, restart_policy="no")
        container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
        await in_thread(lambda: execs.set_policy(actor=SYSTEM, role=alice.role, record_terminals=True))
        await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
        async with windows(stack, alice) as opened:
            window, other = await opened(), await opened()
            at = f"/containers/{container.pk}"
            await check_files(window, at)
            await check_terminals(window, other, at)
            await check_the_tunnel(window, at, container)
            await check_backups(window, at, tmp_path / "kept", monkeypatch)
            assert (window.complaints, other.complaints) == ([], [])
        await in_thread(lambda: power.act(container, "kill", user=alice, actor=alice.as_actor()))  # nothing runs on when the test is over
        await until(lambda: Container.objects.filter(pk=container.pk, status="stopped").exists(), seconds=60, what="stopped")


SAVED = "document.querySelector('[data-fm=estate]').textContent === document.querySelector('lm-files').w.saved"


async def check_files(window: Window, at: str) -> None:
    page, api = window.page, f"/api{at}/files"
    closed = "document.querySelectorAll('.fm-bar summary[aria-disabled=true]').length === 2"
    await window.go(f"{at}/files?path=no-such-folder")
    await window.until(closed)  # nothing can be made where nothing can be read
    await page.click(".fm-crumbs a")
    await window.until(f"!({closed}) && document.querySelector('.fm-bar summary[aria-disabled]') === null")
    await window.go(f"{at}/files")
    await window.until("customElements.get('lm-files') && document.querySelector('lm-files').ready")
    assert await window.script_bytes() < MOST_SCRIPT_BYTES  # nothing of the editor yet
    await page.evaluate(DROP, ["big.txt", 9_000_000])
    await window.until("/Uploads: 1 of 1 done/.test(document.querySelector('[data-fm=uploads-title]').textContent)")
    await window.until("!!document.querySelector('tr[data-path=\"big.txt\"]')")
    assert await page.evaluate("document.querySelector('.fm-uploads .progress-line i').style.width") == "100%"

    await row_menu(window, "big.txt", "row-rename")
    await page.fill("#fm-ask-value", "notes.txt")
    await page.click("[data-fm=ask-yes]")
    await window.until("!!document.querySelector('tr[data-path=\"notes.txt\"]') && !document.querySelector('tr[data-path=\"big.txt\"]')")

    async with page.expect_download() as started:
        await row_menu(window, "notes.txt", "row-download")
    taken = await (await started.value).path()
    assert Path(taken).stat().st_size == 9_000_000

    # Editing: what somebody else has saved meanwhile is told (412), and neither text is lost.
    put = "([url, text]) => fetch(url, {method: 'PUT', headers: {'Content-Type': 'application/json', 'X-CSRFToken': document.cookie.match(/csrf[^=]*=([^;]*)/)?.[1] ?? document.querySelector('[name=csrfmiddlewaretoken]')?.value ?? ''}, body: JSON.stringify({content: text})}).then(a => a.status)"  # noqa: E501
    assert await page.evaluate(put, [f"{api}/app.conf", "one\n"]) == 201
    await window.go(f"{at}/files")
    await page.click('a[data-open="app.conf"]')
    await page.click(".cm-content")
    await page.keyboard.press("Control+End")
    await page.keyboard.type("two")
    # What is saved while a save is still on its way is not forgotten: it is sent after that one, and is nobody else's change.
    sent, go_on = [], asyncio.Event()

    async def held(route: Any) -> None:
        if route.request.method == "PUT":
            sent.append(route.request.post_data)
            await go_on.wait()
        await route.continue_()

    await page.route(f"**{api}/content*", held)
    await page.click("[data-fm=save]")
    await page.click(".cm-content")
    await page.keyboard.press("Control+End")
    await page.keyboard.type("too")
    await page.keyboard.press("Control+s")
    go_on.set()
    await window.until(f"fetch('{api}/app.conf').then(a => a.text()).then(text => text.endsWith('twotoo'))")
    await window.until(f"{SAVED} && document.querySelector('[data-fm=save]').disabled && document.querySelector('.fm-clash').hidden")
    assert sent == ["one\ntwo", "one\ntwotoo"]
    await page.unroute(f"**{api}/content*")

    assert await page.evaluate(put, [f"{api}/app.conf", "theirs\n"]) == 200
    await page.click(".cm-content")
    await page.keyboard.type("mine ")
    await page.click("[data-fm=save]")
    await window.until("!document.querySelector('.fm-clash').hidden")
    assert "mine" in await page.evaluate("document.querySelector('.cm-content').textContent")
    await page.click("[data-fm=mine]")
    await window.until("document.querySelector('.fm-clash').hidden && document.querySelector('[data-fm=save]').disabled")
    assert "mine" in await page.evaluate(f"fetch('{api}/app.conf').then(a => a.text())")
    await page.click("[data-fm=close]")

    # A picture is shown as one; what is no text, nor a picture in spite of its name, as bytes.
    put = "([url, hex, csrf]) => fetch(url, {method: 'PUT', headers: {'Content-Type': 'application/octet-stream', 'X-CSRFToken': csrf}, body: Uint8Array.from(hex.match(/../g), x => parseInt(x, 16))}).then(a => a.status)"  # noqa: E501
    for name, content in (("dot.png", DOT), ("blob.bin", b"\0\xde\xad<script>"), ("fake.png", b"\0no picture")):
        csrf = next(one["value"] for one in await page.context.cookies() if "csrf" in one["name"])
        assert await page.evaluate(put, [f"{api}/content?path={name}", content.hex(), csrf]) == 201, name
    await window.go(f"{at}/files")
    await page.click('a[data-open="dot.png"]')
    await window.until("document.querySelector('.fm-picture img')?.naturalWidth === 1")
    await page.click("[data-fm=close]")
    await page.click('a[data-open="blob.bin"]')
    await window.until("document.querySelector('.fm-hex pre')?.textContent.startsWith('00000000  00 de ad 3c 73 63 72 69  70 74 3e')")
    assert "···<script>" in await page.evaluate("document.querySelector('.fm-hex pre').textContent")
    await page.click("[data-fm=close]")
    await page.click('a[data-open="fake.png"]')
    await window.until("document.querySelector('.fm-hex pre')?.textContent.includes('·no picture') && !document.querySelector('.fm-picture')")
    await page.click("[data-fm=close]")

    # To the trash and back.
    await row_menu(window, "app.conf", "row-delete")
    await window.until("!document.querySelector('tr[data-path=\"app.conf\"]')")
    await page.click("[data-fm=trash]")
    await page.check('tr[data-name="app.conf"] input')
    await page.click("[data-fm=restore]")
    await window.until("!document.querySelector('tr[data-name=\"app.conf\"]')")
    await window.go(f"{at}/files")
    await window.until("!!document.querySelector('tr[data-path=\"app.conf\"]')")


async def row_menu(window: Window, path: str, act: str) -> None:
    await window.until(f"!!document.querySelector('tr[data-path=\"{path}\"]')")
    await window.page.click(f'tr[data-path="{path}"] [data-fm=menu]')
    await window.page.click(f".fm-menu [data-fm={act}]")


SHOWN = "(document.querySelector('.tm-place:not([hidden]) .xterm-rows')?.textContent ?? '')"


def screen(text: str) -> str:
    return f"{SHOWN}.includes({text!r})"


async def check_terminals(window: Window, other: Window, at: str) -> None:
    """Opened, typed into, resized with the window; a second window sees it; a reload replays it."""
    page = window.page
    await window.go(f"{at}/terminal")
    await window.until("!!document.querySelector('.tm-place:not([hidden]) .xterm-rows')")
    await page.click(".tm-place:not([hidden]) .xterm-screen")  # what is typed before it is open is not lost
    await page.keyboard.type("echo $((40+2))-seen\n")
    await window.until(screen("42-seen"))
    rows_shown = "document.querySelectorAll('.tm-place:not([hidden]) .xterm-rows > div').length"
    before = await window.until(rows_shown)
    await page.set_viewport_size({"width": 900, "height": 500})
    rows = await window.until(f"{rows_shown} !== {before} && {rows_shown}")
    await page.keyboard.type("echo rows=$(stty size | cut -d' ' -f1)=\n")
    await window.until(screen(f"rows={rows}="))

    await other.go(f"{at}/terminal")
    await other.until(screen("42-seen"))  # replayed to who joins
    await window.until("/2/.test(document.querySelector('[data-tm=viewers]').textContent)")
    await page.keyboard.type("echo to-b''oth\n")
    await other.until(screen("to-both"))

    # F09: what runs inside reaches neither clipboard nor title, and its questions to the terminal are typed back by nobody while two are looking.
    await page.evaluate("navigator.clipboard.writeText = (text) => { window.copied = text; }")
    title = await page.title()
    await page.keyboard.type("printf '\\033]52;c;aGFja2Vk\\007\\033]2;hacked\\007\\033[6n\\033[c\\033[>c\\033]11;?\\007'; sleep 1\n")
    await page.keyboard.type("echo un''touched\n")
    await window.until(screen("untouched"))
    shown = await page.evaluate(SHOWN)
    assert not re.search(r"\d;\d+c|\d;\d+R|rgb:|not found", shown), shown
    assert (await page.title(), await page.evaluate("window.copied")) == (title, None)

    await page.reload(wait_until="load")
    await window.until(screen("to-both"))

    # Its role is recorded: the film shows what was seen, played to its end or sought.
    await page.click("[data-tm=recordings]")
    kept = "fetch(document.querySelector('[data-tm=recording-list] a[download]').href).then(a => a.text())"
    await window.until(
        f"!!document.querySelector('[data-tm=recording-list] a[download]') && {kept}.then(t => t.includes('untouched'))"
    )  # a second behind
    await page.click("[data-tm=recording-list] button.btn:not(.ghost)")
    film = "(document.querySelector('.tm-screen .xterm-rows')?.textContent ?? '')"
    await page.select_option("[data-tm=speed]", "8")
    await window.until(f"{film}.includes('to-both') && {film}.includes('untouched')")
    await page.evaluate(
        "(seek => { seek.value = '0'; seek.dispatchEvent(new Event('input', { bubbles: true })); })(document.querySelector('[data-tm=seek]'))"
    )
    await window.until(f"!{film}.includes('untouched')")
    await page.evaluate(
        "(seek => { seek.value = seek.max; seek.dispatchEvent(new Event('input', { bubbles: true })); })(document.querySelector('[data-tm=seek]'))"
    )
    await window.until(f"{film}.includes('untouched')")


async def check_the_tunnel(window: Window, at: str, container: Container) -> None:
    """The whole chain: page, panel, agent, cloudflared's command line (a stand-in); the state on the page changes by itself."""
    page = window.page
    await window.go(f"{at}/settings")
    await page.fill("#id_tunnel_token", TOKEN)
    await page.click("#tunnel button.primary")
    await window.until("(document.querySelector('#tunnel-state')?.textContent ?? '').includes('https://app.example.com')")
    assert "Connected" in await page.evaluate("document.querySelector('#tunnel-state').textContent")
    assert TOKEN not in await page.content()
    await page.click("#tunnel [formaction$=forget]")
    await until(lambda: ContainerTunnel.objects.filter(pk=container.pk, wanted=False, sealed_token="", told_version=2).exists(), what="forgotten")


LIST = "(document.querySelector('#backups')?.textContent ?? '')"


async def check_backups(window: Window, at: str, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Made, taken away, put back and proven; the page tells by itself how each goes on. This process plays the worker."""
    page, shown = window.page, "(document.querySelector('#backups .tbl')?.textContent ?? '')"
    monkeypatch.setattr(drills, "STAYS_SECONDS", 0.5)
    await in_thread(lambda: places.add(name="kept", kind="local", given={"folder": str(kept)}, is_default=True, actor=SYSTEM))

    async def work() -> None:
        found = await until(lambda: BackupWork.objects.filter(is_open=True).first(), what="asked for")
        assert await in_thread(backupwork.run, str(found.pk))

    async def more(act: str) -> None:
        await page.click("#backups details.menu summary")
        await page.click(f"#backups details.menu {act}")

    await window.go(f"{at}/backups")
    await page.fill("#backup-name", "before the update")
    await page.click("form:has(#backup-name) .btn.primary")
    await window.until(f"{LIST}.includes('before the update')")
    await work()
    await window.until(f"/before the update[^]*Good/.test({shown})")
    made = await in_thread(Backup.objects.get)

    async with page.expect_download() as started:
        await more("[href$='/download']")
    taken = Path(await (await started.value).path())
    assert hashlib.sha256(taken.read_bytes()).hexdigest() == made.sha256

    await window.go(f"{at}/files")
    await row_menu(window, "notes.txt", "row-delete")
    await window.until("!document.querySelector('tr[data-path=\"notes.txt\"]')")
    await window.go(f"{at}/backups")
    await page.click("#backups td > .row-x > a.btn")
    await page.fill("#restore-name", "web")
    await page.click("form:has(#restore-name) .btn.danger")
    await work()
    await until(lambda: Container.objects.filter(name="web", observed="running", operation=None).exists(), what="started again")
    await window.go(f"{at}/files")
    await window.until("!!document.querySelector('tr[data-path=\"notes.txt\"]')")

    await window.go(f"{at}/backups")
    await more("form[action$='/prove'] button")
    await window.until(f"/Restore drill/.test({LIST}) && !!document.querySelector('#backups .progress-line')")
    await work()
    await window.until(f"/proven/.test({shown})")
