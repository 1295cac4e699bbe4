"""Onboarding keys: a fleet joins with one expiring key, each machine getting a node and a token of its own.

The key is shown once and kept as a hash. `uses` is claimed by conditional UPDATE, so that of many machines that come at once no more than `max_uses`
get in. The same installation that comes again (its answer was lost) gets its own node again and counts once.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F

from audit.services import Actor, Target, record
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid, NotSignedIn
from nodes import services, tokens
from nodes.models import Cluster, Node, Onboarding, OnboardingKey

MARK = "lorj_"
"""Every key begins like this, so that scanners and people know it for what it is."""
LONGEST = timedelta(days=90)
BAD_KEY = "This onboarding key is not good (any more): it is unknown, revoked, expired or used up. Ask for a new one."


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _target(key: OnboardingKey) -> Target:
    return Target("onboarding_key", str(key.pk), key.name)


@transaction.atomic
def create_key(
    *,
    actor: Actor,
    user: Any = None,
    name: str,
    expires_at: datetime,
    max_uses: int = 1,
    cluster: Cluster | None = None,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    name_prefix: str = "",
) -> tuple[OnboardingKey, str]:
    """A new key and its text, which is shown this once. Raises Invalid."""
    now = clock.now()
    wrong = []
    if not now < expires_at <= now + LONGEST:
        wrong.append(FieldError("expires_at", "Must be in the future, at most 90 days from now."))
    if name_prefix and not re.match(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$", name_prefix):
        wrong.append(FieldError("name_prefix", "Letters, digits, dots, dashes and underscores, beginning with a letter or digit."))
    if wrong:
        raise Invalid("The key's settings are not valid.", errors=wrong)
    services.check_fields({"labels": labels or {}, "taints": taints or []})
    text = MARK + secrets.token_urlsafe(32)
    made = OnboardingKey.objects.create(
        name=name,
        prefix=text[:12],
        digest=_digest(text),
        cluster=cluster,
        labels=labels or {},
        taints=taints or [],
        name_prefix=name_prefix,
        max_uses=max_uses,
        expires_at=expires_at,
        created_by=user if getattr(user, "is_authenticated", False) else None,
    )
    record(
        "nodes.onboarding_key",
        actor=actor,
        target=_target(made),
        after={"max_uses": max_uses, "expires_at": clock.rfc3339(expires_at), "cluster": cluster.name if cluster else None, "labels": made.labels},
    )
    return made, text


@transaction.atomic
def revoke_key(key: OnboardingKey, *, actor: Actor) -> OnboardingKey:
    """No machine joins with it any more; those that have stay. Raises Conflict if it was revoked before."""
    if not OnboardingKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=clock.now()):
        raise Conflict("This key is revoked already.", code="illegal_move", extra={"state": "revoked", "allowed": []})
    key.refresh_from_db()
    record("nodes.onboarding_revoke", actor=actor, target=_target(key))
    return key


def join(text: str, *, hostname: str, instance_id: str) -> tuple[Node, str]:
    """A node for this machine and its token. Raises NotSignedIn `bad_key`, Invalid."""
    if not instance_id or len(instance_id) > 64:
        raise Invalid("The agent must name its installation.", errors=[FieldError("instance_id", "1 to 64 characters.")])
    key = OnboardingKey.objects.select_related("cluster").filter(digest=_digest(text)).first() if text.startswith(MARK) else None
    if key is None:
        raise NotSignedIn(BAD_KEY, code="bad_key")
    with transaction.atomic():
        again = Onboarding.objects.select_related("node").filter(key=key, instance_id=instance_id).first()
        if again is not None:
            if key.revoked_at is not None or clock.now() >= key.expires_at:
                raise NotSignedIn(BAD_KEY, code="bad_key")
            return again.node, tokens.issue(again.node)
        claimed = OnboardingKey.objects.filter(pk=key.pk, uses__lt=F("max_uses"), revoked_at__isnull=True, expires_at__gt=clock.now()).update(
            uses=F("uses") + 1, last_used_at=clock.now()
        )
        if not claimed:
            raise NotSignedIn(BAD_KEY, code="bad_key")
        actor = Actor("node", label=f"onboarding key {key.name}")
        node, token = _register(key, hostname=hostname, actor=actor)
        try:
            with transaction.atomic():
                Onboarding.objects.create(key=key, node=node, instance_id=instance_id)
        except IntegrityError:  # the same machine asks twice at a time: the other request answers
            raise Conflict("This machine is joining already: try again.", code="joining", extra={"state": "joining", "allowed": []}) from None
    return node, token


def _register(key: OnboardingKey, *, hostname: str, actor: Actor) -> tuple[Node, str]:
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{key.name_prefix}{hostname.split('.', maxsplit=1)[0]}").strip("-._")[:56] or "node"
    for number in range(1, 1000):
        name = base if number == 1 else f"{base}-{number}"
        if Node.objects.filter(name__iexact=name).exists():
            continue
        try:
            with transaction.atomic():
                return services.register_node(name=name, actor=actor, cluster=key.cluster, labels=key.labels, taints=key.taints)
        except Conflict:
            continue
    raise Conflict(f"There is no free name like {base}.", code="name_taken", extra={"state": "taken", "allowed": []})
