"""No field of a model is changed through the API but those that are meant to be: every column of what administrators may edit is tried."""

from __future__ import annotations

from typing import Any

import pytest
from django.apps import apps
from django.db import models, transaction

from tests.rights.stage import MISSING, Stage

pytestmark = pytest.mark.redis
RESOURCES: dict[str, tuple[str, str, set[str]]] = {
    "/api/containers/{container_id}": (
        "containers.Container",
        "container_id",
        {"name", "description", "labels", "env", "image", "command", "startup", "restart_policy", "spec_changed", "variables"},
    ),
    "/api/nodes/{node_id}": (
        "nodes.Node",
        "node_id",
        {"name", "description", "labels", "address", "is_schedulable", "max_pods", "taints", "port_first", "port_last"},
    ),
    "/api/clusters/{cluster_id}": (
        "nodes.Cluster",
        "cluster_id",
        {"name", "description", "labels", "strategy", "failover", "overcommit_cpu", "overcommit_memory", "overcommit_storage"},
    ),
    "/api/eggs/{egg_id}": ("eggs.Egg", "egg_id", {"name", "description", "author", "category", "tags", "labels"}),
    "/api/machines/{machine}": (
        "reservations.Machine",
        "machine_id",
        {"name", "host", "port", "user", "labels", "description", "password", "check_due"},
    ),
    "/api/users/{user_id}": ("accounts.User", "user_id", {"email", "username", "name", "role_id", "is_active", "token_generation"}),
    "/api/auth/profile": ("accounts.User", "administrator", {"name", "username", "time_zone"}),
}
"""Address -> the model, its object on the stage, and the columns that may change by this door, with what follows from them."""


def sample(field: models.Field[Any, Any]) -> Any:
    """A value that fits the column, and is not what it holds."""
    if isinstance(field, models.ForeignKey | models.UUIDField):
        return MISSING
    if isinstance(field, models.BooleanField):
        return True
    if isinstance(field, models.IntegerField | models.FloatField | models.DecimalField):
        return 7
    if isinstance(field, models.DateTimeField):
        return "2001-01-01T00:00:00Z"
    if isinstance(field, models.JSONField):
        return {"canary": "x"}
    return "canary@example.org" if isinstance(field, models.EmailField) else "canary"


def test_no_column_is_changed_but_those_that_are_meant_to_be(stage: Stage) -> None:
    """D13: by the most powerful caller, one column at a time, under the name of the field and of its column."""
    found: dict[str, set[str]] = {}
    ids = {**stage.ids, "administrator": stage.cast["administrator"].pk}
    for path, (label, key, _) in RESOURCES.items():
        model: Any = apps.get_model(label)
        rows = model._base_manager.filter(pk=ids[key])
        before = rows.values().get()
        for field in model._meta.concrete_fields:
            for name in {field.name, field.attname}:
                with transaction.atomic():
                    wish = {name: (not before[name]) if isinstance(field, models.BooleanField) else sample(field)}
                    answer = stage.clients["administrator"].patch(stage.address(path), data=wish, content_type="application/json")
                    after = rows.values().get()
                    transaction.set_rollback(True)
                assert answer.status_code < 500, (path, name)
                changed = {column for column in before if before[column] != after[column]} - {"updated_at"}
                assert answer.status_code < 400 or not changed, (path, name, answer.status_code, changed)
                found.setdefault(path, set()).update(changed)
    wrong = {path: sorted(columns - RESOURCES[path][2]) for path, columns in found.items() if columns - RESOURCES[path][2]}
    assert not wrong, wrong
    assert all(found.values()), "each door changes something, or this proves nothing"
