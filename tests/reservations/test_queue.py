"""Waiting fairly, staying longer only where nobody waits, reminders, usage."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models import F

from accounts import letters
from accounts.models import Letter
from audit.models import Entry
from lormas.common import clock
from lormas.common.errors import Conflict, Refused
from reservations import selectors
from reservations.models import Allocation, Reservation
from reservations.services import extend as extending
from reservations.services import queue, remind, revoke
from reservations.states import Hold
from tests.accounts.postbox import Postbox, link_in, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def activate(made: Reservation) -> Reservation:
    """As if its accounts had been made."""
    now = clock.now()
    Reservation.objects.filter(pk=made.pk).update(state="active", activated_at=now)
    Allocation.objects.filter(reservation=made).update(hold=Hold.READY, began_at=now, ready_at=now, told_until=F("ends_at"))
    made.refresh_from_db()
    return made


def test_who_waits_is_served_in_turns_with_position_and_estimate(api: Any, alice: Any, bob: Any, pool: list[Any], book: Any) -> None:
    first = book(alice, 3, 60)
    waits = [book(who, count, 30, queue=True) for who, count in ((alice, 2), (alice, 2), (bob, 3))]
    assert [one.state for one in waits] == ["waiting"] * 3
    order = [plan.ask.id for plan in selectors.queue()]
    assert order == [waits[0].pk, waits[2].pk, waits[1].pk], "everybody's first before anybody's second"
    shown = api(bob).get("/api/reservations/queue").json()
    assert [(row["position"], row["reservation"] is not None) for row in shown] == [(1, False), (2, True), (3, False)]
    assert api(alice).get(f"/api/reservations/{waits[0].pk}").json()["queue"]["estimated_start"] == clock.rfc3339(first.ends_at)
    assert queue.serve_queue() == 0
    revoke.release(first, actor=alice.as_actor())
    assert queue.serve_queue() == 1
    assert Reservation.objects.get(pk=waits[0].pk).state == "requested"
    with pytest.raises(Conflict) as caught:
        book(bob, 1, 90)  # an hour would fit before those who wait; longer would delay them
    assert caught.value.code == "not_enough_machines" and "kept for people who wait" in caught.value.detail
    with pytest.raises(Refused) as never:
        book(bob, 4, 60, queue=True)
    assert never.value.code == "never_enough"


def test_extended_only_where_nobody_waits_and_nobody_booked(alice: Any, bob: Any, pool: list[Any], book: Any) -> None:
    """R35 (rivals: test_rivals)."""
    held = activate(book(alice, 3, 60))
    end = held.ends_at
    longer = extending.extend(held, minutes=30, actor=alice.as_actor())
    assert longer.ends_at == end + timedelta(minutes=30)
    later = book(bob, 1, 60, starts_at=longer.ends_at + timedelta(minutes=10))
    with pytest.raises(Conflict) as booked:
        extending.extend(held, minutes=30, actor=alice.as_actor())
    assert booked.value.code == "booked_after"
    held.refresh_from_db()
    assert held.ends_at == longer.ends_at and set(held.allocations.values_list("ends_at", flat=True)) == {longer.ends_at}, "nothing half done"
    revoke.release(later, actor=bob.as_actor())
    book(bob, 1, 60, queue=True)
    with pytest.raises(Conflict) as waited:
        extending.extend(held, minutes=5, actor=alice.as_actor())
    assert waited.value.code == "others_wait"
    Reservation.objects.filter(pk=held.pk).update(starts_at=end - timedelta(hours=3), ends_at=clock.now() - timedelta(seconds=1))
    with pytest.raises(Conflict) as over:
        extending.extend(held, minutes=5, actor=alice.as_actor())
    assert over.value.code == "not_active"


def test_a_reminder_comes_once_and_again_after_an_extension(alice: Any, pool: list[Any], book: Any, settings: Any) -> None:
    held = activate(book(alice, 1, 60))
    assert remind.remind() == 0
    settings.RESERVATION_REMINDER_MINUTES = 30
    soon = clock.now() + timedelta(minutes=10)
    Reservation.objects.filter(pk=held.pk).update(ends_at=soon)
    Allocation.objects.filter(reservation=held).update(ends_at=soon)
    assert [remind.remind(), remind.remind()] == [1, 0]
    assert Entry.objects.filter(action="reservations.reminder").count() == 1
    extending.extend(held, minutes=5, actor=alice.as_actor())
    assert remind.remind() == 1


def test_the_reminder_comes_by_mail_and_waits_for_a_mail_server_that_is_away(alice: Any, pool: list[Any], book: Any, settings: Any) -> None:
    """Through a real SMTP server on loopback."""
    settings.RESERVATION_REMINDER_MINUTES = 30
    held = activate(book(alice, 2, 60))
    box = Postbox().start()
    try:
        settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", "127.0.0.1", box.port
        soon = clock.now() + timedelta(minutes=10)
        Reservation.objects.filter(pk=held.pk).update(ends_at=soon)
        box.refuse = "451 later"
        assert remind.remind() == 1
        assert letters.send_due() == 0 and not box.letters
        box.refuse = ""
        Letter.objects.update(due_at=clock.now())
        assert letters.send_due() == 1
        (letter,) = box.to(alice.email)
        text = text_of(letter)
        assert letter["Subject"] == "Your machines go in 10 minutes"
        assert "m1, m2" in text or "m2, m3" in text or "m1, m3" in text
        assert f"{soon:%Y-%m-%d %H:%M} UTC" in text and link_in(letter) == f"/reservations/{held.pk}"
        assert "correct horse" not in text
        Reservation.objects.filter(pk=held.pk).update(reminded_at=None)
        remind.remind()
        Letter.objects.filter(sent_at=None).update(values={"machines": "m1", "ends_at": clock.rfc3339(clock.now()), "path": "/"}, due_at=clock.now())
        assert letters.send_due() == 0 and len(box.letters) == 1, "one that is over is not sent any more"
    finally:
        box.stop()


def test_usage_counts_hours_by_person_and_machine(api: Any, alice: Any, bob: Any, olga: Any, pool: list[Any], book: Any) -> None:
    activate(book(alice, 2, 600))
    activate(book(bob, 1, 600))
    Allocation.objects.update(began_at=clock.now() - timedelta(hours=2))
    everything = api(olga).get("/api/reservations/usage").json()
    assert [(row["name"], round(row["machine_hours"])) for row in everything["people"]] == [(alice.label, 4), (bob.label, 2)]
    assert len(everything["machines"]) == 3
    assert [row["name"] for row in api(bob).get("/api/reservations/usage").json()["people"]] == [bob.label]
    assert api(bob).get("/api/reservations/usage?since=x").status_code == 400
