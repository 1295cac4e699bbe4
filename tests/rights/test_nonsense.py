"""Every operation of the API with what a program could send it: cases made from the schema, right ones and broken ones, with the stage's ids in the
address so that they get past the door.

`LORMAS_FUZZ_CASES` says how many of each sort are made for each operation (1 if it isn't set; 12 make some 9,000 altogether, 65 more than 50,000).
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from django.db import transaction
from drf_spectacular.generators import SchemaGenerator
from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as of_hypothesis
from hypothesis.errors import Unsatisfiable
from schemathesis.core import NOT_SET
from schemathesis.generation import GenerationMode

from tests.rights.stage import Stage

pytestmark = pytest.mark.redis
CASES: Final = int(os.environ.get("LORMAS_FUZZ_CASES", "1"))
SEED: Final = int(os.environ.get("LORMAS_FUZZ_SEED", "20261127"))
NODE_AWAY: Final = {"node_offline", "node_timeout", "busy"}
"""What a door may say with 5xx: the stage's node is not connected."""
SLOW_KEYS: Final = {"wait"}
"""`?wait=60` waits a minute, as it should."""


@pytest.fixture
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def wire(value: str) -> bytes:
    return value.encode("utf-8", "surrogatepass")


class Sender:
    """Sends cases as an administrator, takes back what they did, and keeps what was amiss."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.sent: Counter[int] = Counter()
        self.wrong: dict[str, str] = {}
        self.choose = random.Random(SEED)

    def address(self, template: str, case: Any) -> str:
        """Mostly of the stage's objects: made-up ids get no further than 404."""
        path = template
        if self.choose.random() < 0.2:
            for name, value in (case.path_parameters or {}).items():
                path = path.replace(f"{{{name}}}", quote(wire(text(value)), safe=""))
        query = {key: value for key, value in (case.query or {}).items() if key not in SLOW_KEYS}
        pairs = [(wire(text(key)), wire(text(one))) for key, value in query.items() for one in (value if isinstance(value, list) else [value])]
        return self.stage.address(path) + (f"?{urlencode(pairs)}" if pairs else "")

    def __call__(self, template: str, method: str, case: Any) -> None:
        client = self.stage.clients["administrator"]
        body: dict[str, Any] = {}
        if case.body is not NOT_SET:
            kind = case.media_type or "application/json"
            if kind.startswith("multipart/") and isinstance(case.body, dict):
                sent = {str(key): text(value) for key, value in case.body.items() if value is not None}
                body = {"data": sent} if method == "post" else {"data": json.dumps(sent), "content_type": "application/json"}
            else:
                data = case.body if isinstance(case.body, bytes) else wire(json.dumps(case.body, default=repr))
                body = {"data": data, "content_type": kind if not kind.startswith("multipart/") else "application/json"}
        path = self.address(template, case)
        with transaction.atomic():
            answer = getattr(client, method)(path, **body)
            streams = bool(getattr(answer, "streaming", False))
            content = b"" if streams else answer.content
            transaction.set_rollback(True)
        self.sent[answer.status_code] += 1
        told = f"{answer.status_code} {path[:300]} {str(body)[:600]} -> {content[:300]!r}"
        if answer.status_code >= 400 and not answer.headers["Content-Type"].startswith("application/problem+json"):
            self.wrong.setdefault(f"{method} {template}: no problem+json", told)
        elif answer.status_code >= 500 and json.loads(content)["code"] not in NODE_AWAY:
            self.wrong.setdefault(f"{method} {template}: {answer.status_code}", told)


def try_all(sender: Sender, operation: Any, mode: GenerationMode, cases: int) -> int:
    """Send up to so many cases of one sort; returns how many there were (some operations have nothing that could be broken)."""
    made = 0

    @seed(SEED)
    @of_hypothesis(max_examples=cases, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def each(case: Any) -> None:
        nonlocal made
        made += 1
        sender(operation.path, operation.method.lower(), case)

    try:
        each()
    except Unsatisfiable:
        pass  # nothing of this sort can be made of it
    return made


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.usefixtures("quiet")
def test_no_operation_answers_nonsense_with_an_error_of_ours(stage: Stage, record_property: Any) -> None:
    """H09: whatever comes, each operation of the schema answers with a sentence about it. `/api/workers` leads to the same views as `/api/nodes`."""
    schema = schemathesis.openapi.from_dict(SchemaGenerator().get_schema(request=None, public=True))
    sender = Sender(stage)
    without = []
    operations = [operation for operation in (found.ok() for found in schema.get_all_operations()) if not operation.path.startswith("/api/workers")]
    assert len(operations) > 300
    for number, operation in enumerate(operations):
        if number % 10 == 0:
            stage.clients["administrator"] = stage.client("administrator")  # tokens are good for minutes only
        made = sum(try_all(sender, operation, mode, CASES) for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE))
        if not made:
            without.append(operation.label)
    record_property("cases", sum(sender.sent.values()))
    record_property("answers", str(dict(sorted(sender.sent.items()))))
    assert not sender.wrong, "\n".join(f"{where}: {told}" for where, told in sender.wrong.items())
    assert not without
    assert sum(sender.sent.values()) > len(operations) * CASES
    assert sum(count for status, count in sender.sent.items() if status not in (401, 404, 405)) > sum(sender.sent.values()) / 2, (
        "they get past the door"
    )
