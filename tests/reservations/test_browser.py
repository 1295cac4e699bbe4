"""The calendar in a real browser: drag to reserve, both themes, wide and phone; no complaint, nothing sticks out."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F

from lormas.common import clock
from reservations.models import Allocation, Reservation
from reservations.states import Hold
from tests import axe
from tests.console.test_browser import _built, chromium, panel, panel_process, visit  # noqa: F401 - fixtures

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(420)]
SHOTS = os.environ.get("LORMAS_SHOTS", "")
"""A folder for pictures to look at; not needed for the test."""


def life(alice: Any, bob: Any, make_machine: Any, book: Any) -> tuple[Reservation, Any]:
    """A pool with something in every state."""
    now = clock.now().replace(microsecond=0)
    far = now + timedelta(days=1)
    kinds = ({"gpu": "a100", "zone": "a"}, {"zone": "a"}, {"zone": "b"})
    machines = [make_machine(f"lab-{n:02}", port=n + 1, latency_ms=3.0 + n, checked_at=now, check_due=far, labels=kinds[n % 3]) for n in range(8)]
    for who, picks, length in ((alice, machines[:2], 300), (bob, machines[2:3], 180)):
        made = book(who, len(picks), length, machines=tuple(picks), purpose="Load test of the shop" if who is alice else "")
        Reservation.objects.filter(pk=made.pk).update(state="active", starts_at=now - timedelta(hours=1), activated_at=now, due=None)
        Allocation.objects.filter(reservation=made).update(
            hold=Hold.READY,
            began_at=now - timedelta(hours=1),
            starts_at=now - timedelta(hours=1),
            ready_at=now,
            told_until=F("ends_at"),
        )
    for hours, who, picks in ((8, bob, machines[0:1]), (26, alice, machines[2:4]), (50, bob, machines[1:3]), (3, alice, machines[4:5])):
        book(who, len(picks), 150, machines=tuple(picks), starts_at=now + timedelta(hours=hours))
    machines[6].__class__.objects.filter(pk=machines[6].pk).update(
        condition="quarantined", condition_reason="The account lr-bob-1 of the last reservation could not be proved gone: it did not answer."
    )
    machines[7].__class__.objects.filter(pk=machines[7].pk).update(reachable=False, reach_reason="No answer from 127.0.0.1:8 within 5 s.")
    book(bob, 5, 600, queue=True, labels={"zone": "a"})
    return Reservation.objects.filter(owner=alice, state="active").get(), machines[6]


def test_the_calendar_by_mouse_and_on_a_phone(visit: Any, alice: Any, bob: Any, root: Any, make_machine: Any, book: Any) -> None:  # noqa: F811
    held, bad = life(alice, bob, make_machine, book)
    paths = {
        "available": "/available", "week": "/available?view=week", "reservations": "/reservations", "reservation": f"/reservations/{held.pk}",
        "new": "/reservations/new", "machines": "/machines", "machine": f"/machines/{bad.pk}", "usage": "/reservations/usage",
    }  # fmt: skip
    rounds = (
        (alice, 1440, 900, "light", tuple(paths)),
        (root, 1440, 900, "dark", ("available", "machines", "machine")),
        (root, 360, 780, "dark", tuple(paths)),  # who sees most, where there is least room
    )
    for user, width, height, theme, names in rounds:
        visitor = visit(user)
        axe.bring(visitor.page)
        visitor.page.emulate_media(color_scheme=theme)
        visitor.page.set_viewport_size({"width": width, "height": height})
        for name in names:
            path = paths[name]
            page = visitor.go(path)
            wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{path} sticks out by {wide} px at {width}"
            if width == 1440 and name == "available":
                bad_ones = axe.seriously_wrong(page, theme)
                assert not bad_ones, f"{path} {theme}: {bad_ones}"
            if SHOTS:
                page.wait_for_timeout(400)
                page.screenshot(path=str(Path(SHOTS) / f"{name}-{theme}-{width}.png"), full_page=True)
        assert not visitor.complaints, visitor.complaints

    visitor = visit(alice)
    day = f"{clock.now() + timedelta(days=3):%Y-%m-%d}"
    page = visitor.go(f"/available?day={day}")
    visitor.until("!!document.querySelector('.cal-track') && performance.getEntriesByType('resource').some((e) => /calendar/.test(e.name))")
    box = page.locator(".cal-track").nth(5).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.55, y)
    page.mouse.move(box["x"] + box["width"] * 0.625, y)
    page.mouse.up()
    page.wait_for_url("**/reservations/new?**")
    assert page.input_value("[name=starts_at]") == f"{day}T12:00"
    assert (page.input_value("[name=length]"), page.input_value("[name=unit]")) == ("3", "hours")
    visitor.until("/You would get lab-/.test(document.querySelector('#trial').textContent)")
    page.fill("[name=password]", "correct horse")
    page.focus("button[type=submit].primary")  # what the form tries out goes to its own address even now; once it went to where this button points
    with page.expect_request("**/reservations/try") as tried:
        page.evaluate("document.querySelector('[name=purpose]').dispatchEvent(new Event('input', {bubbles: true}))")
    assert "password" not in (tried.value.post_data or "")
    page.click("button[type=submit].primary")
    page.wait_for_url(lambda url: "/reservations/" in url and "new" not in url)
    assert Reservation.objects.filter(owner=alice, starts_at__date=day).count() == 1
    assert not visitor.complaints, visitor.complaints
