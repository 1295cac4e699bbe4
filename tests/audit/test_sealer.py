"""A program that serves seals behind its acts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from audit import chain
from audit.models import Entry, Seal
from audit.sealer import Sealer
from audit.services import SYSTEM, Target, record

pytestmark = pytest.mark.django_db(transaction=True)


def act() -> Entry:
    return record("test.act", actor=SYSTEM, target=Target("thing", "1", "Thing"))


def test_rows_are_sealed_without_the_act_waiting_for_it() -> None:
    """I04: the seal follows the commit by itself, and rows that came together are sealed in their order."""
    sealer = Sealer(behind_seconds=60)
    sealer.start()
    try:
        rows = [act().pk for _ in range(3)]
        assert not Seal.objects.exists()
    finally:
        sealer.stop()  # cuts the pause short
    assert list(Seal.objects.order_by("number").values_list("entry_id", flat=True)) == rows
    act()
    assert Seal.objects.count() == 4
    assert list(chain.verify()) == []


def test_a_row_that_comes_while_others_are_sealed_is_sealed_too(eventually: Callable[..., Any]) -> None:
    sealer = Sealer(behind_seconds=0.01)
    sealer.start()
    try:
        for count in range(1, 4):
            act()
            eventually(lambda count=count: Seal.objects.count() == count, seconds=30)
    finally:
        sealer.stop()
