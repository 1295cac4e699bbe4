"""What allauth asks of us."""

from __future__ import annotations

from allauth.mfa.adapter import DefaultMFAAdapter
from django.conf import settings

from lormas.common.crypto import decrypt, encrypt


class MFAAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Seeds of recovery codes are encrypted at rest (I03)."""

    def encrypt(self, text: str) -> str:
        return encrypt(text, keys=settings.FIELD_KEYS)

    def decrypt(self, encrypted_text: str) -> str:
        return decrypt(encrypted_text, keys=settings.FIELD_KEYS)
