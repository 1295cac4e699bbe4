"""`make screenshots`: starts a panel of its own, gives it some life, and takes docs/img/*.png with the machine's Chromium."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from bench.panel import EMAIL, Panel, panel, wait_for_node  # noqa: E402
from bench.rawengine import IMAGE, ensure_image  # noqa: E402
from tests.chromium import options  # noqa: E402

IMAGES = ROOT / "docs" / "img"
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
ROUNDS = (
    ("light", WIDE, "", ("dashboard", "new-container", "node")),
    ("dark", WIDE, "-dark", ("container", "stats")),
    ("light", PHONE, "-phone", ("containers", "container")),
)
CHATTER = (
    'i=0; while true; do i=$((i+1)); echo "$(date -Is) INFO request $i handled path=/api/things/$((i % 97)) status=200 in $((i * 7 % 40)) ms";'
    ' [ $((i % 9)) = 0 ] && echo "$(date -Is) WARN slow query, $((i % 300 + 120)) ms" >&2;'
    " j=0; while [ $j -lt 20000 ]; do j=$((j+1)); done; sleep 0.3; done"
)
STARS = {
    "shop-web": CHATTER,
    "shop-worker": 'while true; do echo "$(date -Is) job done"; sleep 5; done',
    "discord-bot": "echo connected; sleep 100000",
    "minecraft-lobby": "echo 'Done (3.214s)! For help, type \"help\"'; sleep 100000",
    "nightly-report": "echo 'report written'; exit 0",
}


def give_life(found: Panel) -> str:
    """A few containers; returns the id of the one to look at closely."""
    ids = {}
    for name, script in STARS.items():
        policy = "no" if name == "nightly-report" else "unless-stopped"
        made = found.call(
            "POST",
            "/api/containers?wait=30",
            {
                "name": name,
                "image": IMAGE,
                "command": ["sh", "-c", script],
                "limits": {"cpus": 0.2, "memory_bytes": 256 * 1024**2},
                "restart_policy": policy,
            },
        )
        ids[name] = made["id"]
    return str(ids["shop-web"])


def sign_in(page: Any, found: Panel) -> None:
    page.goto(f"http://127.0.0.1:{found.port}/login")
    page.fill("input[name=login], input[name=email], input[name=username]", EMAIL)
    page.fill("input[name=password]", found.password)
    page.press("input[name=password]", "Enter")
    page.wait_for_url(lambda url: "/login" not in url, timeout=10_000)


def take(found: Panel, container_id: str, node_id: str) -> None:
    from playwright.sync_api import sync_playwright

    addresses = {
        "dashboard": "/",
        "containers": "/containers",
        "container": f"/containers/{container_id}",
        "stats": f"/containers/{container_id}/stats",
        "new-container": "/containers/new",
        "nodes": "/nodes",
        "node": f"/nodes/{node_id}",
        "operations": "/operations",
        "eggs": "/eggs",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**options())
        for scheme, size, suffix, names in ROUNDS:
            context = browser.new_context(viewport=size, color_scheme=scheme, device_scale_factor=1, reduced_motion="reduce")
            page = context.new_page()
            sign_in(page, found)
            for name in names:
                page.goto(f"http://127.0.0.1:{found.port}{addresses[name]}")
                page.wait_for_timeout(4_000 if name in ("container", "stats") else 1_500)
                page.screenshot(path=IMAGES / f"{name}{suffix}.png")
            context.close()
        browser.close()


def main() -> None:
    ensure_image()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with panel(LORMAS_DEMO="1", LORMAS_AGENT_RUNTIME="docker") as found:
        node_id = wait_for_node(found)
        try:
            container_id = give_life(found)
            time.sleep(45)  # some history for the charts
            take(found, container_id, node_id)
        finally:
            for row in found.call("GET", "/api/containers?page_size=50")["results"]:
                found.call("DELETE", f"/api/containers/{row['id']}?force=true&wait=30")


if __name__ == "__main__":
    main()
