"""Who a socket's person is, as of now: through whose eyes a cookie session looks, whether something holds them back, what they still hold."""

from __future__ import annotations

import contextlib
import uuid
from datetime import datetime
from typing import Any

from accounts import grants, impersonation
from accounts.models import User
from accounts.standing import hold_of
from containers import access
from containers.live.granted import Granted, load_granted
from lormas.common.errors import Forbidden, NotSignedIn


def seen(user_id: Any, session: Any) -> User:
    """Whose eyes a cookie session looks through. Raises NotSignedIn where that has ended."""
    by: User = User.objects.select_related("role").get(pk=user_id)
    if session is None or session.get(impersonation.KEY) is None:
        return by
    seen = impersonation.seen_as(by, session)
    if isinstance(seen, impersonation.Ended):
        raise NotSignedIn(seen.why)
    return seen


def seen_now(user: User, session: Any, key: str) -> User | None:
    """Whom the session, as it is stored now, looks through, as of now; None where that is somebody else than `user`, or nobody any more."""
    by = User.objects.select_related("role").filter(pk=(user.impersonator or user).pk, is_active=True).first()
    stored = session.__class__(key)  # not type(): what Channels gives is a lazy stand-in
    found = impersonation.seen_as(by, stored) if by is not None else None
    return found if isinstance(found, User) and (found.pk, found.impersonator) == (user.pk, user.impersonator) else None


def free(user: User) -> User:
    """The same person, if nothing holds them back (a password to change, a second factor that is missing). Raises Forbidden."""
    hold = hold_of(user)
    if hold is not None:
        raise Forbidden(hold.detail, code=hold.code)
    return user


def standing(user: Any, container_ids: set[str]) -> tuple[Granted, dict[str, frozenset[str]], datetime | None]:
    """What was granted; this person's rights on each of these that they still see; and when the first of them ends."""
    ids = []
    for text in container_ids:
        with contextlib.suppress(ValueError):
            ids.append(uuid.UUID(text))
    seen = list(access.visible_containers(user).filter(pk__in=ids).only("pk", "owner_id")) if ids else []
    held = {str(pk): codes for pk, codes in access.rights_on(user, seen).items()}
    return load_granted(user), held, grants.next_end(access.grant_kind(), user, ids)
