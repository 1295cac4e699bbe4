"""Where cookie sessions are kept (`SESSION_ENGINE`): in Django's table, under a digest of the cookie's value.

So whoever reads the table, or a backup of it, can't sign in with what they read (I03).
"""

from __future__ import annotations

import hashlib
from typing import Any

from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.utils import timezone


def kept_as(session_key: str) -> str:
    """The name of a session's row. The cookie's value is random (165 bits), so there is no dictionary to try; 40 characters fit the column."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:40] if session_key else ""


class SessionStore(DatabaseStore):
    """As Django's, but for the name of the row."""

    def _get_session_from_db(self) -> Any:
        found = self.model.objects.filter(session_key=kept_as(str(self.session_key)), expire_date__gt=timezone.now()).first()
        if found is None:
            self._session_key = None
        return found

    async def _aget_session_from_db(self) -> Any:
        found = await self.model.objects.filter(session_key=kept_as(str(self.session_key)), expire_date__gt=timezone.now()).afirst()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        return super().exists(kept_as(session_key))

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(kept_as(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> Any:
        row = super().create_model_instance(data)
        row.session_key = kept_as(row.session_key)
        return row

    async def acreate_model_instance(self, data: dict[str, Any]) -> Any:
        row = await super().acreate_model_instance(data)
        row.session_key = kept_as(row.session_key)
        return row

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(kept_as(key))

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(kept_as(key))
