"""Keys: one root secret, one derived key per use; encryption of single columns."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet


def derive_key(root: str, use: str) -> str:
    """A key for one use: 32 bytes, URL-safe base64. HMAC-SHA256 of the use under the root key."""
    digest = hmac.new(root.encode(), f"lormas:{use}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode()


def load_or_make_secret(file: Path) -> str:
    """The secret in `file`; made with 0600 at the first call. Two processes that race get the same one."""
    try:
        return file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        pass
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_urlsafe(48), encoding="ascii")
    try:
        os.link(draft, file)  # fails if the other one was first: then theirs is the secret
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return file.read_text(encoding="ascii").strip()


@lru_cache(maxsize=8)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(base64.urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])


class WrongKey(ValueError):
    """The text was encrypted under a key that is no longer configured."""


def encrypt(plain: str, *, keys: Sequence[str]) -> str:
    """Encrypt under the first key."""
    return _fernet(tuple(keys)).encrypt(plain.encode()).decode()


def decrypt(token: str, *, keys: Sequence[str]) -> str:
    """Decrypt under any of the keys; raises WrongKey."""
    try:
        return _fernet(tuple(keys)).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise WrongKey("encrypted under a key that is not in FIELD_KEYS: add the old key behind the new one") from error
