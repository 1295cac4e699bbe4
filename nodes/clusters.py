"""Acts on clusters."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.deletion import ProtectedError

from audit.services import Actor, Target, record
from lormas.common import live
from lormas.common.errors import Conflict, FieldError
from nodes import swarm
from nodes.models import Cluster, Node


def _target(cluster: Cluster) -> Target:
    return Target("cluster", str(cluster.pk), cluster.name)


def _save(cluster: Cluster) -> None:
    try:
        with transaction.atomic():
            cluster.save()
    except IntegrityError as error:
        taken = [FieldError("name", "Taken.", "unique")]
        raise Conflict(f"There is already a cluster called {cluster.name}.", code="name_taken", errors=taken) from error


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: (str(value.pk) if isinstance(value, Node) else value) for name, value in fields.items()}


@transaction.atomic
def create_cluster(*, actor: Actor, **fields: Any) -> Cluster:
    """A new cluster. Raises Conflict(`name_taken`), Refused(`manager_needed`): a new one has no node yet that could manage a swarm."""
    if fields.get("backend", "engines") != "engines" or fields.get("manager") is not None:
        raise swarm.manager_needed()
    cluster = Cluster(**fields)
    _save(cluster)
    record("clusters.create", actor=actor, target=_target(cluster), after=_told(fields))
    return cluster


def update_cluster(cluster: Cluster, *, actor: Actor, **changes: Any) -> Cluster:
    """Change it. Raises Conflict(`name_taken`), and as `swarm.chosen` where the backend or its manager changes."""
    # Asked before the transaction begins: an agent may take seconds.
    changes |= swarm.chosen(cluster, backend=changes.get("backend", cluster.backend), manager=changes.get("manager", cluster.manager))
    return _update(cluster, actor=actor, changes=changes)


@transaction.atomic
def _update(cluster: Cluster, *, actor: Actor, changes: dict[str, Any]) -> Cluster:
    before = {name: getattr(cluster, name) for name in changes if getattr(cluster, name) != changes[name]}
    if before:
        for name in before:
            setattr(cluster, name, changes[name])
        _save(cluster)
        if "failover" in before and "never" in (before["failover"], cluster.failover):
            told_anew(cluster)
        record("clusters.update", actor=actor, target=_target(cluster), before=_told(before), after=_told({name: changes[name] for name in before}))
    return cluster


def told_anew(cluster: Cluster) -> None:
    """Agents learn at their hello whether they have to stop by themselves: let those of this cluster say it again."""
    for node_id in cluster.nodes.exclude(gateway="").values_list("pk", flat=True):
        reason = "The cluster's failover policy was changed."
        live.on_commit_publish(f"node:{node_id}", {"op": "close", "payload": {"code": "again", "reason": reason}})


@transaction.atomic
def delete_cluster(cluster: Cluster, *, actor: Actor) -> None:
    """Delete an empty one. Raises Conflict(`cluster_in_use`)."""
    target = _target(cluster)
    try:
        cluster.delete()
    except ProtectedError as error:
        raise Conflict(f"{target.label} still has {len(error.protected_objects)} nodes: move them first.", code="cluster_in_use") from error
    record("clusters.delete", actor=actor, target=target)
