"""What looks like a secret is never written down (I02)."""

from __future__ import annotations

from typing import Any

import pytest

from audit.masking import MASK, masked, masked_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.mark.parametrize(
    "values",
    [
        {"password": "canary"},
        {"new_password": "canary"},
        {"deep": [{"registry": {"api_key": "canary"}}]},
        {"private_key": "canary"},
        {"env": {"DB_PASS": "canary", "STRIPE_KEY": "canary", "A": "b"}},
        {"variables": {"RCON_PWD": "canary"}},
        {"Authorization": "canary"},
        {"recovery_codes": ["canary"]},
        {"note": f"token is {JWT.replace('sign', 'canary')}"},
        {"command": ["mysql", "--password=canary", "-h", "x"]},
        {"url": "postgres://admin:canary@db/x"},
        {"headers": "Authorization: Bearer canary-canary"},
        {"text": "-----BEGIN RSA PRIVATE KEY-----\ncanary\n-----END RSA PRIVATE KEY-----"},
        {"text": "lor_canary00canary00canary00"},
    ],
    ids=str,
)
def test_a_secret_is_masked_by_its_key_or_by_its_looks(values: dict[str, Any]) -> None:
    """I02"""
    said = str(masked(values))
    assert "canary" not in said
    assert MASK in said


def test_what_is_no_secret_stays_readable() -> None:
    plain = {
        "name": "web",
        "taints": [{"key": "gpu", "value": "only"}],
        "ports": [80],
        "must_change_password": True,
        "keys": 3,
        "labels": {"tier": "a"},
    }
    assert masked(plain) == plain
    assert masked_text("Restarted by its restart policy.") == "Restarted by its restart policy."
    assert masked({"password": ""}) == {"password": ""}
