"""JSON is read strictly (J06): whatever another reader might understand differently is 400, and nothing of it is 500."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from lormas.common import strictjson

HOSTILE = {
    "nan": b'{"name": NaN}',
    "infinity": b'{"name": -Infinity}',
    "float overflow": b'{"name": 1e999}',
    "int overflow": b'{"name": 9223372036854775808}',
    "endless int": b'{"name": ' + b"9" * 5000 + b"}",
    "duplicate key": b'{"name": "a", "name": "b"}',
    "nul": b'{"name": "a\\u0000"}',
    "nul in key": b'{"a\\u0000": 1}',
    "lone surrogate": b'{"name": "\\ud800"}',
    "latin-1": '{"name": "é"}'.encode("latin-1"),
    "bom": b'\xef\xbb\xbf{"name": "a"}',
    "deep": b"[" * 100 + b"]" * 100,
    "very deep": b"[" * 100_000 + b"]" * 100_000,
    "very deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "trailing": b'{"name": "a"} {}',
    "single quotes": b"{'name': 'a'}",
    "comment": b'{"name": "a"} // x',
    "unclosed": b'{"name": "a"',
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_body_that_is_not_strict_json_is_malformed(api: APIClient, sample: Any, body: bytes) -> None:
    response = api.post("/api/echo", body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()["code"] == "malformed"
    assert sample == []


def test_an_empty_body_is_an_object_without_fields(api: APIClient, sample: Any) -> None:
    assert api.post("/api/echo", b"", content_type="application/json").json()["errors"][0]["code"] == "required"


def test_a_body_larger_than_the_route_takes_is_413(api: APIClient, sample: Any) -> None:
    """J03."""
    response = api.post("/api/echo", b'{"name": "' + b"a" * (1024 * 1024) + b'"}', content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (413, "too_large")


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8", exclude_characters="\x00")), inner, max_size=4),
    max_leaves=20,
)


# a busy machine draws slowly: that says nothing of the promise
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_values)
def test_whatever_json_can_say_comes_through_unchanged(value: Any) -> None:
    assert strictjson.loads(json.dumps(value).encode(), max_bytes=10**6) == value


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_not_json(data: bytes) -> None:
    try:
        strictjson.loads(data, max_bytes=1000)
    except strictjson.NotJson:
        pass
